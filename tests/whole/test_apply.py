"""Every installed method finds its concepts again: in the explained samples, in others, and after it was kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from xcore_texplain.testing import SMALL as TEXPLAIN
from xcore_texplain.testing import save_decoder_and_pairs

import xcore
from xcore.contract import MissingError, NotApplicable, Ref, Samples, UsageError
from xcore.models.classifiers import FunctionClassifier
from xcore.registry import Registry, load_registry

SMALL: dict[str, dict[str, Any]] = {
    "ace": {"resolutions": [6], "clusters": 3, "least": 3, "negatives": 3, "null": 19},
    "cce": {"images": 12, "subspaces": 1, "most": 2, "starts": 2, "least": 0},
    "craft": {"k": 3, "designs": 4},
    "lens": {"k": 3, "stability": False},
    "conceptshap": {"k": 2, "images": 8, "steps": 20, "tuning": 5, "hidden": 20},
    "tcav": {"concepts": ["striped texture", "spotted texture", "grass"], "n": 4, "negatives": 3, "null": 19},
    "rlpo": {
        "prompts": "striped texture,spotted texture", "rank": "prior", "steps": 0, "n": 2, "negatives": 3,
        "rank_sets": 1, "shown": 2, "folds": 0, "contrast": "dataset",
    },
    "eac": {"coalitions": 8, "surrogate": "none", "max_segments": 6},
    "texplain": {**TEXPLAIN, "least": 0.01},
    "surrogate": {"pool": 90, "samples": 90},
    "skit": {"pool": 90, "samples": 90, "orders": 1, "tau": 60},
    "elude": {"pool": 180, "rank": 1},
}  # fmt: skip
"""Options with which a method takes a second or two; those of methods that are not named are the defaults."""
WITH: dict[str, dict[str, Any]] = {
    "rlpo": {
        "generator": Ref("minizoo/diffusion", {"steps": 1, "batch_size": 4}),
        "models": {"image-text": "minizoo/clip"},
    },
    "surrogate": {"models": {"image-text": "minizoo/clip"}},
    "skit": {"models": {"image-text": "minizoo/clip"}},
    "elude": {"models": {"image-text": "minizoo/clip"}},
}
FINDS_NOTHING = {"class-crops", "noise", "other-class"}
"""The controls: they explain nothing, so nothing of theirs can be found again."""
OFFERED = sorted(
    c.name for c in load_registry().cards("explainer") if "image" in (getattr(c, "modalities", None) or ("image",))
)


@cache
def registry() -> Registry:
    return load_registry()


@cache
def data() -> Any:
    return registry().create("dataset", Ref("minizoo"))


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))


def explained(method: str, folder: Path) -> xcore.Explained:
    given, options = WITH.get(method, {}), SMALL.get(method, {})
    if method == "texplain":
        save_decoder_and_pairs(folder)
        given = {"models": {"text-decoder": f"blip-decoder:{folder / 'blip'}"}}
        options = {**options, "pairs": str(folder)}
    model = registry().create("classifier", Ref("minizoo/clean"))
    return xcore.explain(method, model, data(), target="leopard", n=4, options=options, registry=registry(), **given)


@pytest.mark.parametrize("method", OFFERED)
def test_every_method_finds_its_concepts_again(method: str, tmp_path) -> None:
    model, made = registry().create("classifier", Ref("minizoo/clean")), explained(method, tmp_path)
    assert made.samples is not None
    if method in FINDS_NOTHING:
        with pytest.raises(NotApplicable, match="cannot be found in other samples"):
            made.apply(model, made.samples, registry=registry())
        return
    own = made.apply(model, made.samples, registry=registry())
    assert own.names == tuple(c.name for c in made.concepts)
    assert own.strength.shape == (4, len(made.concepts))
    assert own.strength.isfinite().all()
    for i, concept in enumerate(made.concepts):
        if concept.maps is not None:
            assert own.maps is not None
            assert torch.allclose(own.maps[:, i], concept.maps, atol=1e-4 * max(1.0, float(concept.maps.max())))
        if method in ("eac", "texplain"):  # whose local values are strengths themselves
            assert concept.local is not None
            assert torch.allclose(own.strength[:, i], concept.local, atol=1e-5)
    others = Samples.concat([data().samples(cls, "heldout", 2, 0) for cls in ("zebra", "cow", "other")])
    new = made.apply(model, others, registry=registry())
    kept = xcore.load(made.save(tmp_path / "kept"))
    assert torch.allclose(kept.apply(model, others, registry=registry()).strength, new.strength, atol=1e-5)
    if own.maps is not None and method != "eac":  # the segments of a picture change with its size
        larger = others.take([0, 1])
        larger = Samples("image", torch.nn.functional.interpolate(larger.images, size=(96, 80)), larger.ids)
        found = made.apply(model, larger, registry=registry())
        assert found.maps is not None
        assert found.maps.shape == (2, len(made.concepts), 96, 80)


@pytest.mark.parametrize("method", ["skit", "elude"])
def test_methods_that_ask_about_phrases_explain_a_transformer_and_texts(method: str) -> None:
    vit, reviews = registry().create("classifier", Ref("minizoo/vit")), registry().create("dataset", Ref("reviews"))
    made = xcore.explain(
        method, vit, data(), target="leopard", n=4, options=SMALL[method], registry=registry(), **WITH[method]
    )
    assert [c.name for c in made.concepts].index("spotted texture") < 10  # of 43 phrases, by so few pictures
    found = made.apply(vit, data().samples("zebra", "heldout", 2, 0), registry=registry())
    assert found.strength.isfinite().all()
    assert (found.maps is not None) == (method == "elude")  # whose one direction of the layer has places

    textcnn = registry().create("classifier", Ref("reviews/textcnn"))
    options = {**SMALL[method], "pool": 400, "phrases": ["hated", "adored", "thursday"]}
    options |= {"tau": 300} if method == "skit" else {}
    made = xcore.explain(method, textcnn, reviews, target="negative", n=6, options=options, registry=registry())
    rare = [note for note in made.notes if "half of the phrases occur in" in note]
    assert [("skit.tau=400 bets on all 400 texts" in note) for note in rare] == [True] * (method == "skit")
    ranked = [c.name for c in made.concepts if c.name in options["phrases"]]
    assert ranked.index("hated") < ranked.index("adored")
    found = made.apply(textcnn, ["they hated it on thursday", "a superb film"], registry=registry())
    assert found.maps is None
    assert found.strength[:, found.names.index("hated")].tolist() == [1, 0]


@pytest.mark.parametrize("method", ["skit", "elude"])
def test_phrases_of_pictures_need_a_model_that_reads_them(method: str, tmp_path: Path) -> None:
    for cls in ("leopard", "zebra"):
        (tmp_path / cls).mkdir()
        for i, image in enumerate(data().samples(cls, "explain", 6, 0).images):
            pixels = (image * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / cls / f"{i}.png")
    with pytest.raises(MissingError, match=rf"{method} needs a model of the role 'image-text' \(pass models="):
        xcore.explain(method, "minizoo/vit", f"folder:{tmp_path}", target="leopard", n=4, registry=registry())


def test_a_method_without_its_layer_says_what_to_do(tmp_path) -> None:
    model, made = registry().create("classifier", Ref("minizoo/clean")), explained("lens", tmp_path)
    with pytest.raises(UsageError, match="which this network does not have"):
        made.apply(registry().create("classifier", Ref("minizoo/vit")), made.samples, registry=registry())
    black_box = FunctionClassifier(lambda x: torch.zeros(len(x), 9), model.classes)
    with pytest.raises(NotApplicable, match="black box"):
        made.apply(black_box, made.samples, registry=registry())


def test_a_translator_that_is_gone_is_trained_again_or_named(monkeypatch, tmp_path) -> None:
    model, made = registry().create("classifier", Ref("minizoo/clean")), explained("texplain", tmp_path)
    before = made.apply(model, made.samples, registry=registry())
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "another"))
    after = made.apply(model, made.samples, registry=registry())
    assert torch.equal(after.strength, before.strength)
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "a third"))
    (tmp_path / "captions.jsonl").unlink()
    with pytest.raises(MissingError, match="the translator of the explanation is not there any more"):
        made.apply(model, made.samples, registry=registry())


def test_texts_have_strengths_and_no_maps() -> None:
    reviews = registry().create("dataset", Ref("reviews"))
    model = registry().create("classifier", Ref("reviews/textcnn"))
    cls = model.classes[0]
    made = xcore.explain(
        "tcav", model, reviews, target=cls, n=6, contrast=registry().create("dataset", Ref("reviews/random")),
        registry=registry(),
        options={"n": 4, "negatives": 3, "null": 19},
    )  # fmt: skip
    found = made.apply(model, ["a dull film", "a superb film"], registry=registry())
    assert found.maps is None
    assert found.strength.shape == (2, len(made.concepts))
    assert found.strength.isfinite().all()
