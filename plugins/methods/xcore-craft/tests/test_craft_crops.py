"""Crops, and maps of concepts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from xcore_craft.crops import crop_grid, cut_crops, maps_from_crops, maps_from_positions

from xcore.contract import Samples, UsageError
from xcore.inputs.renderings import crops, parse_crop


@pytest.mark.parametrize("size", [(64, 64), (63, 65), (37, 91), (224, 224), (5, 2), (1, 1)])
@pytest.mark.parametrize(("side", "stride"), [(None, 0.8), (None, 1.0), (1, 0.3)])
def test_crops_cover_every_pixel(size, side, stride):
    grid = crop_grid(size, side, stride)
    seen = torch.zeros(size)
    height, width = grid.window
    for top, left in grid.corners:
        assert top >= 0
        assert left >= 0
        assert top + height <= size[0]
        assert left + width <= size[1]
        seen[top : top + height, left : left + width] += 1
    assert (seen > 0).all()
    assert len(set(grid.corners)) == len(grid.corners)


def test_defaults_are_half_the_short_side_and_flush_with_the_edges():
    grid = crop_grid((64, 64))
    assert grid.window == (32, 32)
    assert sorted({left for _, left in grid.corners}) == [0, 25, 32]
    assert grid.render == "crop:32>64"


def test_crops_keep_the_aspect_ratio():
    grid = crop_grid((64, 96))
    assert grid.window == (32, 48)
    assert grid.render == "crop:32>64x96"
    assert parse_crop(grid.render.removeprefix("crop:")) == (32, (64, 96))


def test_random_sets_are_rendered_alike():
    """The crop that the core cuts for a random set is one of the grid's, also if the image is not square."""
    size = (10, 15)
    images = torch.rand(1, 3, *size)
    grid = crop_grid(size, 8)
    ours = cut_crops(
        images, replace(grid, corners=tuple((t, x) for t in range(3) for x in range(4))), [(0, b) for b in range(12)]
    )
    theirs = crops(Samples("image", images, ("a",)), grid.render.removeprefix("crop:"), np.random.default_rng(0))
    assert min((theirs.images[0] - crop).abs().max().item() for crop in ours) == 0


def test_crops_are_enlarged_to_the_image():
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) / 384
    grid = crop_grid((8, 8), 4, 1.0)
    got = cut_crops(images, grid, [(1, 3), (0, 0)])
    assert got.shape == (2, 3, 8, 8)
    assert got[0].mean().item() == pytest.approx(images[1, :, 4:, 4:].mean().item())
    assert torch.equal(cut_crops(images, crop_grid((8, 8), 8), [(1, 0)])[0], images[1])


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UsageError, match="a crop of 65 pixels does not fit into images of 64x80"):
        crop_grid((64, 80), 65)


def test_maps_keep_place_and_size():
    codes = torch.zeros(2, 12, 3)
    codes[1, 7, 2] = 5  # row 1, column 3 of 3 x 4
    maps = maps_from_positions(codes, (3, 4), (30, 40))
    assert maps.shape == (3, 2, 30, 40)
    assert maps[2, 1].argmax().item() // 40 in range(10, 20)
    assert maps[2, 1].argmax().item() % 40 in range(30, 40)
    assert (maps[:2] == 0).all()
    assert (maps[2, 0] == 0).all()
    assert (maps >= 0).all()


def test_maps_from_crops_are_means_over_the_crops_that_cover_a_pixel():
    grid = crop_grid((8, 8), 4, 0.5)
    codes = torch.rand(2, len(grid.corners), 3)
    assert torch.allclose(maps_from_crops(torch.ones_like(codes), grid), torch.ones(3, 2, 8, 8))
    assert torch.allclose(maps_from_crops(codes, grid)[1, 0, 0, 0], codes[0, 0, 1])
