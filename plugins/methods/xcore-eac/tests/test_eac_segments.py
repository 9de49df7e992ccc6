"""Segmenters, and what is made of their masks."""

import pytest
import torch
from xcore_eac.options import FelzenszwalbOptions, GridOptions, SlicOptions
from xcore_eac.segmenters import Felzenszwalb, Grid, Slic
from xcore_eac.segments import background, coalition_images, segment_image

from xcore.contract import XcoreError
from xcore.testing import blobs


def picture(size, seed=0):
    """Four flat quarters of different colours, with a little noise."""
    height, width = size
    g = torch.Generator().manual_seed(seed)
    image = torch.rand(3, height, width, generator=g) * 0.02
    for i, (top, left) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        rows = slice(top * (height // 2), height if top else height // 2)
        columns = slice(left * (width // 2), width if left else width // 2)
        image[:, rows, columns] += torch.tensor([[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9], [0.9, 0.9, 0]])[i][
            :, None, None
        ]
    return image


class Stub:
    def __init__(self, *masks):
        self.masks = torch.stack(masks) if masks else torch.zeros(0, 4, 4, dtype=torch.bool)

    def segment(self, image):
        return self.masks


def box(*rectangle, size=(4, 4)):
    top, bottom, left, right = rectangle
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("make", [Felzenszwalb, Slic, Grid])
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (512, 300), (5, 7)])
def test_segmenters_give_a_partition_at_any_size(make, size):
    masks = make(None).segment(picture(size))
    assert masks.dtype == torch.bool
    assert masks.shape[1:] == size
    assert (masks.sum(0) == 1).all()
    assert masks.flatten(1).any(1).all()


@pytest.mark.parametrize("side", [64, 224, 512])
def test_felzenszwalb_finds_regions_of_one_colour_at_any_size(side):
    masks = Felzenszwalb(FelzenszwalbOptions(segments=(1, 60))).segment(picture((side, side)))
    large = [m for m in masks if float(m.float().mean()) > 0.15]
    assert len(large) == 4
    for top, left in ((1, 1), (1, 3), (3, 1), (3, 3)):  # the middles of the quarters, each in a segment of its own
        assert sum(bool(m[top * side // 4, left * side // 4]) for m in large) == 1


def test_the_number_of_segments_adapts_to_the_picture():
    """At one scale a photograph of a zebra is one segment, and a collection of coins is many."""
    data = pytest.importorskip("skimage.data")
    from skimage.color import gray2rgb

    noise = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    flat, soft = torch.full((3, 64, 64), 0.5), torch.linspace(0, 1, 64).expand(3, 64, 64)
    photographs = [data.astronaut(), data.rocket(), gray2rgb(data.coins()), gray2rgb(data.camera())[::2, ::2]]
    pictures = [torch.from_numpy(p[::2, ::2].copy()).permute(2, 0, 1).float() / 255 for p in photographs]
    for image in (*pictures, noise, flat, soft, picture((64, 64)), picture((224, 160))):
        masks = Felzenszwalb(None).segment(image)
        assert 10 <= len(masks) <= 60
        assert (masks.sum(0) == 1).all()
        assert torch.equal(masks, Felzenszwalb(None).segment(image))


def test_the_range_of_the_number_of_segments():
    image = blobs(1, 0, side=64).images[0]
    for least, most in ((2, 5), (20, 30)):
        assert least <= len(Felzenszwalb(FelzenszwalbOptions(segments=(least, most))).segment(image)) <= most
    assert len(Felzenszwalb(FelzenszwalbOptions(segments=(1, 60))).segment(torch.zeros(3, 32, 32))) == 1
    assert FelzenszwalbOptions.model_validate({"segments": "5,8"}).segments == (5, 8)
    with pytest.raises(ValueError, match="no larger than the second"):
        FelzenszwalbOptions(segments=(9, 3))


def test_options_of_segmenters():
    image = blobs(1, 0, side=64).images[0]
    assert len(Slic(SlicOptions(n_segments=30)).segment(image)) > len(Slic(SlicOptions(n_segments=4)).segment(image))
    coarse = Felzenszwalb(FelzenszwalbOptions(min_share=0.2)).segment(image)
    assert min(float(m.float().mean()) for m in coarse) >= 0.2 or len(coarse) == 1
    masks = Grid(GridOptions(rows=2, columns=5)).segment(torch.zeros(3, 8, 20))
    assert masks.sum((1, 2)).tolist() == [16] * 10


def test_overlapping_masks_and_what_none_covers():
    a, b = box(0, 3, 0, 3), box(2, 4, 0, 3)
    got = segment_image(Stub(a, b), torch.zeros(3, 4, 4), 12, rest=True)
    assert got.names == ("segment 1", "segment 2", "rest")
    assert torch.equal(got.masks[2], ~(a | b))
    assert got.left_out == 0
    without = segment_image(Stub(a, b), torch.zeros(3, 4, 4), 12, rest=False)
    assert without.names == ("segment 1", "segment 2")


def test_empty_and_repeated_masks_are_dropped():
    a, none = box(0, 3, 0, 4), box(0, 0, 0, 0)
    got = segment_image(Stub(none, a, a), torch.zeros(3, 4, 4), 12, rest=True)
    assert got.names == ("segment 2", "rest")
    assert got.left_out == 0


@pytest.mark.parametrize(("limit", "names"), [(2, ["segment 2", "rest"]), (3, ["segment 2", "segment 4", "rest"])])
def test_of_too_many_the_largest_are_kept_and_the_rest_covers_the_others(limit, names):
    masks = [box(0, 1, 0, 1), box(1, 2, 0, 4), box(0, 1, 1, 2), box(2, 4, 0, 1)]
    got = segment_image(Stub(*masks), torch.zeros(3, 4, 4), limit, rest=True)
    assert list(got.names) == names
    assert got.masks.any(0).all()
    assert got.left_out == 4 - (limit - 1)
    assert len(segment_image(Stub(*masks), torch.zeros(3, 4, 4), limit, rest=False)) == limit


def test_no_mask_at_all():
    assert segment_image(Stub(), torch.zeros(3, 4, 4), 12, rest=True).names == ("rest",)
    assert len(segment_image(Stub(), torch.zeros(3, 4, 4), 12, rest=False)) == 0


@pytest.mark.parametrize("masks", [torch.zeros(2, 4, 4), torch.zeros(2, 3, 4, dtype=torch.bool), [1, 2]])
def test_a_segmenter_that_gives_something_else_is_named(masks):
    stub = Stub()
    stub.masks = masks
    with pytest.raises(XcoreError, match=r"segmenter Stub returned .* image of 4x4, not bool \(n, H, W\)"):
        segment_image(stub, torch.zeros(3, 4, 4), 12, rest=True)


def test_coalition_images():
    image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([box(0, 3, 0, 3), box(2, 4, 0, 4)])
    behind = background(image, "mean")
    coalitions = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    made = torch.cat(list(coalition_images(image, behind, masks, coalitions)))
    assert torch.equal(made[0], behind)
    assert torch.equal(made[1], torch.where(masks[0], image, behind))
    assert torch.equal(made[3], torch.where(masks[0] | masks[1], image, behind))


def test_batches_are_bounded(monkeypatch):
    monkeypatch.setattr("xcore_eac.segments.MAX_ELEMENTS", 3 * 16 * 5)
    image = torch.rand(3, 4, 4)
    coalitions = torch.ones(12, 1, dtype=torch.bool)
    parts = list(coalition_images(image, image, torch.ones(1, 4, 4, dtype=torch.bool), coalitions))
    assert [len(p) for p in parts] == [5, 5, 2]


def test_backgrounds():
    image = picture((32, 48))
    assert (background(image, "black") == 0).all()
    assert torch.allclose(background(image, "mean").mean((1, 2)), image.mean((1, 2)))
    blurred = background(image, "blur")
    assert blurred.shape == image.shape
    assert blurred.dtype == torch.float32
    assert 0 < float(blurred.std()) < float(image.std())
