"""The core's own classifiers pass the conformance tests, for images and texts."""

from __future__ import annotations

import pytest
import torch

from xcore.contract import Samples, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.testing import ClassifierTests, blobs, tiny_network


class Letters(torch.nn.Module):
    """Counts of letters, and two layers above them."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.bag, self.bend, self.out = torch.nn.Linear(26, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.bend(self.bag(x)))


def letters(texts):
    return torch.tensor([[float(t.lower().count(chr(97 + i))) for i in range(26)] for t in texts])


class TestImages(ClassifierTests):
    @pytest.fixture
    def classifier(self):
        return TorchClassifier(tiny_network(), ("a", "b", "c"))

    @pytest.fixture
    def samples(self):
        return blobs(3, 0)


class TestTexts(ClassifierTests):
    @pytest.fixture
    def classifier(self):
        return TorchClassifier(Letters(), ("a", "b"), modality="text", preprocess=letters)

    @pytest.fixture
    def samples(self):
        return Samples("text", ("one text", "", "Another one"), ("0", "1", "2"))


class TestFunctions(TestTexts):
    @pytest.fixture
    def classifier(self):
        return FunctionClassifier(lambda texts: letters(texts)[:, :2], ("a", "b"), modality="text")


def test_a_module_that_takes_no_text_is_one_line():
    made = TorchClassifier(Letters(), ("a", "b"), modality="text", preprocess=lambda texts: torch.zeros(len(texts), 3))
    with pytest.raises(UsageError, match="Letters takes no text"):
        made.layers  # noqa: B018
