"""Reads image files of every kind as float32 RGB in [0, 1], all of one size."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

_ENDINGS = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings of the names of image files, in lower case."""
MAX_PIXELS = 100_000_000
"""Largest image that is read unless the caller gives another limit."""


class Unreadable(Exception):
    """A file cannot be read as an image. The message is the reason, in a few words."""


def read_picture(path: Path, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image, resize it to cover `size` and crop it at the centre.

    The orientation (EXIF) is applied and transparent parts become white. Grey, CMYK and palette images become RGB, grey
    images with 16 bits keep their range, and an animation gives its first frame.

    Parameters
    ----------
    path
        The file.
    size
        (height, width) of the result, in pixels.
    max_pixels
        Larger images are refused.

    Returns
    -------
    float32 (3, height, width) in [0, 1].

    Raises
    ------
    Unreadable
        The file is no image, is cut off, or has more than `max_pixels` pixels.
    """
    try:
        if path.stat().st_size == 0:
            raise Unreadable("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, checked below, and of metadata that nobody reads
            with Image.open(path) as image:
                if image.width * image.height > max_pixels:
                    raise Unreadable(f"{image.width}x{image.height} pixels, more than max_pixels={max_pixels}")
                side = 2 * max(size)
                image.draft("RGB", (side, side))  # for JPEG only: decodes a huge image at a fraction of its size
                image.load()
                return _fitted(ImageOps.exif_transpose(image), size)
    except Image.DecompressionBombError:
        raise Unreadable(f"more than max_pixels={max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise Unreadable("not a picture, or in a format that Pillow does not know") from None
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise Unreadable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _fitted(image: Image.Image, size: tuple[int, int]) -> Tensor:
    height, width = size
    if image.mode.startswith("I") or image.mode == "F":
        # Kept as floats: Pillow would clip 16-bit values at 255.
        values = _deep(image)
        grey = ImageOps.fit(Image.fromarray(values, mode="F"), (width, height), method=Image.Resampling.BICUBIC)
        data = torch.from_numpy(np.array(grey, dtype=np.float32)).clamp(0, 1)
        return data.expand(3, height, width).clone()
    fitted = ImageOps.fit(_rgb(image), (width, height), method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted, dtype=np.uint8)).permute(2, 0, 1).float().div(255)


def _deep(image: Image.Image) -> np.ndarray:
    """Pixels of a grey image with more than 8 bits, as float32 in [0, 1]."""
    values = np.array(image).astype(np.float32)
    top = float(values.max(initial=0))
    if image.mode == "F" and top <= 1:
        return values
    return values / (65535 if image.mode.startswith("I;16") or top > 255 else 255)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "La", "PA", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")
