"""`minizoo/diffusion` edits pictures: an edit shows what it was towards, and keeps what it was not to change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize
from xcore_minizoo.models import clip, diffusion
from xcore_minizoo.options import DiffusionOptions

from xcore.contract import Ref, Samples
from xcore.registry import Registry

PHRASE, N = "striped texture", 6


@pytest.fixture(scope="module")
def generator() -> Any:
    return diffusion(DiffusionOptions(batch_size=N))


@pytest.fixture(scope="module")
def horses(registry: Registry) -> Samples:
    found: Samples = registry.create("dataset", Ref("minizoo")).samples("horse", "explain", N, 0)
    return found


def shown(samples: Samples) -> torch.Tensor:
    """How much the image-text model reads the phrase in each picture, 100 x cosine."""
    model = clip(None)
    return 100 * (normalize(model.embed_images(samples), dim=1) @ normalize(model.embed_texts([PHRASE]), dim=1).T)[:, 0]


def test_an_edit_towards_a_phrase_shows_it_and_one_away_from_it_does_not(generator: Any, horses: Samples) -> None:
    def edited(towards: str, away: str) -> Samples:
        found: Samples = generator.edit(horses, [towards] * N, range(N), strength=0.6, negatives=[away] * N)
        return found

    towards, neither, away = (shown(edited(*prompts)) for prompts in ((PHRASE, ""), ("", ""), ("", PHRASE)))
    assert float((towards - neither).mean()) > 5
    assert float((neither - away).mean()) > 0


def test_the_outside_of_a_mask_stays_nearly_as_the_round_trip_has_it(generator: Any, horses: Samples) -> None:
    masks = torch.zeros(N, *horses.images.shape[-2:])
    masks[..., :32] = 1
    edited, kept = (
        generator.edit(horses, [PHRASE] * N, range(N), strength=0.6, masks=masks),
        generator.roundtrip(horses),
    )
    change = (edited.images - kept.images).abs()
    # The decoder looks beyond a cell: on average .007 changes outside, .06 inside.
    assert float(change[..., 40:].mean()) < 0.02 < 0.04 < float(change[..., :32].mean())
    assert torch.equal(edited.meta["latents"][..., 4:], kept.meta["latents"][..., 4:])
