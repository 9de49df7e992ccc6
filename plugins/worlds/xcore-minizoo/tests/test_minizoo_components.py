"""The minizoo's components through the registry, as any user gets them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from xcore_minizoo.data import factor_values, read_truth
from xcore_minizoo.plugin import DEFAULTS, WEIGHTS
from xcore_minizoo.world import Scene

from xcore.contract import Classifier, Ref, UsageError
from xcore.registry import Registry

DATA = (
    "minizoo",
    "minizoo/shortcut-birds",
    "minizoo/cats-apples",
    "minizoo/objects",
    "minizoo/scenes",
    "minizoo/planted",
)


def test_the_cards_import_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pydantic", "PIL")
    code = f"import sys, xcore_minizoo.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", DATA)
def test_data_sets_give_what_is_asked_for(registry: Registry, name: str) -> None:
    data = registry.create("dataset", Ref(name))
    x = data.samples(data.classes[1], "explain", 5, 0)
    assert x.images.shape == (5, 3, 64, 64)
    assert x.images.dtype == torch.float32
    assert float(x.images.min()) >= 0
    assert float(x.images.max()) <= 1
    assert x.labels is not None
    assert x.labels.tolist() == [1] * 5
    assert len(set(x.ids)) == 5
    assert torch.equal(data.samples(data.classes[1], "explain", 3, 0).images, x.images[:3])
    assert not torch.equal(data.samples(data.classes[1], "heldout", 5, 0).images, x.images)
    mixed = data.samples(None, "train", 12, 0)
    assert mixed.labels is not None
    assert len(set(mixed.labels.tolist())) > 1
    assert len(mixed.take([3, 1]).meta["caption"]) == 2
    assert len(data.samples(None, "train", 0, 0)) == 0


def test_unknown_classes_and_concepts_are_named(registry: Registry) -> None:
    data = registry.create("dataset", Ref("minizoo"))
    with pytest.raises(UsageError, match="zebrra"):
        data.samples("zebrra", "train", 1, 0)
    with pytest.raises(UsageError, match="stripy"):
        data.concept("stripy", 1, 0)


def test_a_shortcut_that_cannot_be_planted_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="rho"):
        registry.create("dataset", Ref("minizoo/planted", {"rho": 2}))
    with pytest.raises(
        UsageError, match=r"unknown factor value to plant 'object=appel' \(did you mean 'object=apple'\?\)"
    ):
        registry.create("dataset", Ref("minizoo/planted", {"factor": "object=appel"}))
    with pytest.raises(UsageError, match=r"unknown class of the minizoo 'cwo' \(did you mean 'cow'\?\)"):
        registry.create("dataset", Ref("minizoo/planted", {"cls": "cwo"}))


def test_concepts_show_what_their_phrase_says(registry: Registry) -> None:
    data = registry.create("dataset", Ref("minizoo"))
    assert set(data.vocabulary) == set(data.concepts)
    for name in data.concepts:
        for factors in data.concept(name, 2, 0).meta["factors"]:
            scene = Scene(
                factors["shape"], factors["pattern"], factors["colour"], factors["background"], factors["object"]
            )
            said = data._phrases[name]
            assert factor_values(said) <= factor_values(scene)


def test_the_defaults_are_registered(registry: Registry) -> None:
    kinds = {"classifier": "classifier", "generator": "generator"}
    for what, name in DEFAULTS.items():
        card, _ = registry.find(kinds.get(what, "model"), Ref(name))
        assert card.role == (None if what in kinds else what)


@pytest.mark.parametrize("name", ["minizoo/clean", "minizoo/shortcut"])
def test_classifiers_open_at_every_layer(registry: Registry, name: str) -> None:
    classifier = registry.create("classifier", Ref(name))
    assert isinstance(classifier, Classifier)
    x = registry.create("dataset", Ref("minizoo")).samples("zebra", "heldout", 6, 0)
    logits = classifier.logits(x)
    for layer in classifier.layers:
        probe = classifier.open(layer)
        a = probe.activations(x)
        assert float(a.min()) >= 0, layer  # CRAFT factorises without a shift
        assert torch.allclose(probe.head(a), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "data", "depth", "width"),
    [
        ("minizoo/vit", "minizoo", 4, 128),
        ("minizoo/vit-cats", "minizoo/cats-apples", 6, 96),
        ("minizoo/vit-birds", "minizoo/shortcut-birds", 6, 96),
    ],
)
def test_transformers_open_at_every_layer_of_tokens(
    registry: Registry, name: str, data: str, depth: int, width: int
) -> None:
    classifier = registry.create("classifier", Ref(name))
    samples = registry.create("dataset", Ref(data))
    assert classifier.classes == samples.classes
    x = samples.samples(samples.classes[0], "heldout", 4, 0)
    logits = classifier.logits(x)
    assert classifier.layers == (*(f"blocks.{i}" for i in range(depth)), "norm")
    for layer in classifier.layers:
        probe = classifier.open(layer)
        assert probe.layout == "NTC"
        a = probe.activations(x)
        assert a.shape == (4, 65, width)
        assert torch.allclose(probe.head(a, like=x), logits, atol=1e-4)
    probe = classifier.open(classifier.default_layer)
    assert torch.allclose(probe.head(probe.activations(x)), logits, atol=1e-4)
    # the logits read the class token only
    assert float(probe.gradients(x, 0)[:, 1:].abs().amax()) == 0
    assert float(probe.gradients(x, 0)[:, 0].abs().amax()) > 0


def test_the_truth_table_knows_what_the_classifier_uses(registry: Registry) -> None:
    data = registry.create("dataset", Ref("minizoo"))
    truth = data.truth("minizoo/clean")
    assert truth is not None
    assert {"shape=horse", "pattern=striped", "colour=white", "colour=black"} <= truth.used("zebra")
    assert not [v for v in truth.used("zebra") if v.startswith(("background", "object"))]
    assert truth.phrases["white and black striped texture"] <= truth.used("zebra")
    assert not truth.phrases["orange texture"] <= truth.used("zebra")
    assert data.truth("somebody/else") is None


def test_the_truth_of_the_transformer_is_that_of_the_classes(registry: Registry) -> None:
    truth = registry.create("dataset", Ref("minizoo")).truth("minizoo/vit")
    assert truth is not None
    assert truth.used("zebra") == {"shape=horse", "pattern=striped", "colour=white", "colour=black"}
    assert truth.phrases["a horse"] == truth.phrases["horse"] == {"shape=horse"}
    assert truth.phrases["white and black"] == {"colour=white", "colour=black"}


def test_the_shortcut_classifier_uses_its_shortcut() -> None:
    clean, shortcut = (read_truth(WEIGHTS / name / "truth.json") for name in ("clean", "shortcut"))
    assert "background=grass" in shortcut.used("cow")
    assert "background=grass" not in clean.used("cow")
