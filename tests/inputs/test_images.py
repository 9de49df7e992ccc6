"""Files of every kind as pictures, and one clear line for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xcore.inputs.images import Unreadable, read_picture


def paint(
    path: Path, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (20, 10), mode: str = "RGB"
) -> Path:
    Image.new(mode, size, colour).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 51, (0.2, 0.2, 0.2)),
        ("1", 1, (1, 1, 1)),
        ("RGB", (255, 0, 51), (1, 0, 0.2)),
        ("RGBA", (255, 0, 0, 0), (1, 1, 1)),
        ("RGBA", (0, 0, 0, 102), (0.6, 0.6, 0.6)),
        ("LA", (0, 0), (1, 1, 1)),
        ("I;16", 13107, (0.2, 0.2, 0.2)),
    ],
)
def test_modes(tmp_path: Path, mode: str, colour: Any, expected: tuple[float, ...]) -> None:
    image = read_picture(paint(tmp_path / "a.png", colour, (20, 10), mode), (8, 8), 10**6)
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor(expected, dtype=torch.float32), atol=0.005, rtol=0)


def test_cmyk_palette_with_transparency_and_floats(tmp_path: Path) -> None:
    cmyk = read_picture(paint(tmp_path / "a.jpg", (0, 0, 0, 255), (16, 16), "CMYK"), (8, 8), 10**6)
    assert cmyk.max() < 0.05
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([0, 0, 255, 9, 9, 9])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_picture(tmp_path / "p.png", (8, 8), 10**6).min() == 1
    Image.fromarray(np.full((9, 9), 0.25, np.float32)).save(tmp_path / "f.tiff")
    torch.testing.assert_close(read_picture(tmp_path / "f.tiff", (4, 4), 10**6), torch.full((3, 4, 4), 0.25))


def test_orientation_and_first_frame(tmp_path: Path) -> None:
    half = Image.new("RGB", (16, 16), "black")
    half.paste("white", (0, 0, 16, 8))  # white on top
    exif = Image.Exif()
    exif[0x0112] = 3  # turned upside down
    half.save(tmp_path / "turned.png", exif=exif)
    turned = read_picture(tmp_path / "turned.png", (16, 16), 10**6)
    assert turned[:, :6].max() < 0.1 < 0.9 < turned[:, 10:].min()
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    torch.testing.assert_close(read_picture(tmp_path / "moving.gif", (8, 8), 10**6)[:, 0, 0], torch.tensor([1.0, 0, 0]))


def test_height_and_width_need_not_be_equal(tmp_path: Path) -> None:
    half = Image.new("RGB", (40, 40), "black")
    half.paste("white", (0, 0, 40, 20))
    half.save(tmp_path / "half.jpg")
    assert read_picture(tmp_path / "half.jpg", (4, 12)).shape == (3, 4, 12)
    tall = read_picture(tmp_path / "half.jpg", (12, 4))
    assert tall[:, :5].min() > 0.9 > 0.1 > tall[:, 7:].max()


def test_aspect_is_kept_by_a_centre_crop(tmp_path: Path) -> None:
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (10, 0, 20, 10))  # the middle third
    wide.save(tmp_path / "wide.png")
    image = read_picture(tmp_path / "wide.png", (10, 10), 10**6)
    assert image[2, :, 2:-2].min() > 0.95
    assert image.min() >= 0
    assert image.max() <= 1


def test_reasons(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="more than max_pixels=10"):
        read_picture(paint(tmp_path / "a.png"), (8, 8), 10)
