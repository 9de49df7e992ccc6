"""LRP of concepts: equal to contributions under an affine head, and conserved where no bias takes a part."""

import builtins

import numpy as np
import pytest
import torch
from torch import nn
from xcore_craft.activations import split_at
from xcore_lens.attribution import attribute
from xcore_lens.options import Options
from xcore_lens.relevance import relevance

from xcore.contract import MissingError, NotApplicable, Samples
from xcore.models.classifiers import TorchClassifier

N, K, C = 5, 4, 6


def network(*head: nn.Module) -> TorchClassifier:
    """A stem whose output has C channels, and a head with two classes."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, C, 3), nn.ReLU())
    return TorchClassifier(nn.Sequential(stem, *head), ("a", "b"), input_size=12)


def made(classifier: TorchClassifier):
    """The classifier split above its stem, with codes of a dictionary that fits, atoms of both signs, and samples."""
    generator = torch.Generator().manual_seed(1)
    samples = Samples("image", torch.rand(N, 3, 12, 12, generator=generator), tuple("abcde"))
    split = split_at(classifier, "0", samples)
    codes = torch.rand(N, 100, K, generator=generator)
    return split, codes, torch.randn(K, C, generator=generator), samples


def values(importance: str, classifier: TorchClassifier):
    split, codes, atoms, samples = made(classifier)
    o = Options(importance=importance)
    return attribute(split, split.head(codes @ atoms, samples), codes, atoms, samples, 1, o, 0, lambda done: None)


def module_of(classifier: TorchClassifier) -> nn.Module:
    return classifier.open("0").model.module


def pooled(*layers: nn.Module) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers


def test_under_an_affine_head_relevance_is_the_contribution():
    classifier = network(*pooled(nn.Linear(C, 2)))
    lrp, exact = values("lrp", classifier).values, values("gradient-x-input", classifier).values
    np.testing.assert_allclose(lrp, exact, rtol=1e-3, atol=1e-4)


def test_relevance_adds_up_to_the_logit_under_a_bent_head_without_biases():
    classifier = network(*pooled(nn.Linear(C, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False)))
    got = values("lrp", classifier)
    np.testing.assert_allclose(got.values.sum(1), got.coded, rtol=1e-3, atol=1e-4)
    assert np.abs(got.values).max() > 0.01


def test_a_concept_that_nothing_reads_has_no_relevance():
    classifier = network(*pooled(nn.Linear(C, 2)))
    linear = module_of(classifier)[-1]
    linear.weight.data[:, 0] = 0
    split, codes, atoms, samples = made(classifier)
    atoms[0] = torch.eye(C)[0]
    o = Options(importance="lrp")
    got = attribute(split, split.head(codes @ atoms, samples), codes, atoms, samples, 1, o, 0, lambda done: None)
    np.testing.assert_allclose(got.values[:, 0], 0, atol=1e-6)
    assert (np.abs(got.values[:, 1:]) > 1e-3).all()


def test_the_network_is_left_as_it_was():
    classifier = network(*pooled(nn.Linear(C, 2)))
    before = values("gradient-x-input", classifier).values
    values("lrp", classifier)
    np.testing.assert_array_equal(values("gradient-x-input", classifier).values, before)
    assert not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module_of(classifier).modules()
    )


def test_what_is_missing_is_told(monkeypatch):
    classifier = network(*pooled(nn.Linear(C, 2)))
    real = builtins.__import__

    def no_zennit(name, *args, **kwargs):
        if name.startswith("zennit"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_zennit)
    with pytest.raises(MissingError, match=r"lens\.importance=lrp needs zennit"):
        values("lrp", classifier)
    monkeypatch.undo()
    split, codes, atoms, samples = made(classifier)
    split.probe.model = None
    with pytest.raises(NotApplicable, match="a torch module"):
        relevance(split, codes, atoms, samples, 1)
