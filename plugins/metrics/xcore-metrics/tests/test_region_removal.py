"""Removal of pixels: what is replaced, in whose order, and what other regions say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from removal_runs import (
    MAKERS,
    SIDE,
    Only,
    Sum,
    pictures,
    placed,
    quarters,
    run_of,
)
from xcore_metrics.faithfulness.regions import SQUARES, blurred, on_squares, owners, region_games
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity
from xcore_metrics.options import RemovalOptions

from xcore.contract import Concept, Explanation, Samples


def test_pixels_of_removed_concepts_are_replaced_and_no_others() -> None:
    model, samples = Sum(torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))), pictures(6, 1)
    run = run_of(model, placed([2, 0, 3]), samples=samples)
    (game,) = region_games(run, "mean", 4, True)
    assert (game.owner[:, 0, 2] == 3).all()  # quarter 1 belongs to none
    found = game.removed(np.array([[True, False, True]]))[:, 0, 0]
    changed = samples.images[:4].clone()
    gone = (quarters()[2] + quarters()[3]).bool()
    changed[:, :, gone] = 0.25
    assert found == pytest.approx(model(changed)[:, 0].detach().numpy(), abs=1e-5)
    assert game.inserted(np.array([[False, True, False]]))[:, 0, 0] == pytest.approx(found)


def test_region_orders_by_the_image_where_the_explanation_does(only: Only) -> None:
    weights = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    samples = pictures(6, 1)
    change = (samples.images - 0.25).sum(1) * weights[0]
    local = torch.stack([change[:, m.bool()].sum(1) for m in quarters()], 1)  # the truth in each image
    run = run_of(Sum(weights), placed(range(4), local), samples=samples)
    score = {o: only(mu_fidelity(_region(order=o)), run) for o in ("local", "global")}
    assert score["local"].details["own"] == pytest.approx(1, abs=1e-4)
    assert score["global"].details["own"] < 0.9
    assert [score[o].details["local_order"] for o in score] == [1, 0]
    assert [score[o].variant for o in score] == ["region mean", "region mean global order"]
    for make, sign in ((insertion, 1), (deletion, -1)):
        values = {o: only(make(_region(order=o)), run).value for o in ("local", "global")}
        assert sign * values["local"] > max(0, sign * values["global"])


def _region(**more: Any) -> RemovalOptions:
    return RemovalOptions(variant="region", fills=("mean",), **more)


def test_images_with_concepts_of_their_own_are_judged_one_by_one(only: Only) -> None:
    weights = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    samples, masks = pictures(6, 1), quarters()
    parts = []
    for i in range(6):
        change = ((samples.images[i] - 0.25).sum(0) * weights[0] * masks).sum((1, 2)).tolist()
        kept = range(i) if i < 4 else range(4)  # no, one, two, ... concepts
        order = sorted(kept, key=lambda j: -change[j])
        own = tuple(Concept(f"S{j}", change[j], maps=masks[j][None]) for j in order)
        parts.append(Explanation("made", "a", "made up", own))
    top = Concept("top", 1.0, maps=torch.rand(6, SIDE, SIDE))
    run = run_of(Sum(weights), [top], samples=samples, parts=tuple(parts))
    found = {name: only(make(_region()), run) for name, make in MAKERS.items()}
    assert found["C-insertion"].value > 0 > found["C-deletion"].value
    assert found["C-muFidelity"].details["own"] == pytest.approx(1, abs=1e-4)
    for score in found.values():
        assert (score.details["images"], score.details["left_out"]) == (4, 2)
        assert score.details["concepts"] == pytest.approx((2 + 3 + 4 + 4) / 4)
    assert "one concept" in only(insertion(_region(order="global")), run).reason


def test_a_concept_of_one_image_may_tell_of_all_images(only: Only) -> None:
    """Maps and local importances of all samples in each part: those of the part's own image are meant."""
    weights = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    samples, masks = pictures(6, 1), quarters()
    local = ((samples.images - 0.25).sum(1)[:, None] * weights[0] * masks).sum((2, 3))  # the truth in each image
    maps = torch.zeros(4, 6, SIDE, SIDE)
    parts = []
    for i in range(6):
        for j in range(4):  # the quarters change places from image to image
            maps[(j + i) % 4, i] = masks[j]
    local = torch.stack([local[i].roll(i) for i in range(6)])
    for i in range(6):
        own = [Concept(f"S{j}", float(local[i, j]), maps=maps[j], local=local[:, j]) for j in range(4)]
        parts.append(Explanation("made", "a", "made up", tuple(sorted(own, key=lambda c: -c.importance))))
    top = Concept("top", 1.0, maps=torch.rand(6, SIDE, SIDE))
    run = run_of(Sum(weights), [top], samples=samples, parts=tuple(parts))
    assert only(mu_fidelity(_region()), run).details["own"] == pytest.approx(1, abs=1e-4)


def test_importance_is_spread_over_pixels_and_summed_in_squares() -> None:
    side, samples = 2 * SQUARES, Samples("image", torch.rand(2, 3, 2 * SQUARES, 2 * SQUARES), ("0", "1"))
    maps = torch.zeros(2, 2, side, side)
    maps[0, :, :2, :3] = 1  # 6 pixels: one square and half of the next one
    maps[1, :, 4:6, 4:6] = 1  # one square
    concepts = [Concept("A", 3.0, maps=maps[0]), Concept("B", 4.0, maps=maps[1])]
    (game,) = region_games(run_of(Sum(torch.rand(3, side, side)), concepts, samples=samples), "mean", 2, True)
    squares = on_squares(game)
    assert squares.importance.shape == (2, SQUARES**2)
    assert squares.importance[0, [0, 1, 2 * SQUARES + 2]] == pytest.approx([2, 1, 4])
    assert squares.importance.sum() == pytest.approx(2 * 7)
    assert squares.order[:, :3].tolist() == [[2 * SQUARES + 2, 0, 1]] * 2
    gone = np.zeros((1, SQUARES**2), dtype=bool)
    gone[0, 1] = True
    changed = samples.images.clone()
    changed[:, :, :2, 2:4] = 0.25  # also the pixels of the square that belong to no concept
    model = game.classifier
    assert squares.removed(gone)[:, 0, 0] == pytest.approx(
        model.logits(Samples("image", changed, ("0", "1")))[:, 0].numpy(), abs=1e-5
    )


def test_values_that_hold_only_for_their_own_regions_do_not_survive_other_ones(only: Only) -> None:
    weights, samples, masks = torch.ones(3, SIDE, SIDE), pictures(6, 1), quarters()
    weights[0] = 3 * masks[0] + 2 * masks[1] + masks[2]
    right, wrong = (
        placed(range(4), importance=[3.0, 2.0, 1.0, 0.0]),
        placed([3, 2, 1, 0], importance=[3.0, 2.0, 1.0, 0.0]),
    )
    options = RemovalOptions(variant="region", fills=("mean",), regions=("own", "squares"))
    bright = Samples("image", 0.5 + samples.images / 2, samples.ids)
    found = [insertion(options).score([run_of(Sum(weights), c, samples=bright)]) for c in (right, wrong)]
    assert [s.variant for s in found[0]] == ["region mean", "region mean squares"]
    for good, bad in zip(*found, strict=True):
        assert good.value > 0 > bad.value


def test_a_pixel_belongs_to_the_highest_map_in_its_own_unit() -> None:
    maps = [torch.tensor([[[10.0, 4.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]])]
    assert owners(maps, 1).tolist() == [[[0, 1, 3]]]


def test_blur_keeps_constants_and_spreads_a_point() -> None:
    flat = torch.full((2, 3, 6, 9), 0.3)
    assert blurred(flat, 1.5) == pytest.approx(flat)
    point = torch.zeros(1, 3, 33, 33)
    point[:, :, 16, 16] = 1
    spread = blurred(point, 2.0)
    assert spread.sum((2, 3)) == pytest.approx(torch.ones(1, 3), abs=1e-4)
    variance = (spread[0, 0].sum(0) * (torch.arange(33) - 16.0) ** 2).sum()
    assert float(variance) == pytest.approx(4.0, rel=0.05)
