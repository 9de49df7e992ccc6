"""Localisation on maps and masks that are laid out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_metrics.localisation import fit_of, iou_pairs, localisation, pointing, pointing_pairs
from xcore_metrics.options import LocalisationOptions

from xcore.contract import Concept, Explanation, Samples, Score
from xcore.run.checks import checked_scores

N, SIDE = 4, 8


def squares(size: int = 4) -> Tensor:
    """(N, SIDE, SIDE) a square in another corner of each image."""
    masks = torch.zeros(N, SIDE, SIDE)
    for i in range(N):
        top, left = (SIDE - size) * (i // 2), (SIDE - size) * (i % 2)
        masks[i, top : top + size, left : left + size] = 1
    return masks


def scores(maps: list[Tensor | None], masks: Any, make: Any = localisation, **options: Any) -> list[Score]:
    meta = {} if masks is None else {"masks": masks}
    samples = Samples("image", torch.zeros(N, 3, SIDE, SIDE), tuple(map(str, range(N))), meta=meta)
    concepts = tuple(Concept(f"C{i}", 1.0 - i, maps=m) for i, m in enumerate(maps))
    run: Any = SimpleNamespace(
        task=SimpleNamespace(samples=samples),
        cell=SimpleNamespace(data="made"),
        explanation=Explanation("made", "a", "made up", concepts),
    )
    return checked_scores(make(LocalisationOptions(**options)).score([run]))


def both(maps: Tensor, masks: Any, **options: Any) -> list[Score]:
    return [score for make in (localisation, pointing) for score in scores([maps], masks, make, **options)]


def test_a_map_that_is_the_mask() -> None:
    iou, point = both(squares() * 7, squares())
    assert (iou.value, iou.spread, iou.metric, iou.n) == (1, 0, "localisation", N)
    assert (point.value, point.spread, point.metric, point.n) == (1, 0, "pointing", N)
    # squares of other images share no pixel
    assert iou.details["chance"] == point.details["chance"] == 0
    assert iou.samples == (1,) * N


def test_a_map_that_is_elsewhere_or_everywhere() -> None:
    for found, value in ((1 - squares(), 0.0), (torch.ones(N, SIDE, SIDE), 0.25)):
        iou, point = both(found, squares())
        assert iou.value == point.value == value
    # as much is in the mask of any image: no better than chance
    assert iou.details["chance"] == point.details["chance"] == 0.25


def test_half_of_the_square() -> None:
    half = squares()
    half[:, :, ::2] = 0
    iou, point = both(half, squares())
    assert iou.value == pytest.approx(0.5)
    assert point.value == 1


def test_the_best_threshold_is_taken_and_reported_or_one_is_given() -> None:
    soft = 0.3 + 0.4 * squares(6)  # above .3 / 1 only in the larger squares ...
    soft += 0.3 * squares(4)  # ... and at 1 in the small ones
    iou = scores([soft], squares(4))[0]
    assert iou.value == 1
    assert 0.7 <= iou.details["threshold"] < 1
    assert scores([soft], squares(4), threshold=0.5)[0].value == pytest.approx(16 / 36)
    assert scores([soft], squares(4), threshold=0.5)[0].details["threshold"] == 0.5


def test_the_mask_that_fits_best_beyond_chance_is_taken_and_told() -> None:
    everywhere = torch.ones(N, SIDE, SIDE)
    masks = torch.stack([everywhere, squares(), torch.zeros(N, SIDE, SIDE)], 1)
    iou, point = both(squares(), masks)
    assert (iou.value, iou.details["mask"], iou.details["masks"]) == (1, 1, 3)
    assert point.details["mask"] == 1
    flat = scores([everywhere], masks)[0]
    assert (flat.value, flat.details["mask"], flat.details["chance"]) == (1, 0, 1)
    assert scores([squares()], masks, mask=0)[0].value == pytest.approx(0.25)
    assert scores([squares()], masks, mask=2)[0].reason == "no explained image has the mask"
    assert "there is no mask 3" in scores([squares()], masks, mask=3)[0].reason


def test_images_without_the_mask_are_left_out_and_without_the_map_missed() -> None:
    masks, maps = squares(), squares()
    masks[0], maps[1] = 0, 0
    iou, point = both(maps, masks)
    assert iou.n == point.n == 3
    assert iou.value == point.value == pytest.approx(2 / 3)


def test_ties_of_the_highest_pixel_are_shared() -> None:
    maps = torch.tensor([[1.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert pointing_pairs(maps, mask).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_pairs_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    marked, mask = torch.rand(2, 5, 30, generator=generator) > 0.6
    for i in range(5):
        for j in range(5):
            wanted = (marked[i] & mask[j]).sum() / (marked[i] | mask[j]).sum()
            assert iou_pairs(marked, mask.float())[i, j] == pytest.approx(float(wanted))
    maps = torch.rand(5, 30, generator=generator)
    fit = fit_of(maps, mask, 0, (0.6,))
    pairs = iou_pairs(maps > 0.6, mask.float())
    assert fit.iou == pytest.approx(float(pairs.diagonal().mean()))
    assert fit.iou_chance == pytest.approx(float((pairs.sum() - pairs.trace()) / 20))


def test_without_masks_or_maps() -> None:
    (score,) = scores([squares()], None)
    assert (score.concept, score.reason) == (None, "the data set made gives no 'masks' for its images")
    assert "does not fit its images" in scores([squares()], squares()[:2])[0].reason
    assert scores([squares()], list(squares()))[0].value == 1  # a mask for each image
    uneven = [*squares()[:3], torch.zeros(2, 2)]
    assert "do not all have one size" in scores([squares()], uneven)[0].reason
    found = scores([squares(), None, torch.zeros(N, SIDE, SIDE)], squares())
    assert [s.reason for s in found[1:]] == ["the concept has no maps", "the concept's maps are zero everywhere"]
    assert [s.concept for s in found] == [0, 1, 2]
