"""Crops and maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from xcore_craft.crops import cut, grid
from xcore_craft.maps import from_crops, token_grid, upsample

from xcore.contrast import crops, parse_crop
from xcore.errors import UsageError
from xcore.samples import Samples


@pytest.mark.parametrize("size", [(64, 64), (63, 65), (37, 91), (224, 224), (5, 2), (1, 1)])
@pytest.mark.parametrize(("side", "stride"), [(None, 0.8), (None, 1.0), (1, 0.3)])
def test_crops_cover_every_pixel(size, side, stride):
    cells = grid(size, side, stride)
    seen = torch.zeros(size)
    height, width = cells.window
    for top, left in cells.corners:
        assert top >= 0
        assert left >= 0
        assert top + height <= size[0]
        assert left + width <= size[1]
        seen[top : top + height, left : left + width] += 1
    assert (seen > 0).all()
    assert len(set(cells.corners)) == len(cells.corners)


def test_defaults_are_half_the_short_side_and_flush_with_the_edges():
    cells = grid((64, 64))
    assert cells.window == (32, 32)
    assert sorted({left for _, left in cells.corners}) == [0, 25, 32]
    assert cells.render == "crop:32>64"


def test_crops_keep_the_aspect_ratio():
    cells = grid((64, 96))
    assert cells.window == (32, 48)
    assert cells.render == "crop:32>64x96"
    assert parse_crop(cells.render.removeprefix("crop:")) == (32, (64, 96))


def test_random_sets_are_rendered_alike():
    """The window that a contrast cuts is one of the grid's, also where the image is not square."""
    size = (10, 15)
    images = torch.rand(1, 3, *size)
    cells = grid(size, 8)
    ours = cut(
        images, replace(cells, corners=tuple((t, x) for t in range(3) for x in range(4))), [(0, b) for b in range(12)]
    )
    theirs = crops(Samples("image", images, ("a",)), cells.render.removeprefix("crop:"), np.random.default_rng(0))
    assert min((theirs.images[0] - crop).abs().max().item() for crop in ours) == 0


def test_crops_are_enlarged_to_the_image():
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) / 384
    cells = grid((8, 8), 4, 1.0)
    got = cut(images, cells, [(1, 3), (0, 0)])
    assert got.shape == (2, 3, 8, 8)
    assert got[0].mean().item() == pytest.approx(images[1, :, 4:, 4:].mean().item())
    assert torch.equal(cut(images, grid((8, 8), 8), [(1, 0)])[0], images[1])


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UsageError, match="a crop of 65 pixels does not fit images of 64x80"):
        grid((64, 80), 65)


def test_grid_of_tokens():
    assert token_grid(65, (64, 64)) == (1, 8, 8)
    assert token_grid(196, (224, 224)) == (0, 14, 14)
    assert token_grid(197, (224, 224)) == (1, 14, 14)
    assert token_grid(261, (224, 224)) == (5, 16, 16)
    assert token_grid(25, (64, 96)) == (1, 4, 6)
    assert token_grid(48, (64, 64)) is None


def test_maps_keep_place_and_size():
    codes = torch.zeros(2, 12, 3)
    codes[1, 7, 2] = 5  # row 1, column 3 of 3 x 4
    maps = upsample(codes, (3, 4), (30, 40))
    assert maps.shape == (3, 2, 30, 40)
    assert maps[2, 1].argmax().item() // 40 in range(10, 20)
    assert maps[2, 1].argmax().item() % 40 in range(30, 40)
    assert (maps[:2] == 0).all()
    assert (maps[2, 0] == 0).all()
    assert (maps >= 0).all()


def test_maps_from_crops_are_means_over_the_crops_that_cover_a_pixel():
    cells = grid((8, 8), 4, 0.5)
    codes = torch.rand(2, len(cells.corners), 3)
    assert torch.allclose(from_crops(torch.ones_like(codes), cells), torch.ones(3, 2, 8, 8))
    assert torch.allclose(from_crops(codes, cells)[1, 0, 0, 0], codes[0, 0, 1])
