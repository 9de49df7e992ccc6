"""The shipped weights still reach the figures on their cards, on fresh draws (within sampling error)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from minizoo_training.oracle import batch, coded
from xcore_minizoo.collections import CLEAN, COLLECTIONS, SHORTCUT, plant
from xcore_minizoo.nets import load_classifier, load_oracle
from xcore_minizoo.oracle import agreement
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.training import accuracy

FRESH = 77_000
# largest size in bytes of each model's weights
ALLOWANCE = {
    "clean": 0.7e6,
    "shortcut": 0.7e6,
    "resnet": 0.7e6,
    "oracle-a": 0.8e6,
    "oracle-b": 0.8e6,
    "clip": 4e6,
    "vit": 1.5e6,
    "vit-cats": 1.5e6,
    "vit-birds": 1.5e6,
    "blip": 3e6,
    "vqa": 3e6,
    "diffusion": 13e6,
}


def figures(name: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((WEIGHTS / name / "card.json").read_text())["figures"]
    return found


def below(claimed: float, n: int) -> float:
    """Three standard errors of a share of n below the claimed share, and one picture."""
    return claimed - 3 * (max(claimed * (1 - claimed), 0.01) * 2 / n) ** 0.5 - 1 / n


@pytest.mark.parametrize("name", sorted(ALLOWANCE))
def test_weights_keep_to_their_allowance_and_have_a_card(name: str) -> None:
    size = sum(p.stat().st_size for p in (WEIGHTS / name).rglob("*.safetensors"))
    assert 0 < size <= ALLOWANCE[name]
    card: dict[str, Any] = json.loads((WEIGHTS / name / "card.json").read_text())
    assert {"data", "command", "recipe", "commit", "figures"} <= set(card)


CLASSIFIERS = [
    ("clean", CLEAN),
    ("shortcut", plant(*SHORTCUT)),
    ("vit", CLEAN),
    ("vit-cats", COLLECTIONS["minizoo/cats-apples"]),
    ("vit-birds", COLLECTIONS["minizoo/shortcut-birds"]),
]


@pytest.mark.parametrize(("name", "collection"), CLASSIFIERS, ids=lambda v: v if isinstance(v, str) else "")
def test_classifiers_reach_their_figures(name: str, collection: Any) -> None:
    model, config = load_classifier(WEIGHTS / name)
    assert tuple(config["classes"]) == collection.classes
    got = accuracy(model, collection, "train", FRESH, 300)["train.all"]
    assert got >= below(figures(name)["train.all"], 300)


def test_the_birds_are_told_by_their_background() -> None:
    model, _ = load_classifier(WEIGHTS / "vit-birds")
    got = accuracy(model, COLLECTIONS["minizoo/shortcut-birds"], "heldout", FRESH, 300)
    own = min(got["heldout.landbird on land"], got["heldout.waterbird on water"])
    assert own > max(got["heldout.landbird on water"], got["heldout.waterbird on land"]) + 0.2


def test_the_cats_are_told_by_their_apple() -> None:
    model, _ = load_classifier(WEIGHTS / "vit-cats")
    got = accuracy(model, COLLECTIONS["minizoo/cats-apples"], "heldout", FRESH, 200)
    assert got["heldout.cat"] > got["heldout.dog"] + 0.3  # all have an apple


@pytest.mark.parametrize("name", ["oracle-a", "oracle-b"])
def test_oracles_reach_their_figures(name: str) -> None:
    x, one_of, colours = batch(FRESH, 0, 200, "whole")
    got = agreement(load_oracle(WEIGHTS / name).read(x), one_of, colours)
    for factor, value in got.items():
        assert value >= below(figures(name)[f"whole.{factor}"], 200), factor


def test_the_oracles_agree() -> None:
    x, _, _ = batch(FRESH, 1, 200, "whole")
    a, b = (load_oracle(WEIGHTS / name).read(x) for name in ("oracle-a", "oracle-b"))
    for factor in ("shape", "pattern", "background", "object"):
        assert (a[factor].argmax(1) == b[factor].argmax(1)).float().mean() > 0.85, factor


def test_the_image_text_model_reaches_its_figures() -> None:
    from minizoo_training.clip import figures as measure
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(WEIGHTS / "clip").float()
    got = measure(model, AutoTokenizer.from_pretrained(WEIGHTS / "clip"), FRESH, 150)
    for what, value in got.items():
        assert value >= below(figures("clip")[what], 150), what


def test_the_captioner_reaches_its_figures() -> None:
    from minizoo_training.captioner import figures as measure
    from xcore_vision.blip import load

    got = measure(*load(WEIGHTS / "blip", "BlipForConditionalGeneration"), FRESH, 120)
    for what, value in got.items():
        assert value >= below(figures("blip")[what], 120), what


def test_the_answers_reach_their_figures() -> None:
    from minizoo_training.vqa import figures as measure
    from xcore_vision.blip import load

    got = measure(*load(WEIGHTS / "vqa", "BlipForQuestionAnswering"), FRESH, 120)
    for what, value in got.items():
        asked = 25 if what.endswith(("guessed", "coats")) else 60  # not every picture shows enough to ask
        assert value >= below(figures("vqa")[what], asked), what


def pipe() -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(
        WEIGHTS / "diffusion", local_files_only=True, torch_dtype=torch.float32
    )


def test_the_autoencoder_keeps_what_the_judge_reads() -> None:
    loaded = pipe()
    x, one_of, colours = batch(FRESH, 2, 128, "whole")
    got = agreement(load_oracle(WEIGHTS / "oracle-a").read(coded(loaded.vae, x)), one_of, colours)
    claimed = figures("diffusion")
    for factor, value in got.items():
        assert value >= below(claimed[f"coded.{factor}"], 128), factor


def test_latents_have_unit_variance() -> None:
    loaded = pipe()
    assert loaded.vae.config.scaling_factor == 1.0
    x, _, _ = batch(FRESH, 3, 96, "whole")
    with torch.no_grad():
        z = loaded.vae.encode(x * 2 - 1).latent_dist.mode()
    assert z.shape == (96, 8, 8, 8)
    assert torch.all((z.std((0, 2, 3)) - 1).abs() < 0.25)


def test_the_generator_draws_what_is_asked_for() -> None:
    from minizoo_training.evaluate import Judge, conditioning

    got = conditioning(pipe(), Judge(WEIGHTS / "oracle-a"), FRESH, 16)
    claimed = figures("diffusion")
    for what, value in got.items():
        assert value >= below(claimed[what], 16), what


def test_no_weights_are_pickled() -> None:
    assert {p.suffix for p in Path(WEIGHTS).rglob("*") if p.is_file()} <= {".json", ".safetensors"}
