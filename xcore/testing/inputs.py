"""The proof for what goes in: conformance classes for classifiers and data sets, of images and texts alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
import torch

from xcore.base.errors import UsageError
from xcore.contract.protocols import Classifier
from xcore.contract.samples import Samples
from xcore.contract.types import Split
from xcore.testing.world import global_state

if TYPE_CHECKING:
    from xcore.contract.protocols import Dataset


class ClassifierTests:
    """What every classifier must keep. Subclasses give the fixtures ``classifier`` and ``samples`` (three or more)."""

    @pytest.fixture
    def classifier(self) -> Classifier:
        raise NotImplementedError("subclasses of ClassifierTests give the fixture `classifier`")

    @pytest.fixture
    def samples(self) -> Samples:
        raise NotImplementedError("subclasses of ClassifierTests give the fixture `samples`")

    def test_one_finite_logit_a_class(self, classifier: Classifier, samples: Samples) -> None:
        assert isinstance(classifier, Classifier)
        assert classifier.modality == samples.modality
        logits = classifier.logits(samples)
        assert logits.shape == (len(samples), len(classifier.classes))
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()
        assert not logits.requires_grad

    def test_logits_do_not_depend_on_the_batch(self, classifier: Classifier, samples: Samples) -> None:
        logits = classifier.logits(samples)
        for i in range(len(samples)):
            assert torch.allclose(classifier.logits(samples.take([i]))[0], logits[i], rtol=1e-4, atol=1e-4)

    def test_every_layer_leads_to_the_logits(self, classifier: Classifier, samples: Samples) -> None:
        if "gradients" not in classifier.can:
            pytest.skip("a black box has no layers")
        assert classifier.default_layer in classifier.layers
        for layer in classifier.layers:
            probe = classifier.open(layer)
            a = probe.activations(samples)
            assert a.shape[0] == len(samples), layer
            assert a.ndim == len(probe.layout), layer
            assert torch.allclose(probe.head(a, samples), classifier.logits(samples), rtol=1e-3, atol=1e-3), layer
            gradients = probe.gradients(samples, 0)
            assert gradients.shape == a.shape, layer
            assert gradients.isfinite().all(), layer

    def test_unknown_layers_are_refused(self, classifier: Classifier) -> None:
        if "gradients" in classifier.can:
            with pytest.raises(UsageError, match="unknown layer 'no such layer'"):
                classifier.open("no such layer")

    def test_random_state_is_left_as_found(self, classifier: Classifier, samples: Samples) -> None:
        before = global_state()
        classifier.logits(samples)
        if "gradients" in classifier.can:
            classifier.open(classifier.default_layer).gradients(samples, 0)
        assert global_state() == before


class DatasetTests:
    """What every data set must keep. Subclasses give the fixture ``data``, with samples in every split."""

    @pytest.fixture
    def data(self) -> Dataset:
        raise NotImplementedError("subclasses of DatasetTests give the fixture `data`")

    def test_splits_share_no_sample(self, data: Dataset) -> None:
        seen: dict[str, str] = {}
        for split in get_args(Split):
            x = data.samples(None, split, 100, 0)
            assert len(x), f"split {split!r} has no samples"
            for i in range(len(x)):
                one = x.take([i])
                for key in (one.ids[0], one.digest):
                    assert seen.setdefault(key, split) == split, f"{one.ids[0]} is in {seen[key]} and {split}"

    def test_the_seed_decides_the_draw(self, data: Dataset) -> None:
        cls = data.classes[0]
        one, two = (data.samples(cls, "train", 5, seed=3) for _ in range(2))
        assert one.ids == two.ids
        assert one.digest == two.digest
        assert len(set(one.ids)) == len(one)

    def test_samples_are_of_their_class_and_kind(self, data: Dataset) -> None:
        for index, cls in enumerate(data.classes):
            x = data.samples(cls, "train", 4, 0)
            assert x.modality == data.modality
            assert 0 < len(x) <= 4
            if x.labels is not None:
                assert x.labels.tolist() == [index] * len(x)

    def test_concepts_can_be_drawn(self, data: Dataset) -> None:
        for name in data.concepts:
            assert 0 < len(data.concept(name, 2, 0)) <= 2

    def test_unknown_names_are_refused(self, data: Dataset) -> None:
        with pytest.raises(UsageError, match="no such class"):
            data.samples("no such class", "train", 1, 0)
        with pytest.raises(UsageError, match="no such concept"):
            data.concept("no such concept", 1, 0)

    def test_what_it_tells_is_plain_text(self, data: Dataset) -> None:
        data.samples(None, "train", 10_000, 0)
        for lines in (data.classes, data.concepts, data.vocabulary, data.skipped, data.notes):
            assert all(isinstance(line, str) for line in lines)

    def test_random_state_is_left_as_found(self, data: Dataset) -> None:
        before = global_state()
        data.samples(None, "explain", 3, 0)
        assert global_state() == before
