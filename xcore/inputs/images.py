"""Reads image files of every kind as float32 RGB in [0, 1], framed as a classifier frames its input."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

_ENDINGS = "avif bmp dib gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings of the names of image files, in lower case."""
MAX_PIXELS = 100_000_000
"""Largest image that is read unless the caller gives another limit."""


Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Framing:
    """How a picture of any size becomes the input of a classifier: it is resized, and cropped at the centre.

    The numbers of pixels are those of torchvision's ``Resize`` and ``CenterCrop``, and of timm's, which for an input
    that is not square resizes the picture to cover it.

    Parameters
    ----------
    size
        (height, width) of the input, in pixels.
    resize
        Length of the short side before the crop, in pixels.
    interpolation
        The filter that resizes.
    whole
        Whether the picture loses its proportions, so that its whole area is seen where `resize` is the input's side.
    """

    size: tuple[int, int]
    resize: int
    interpolation: Interpolation = "bicubic"
    whole: bool = False

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels of a picture of this height and width when it is resized, before the crop."""
        scale = self.resize / min(self.size)
        wanted = (int(self.size[0] * scale), int(self.size[1] * scale))
        if self.whole:
            return wanted
        if self.size[0] == self.size[1]:
            short = min(height, width)
            return int(self.resize * height / short), int(self.resize * width / short)
        ratio = min(height / wanted[0], width / wanted[1])
        return max(round(height / ratio), self.size[0]), max(round(width / ratio), self.size[1])

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """(top, left) in pixels of the crop from a resized picture of this height and width."""
        return round((height - self.size[0]) / 2), round((width - self.size[1]) / 2)


class Unreadable(Exception):
    """A file cannot be read as an image. The message is the reason, in a few words."""


def read_picture(path: Path, size: tuple[int, int] | Framing, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image and bring it to a size.

    The orientation (EXIF) is applied and transparent parts become white. Grey, CMYK and palette images become RGB, grey
    images with 16 bits keep their range, and an animation gives its first frame.

    Parameters
    ----------
    path
        The file.
    size
        How a classifier frames its input: pixels of 8 bits are resized and cropped by Pillow, as timm and torchvision
        do before they make a tensor. Or (height, width) of the result in pixels: the image is resized to cover it and
        cropped at the centre.
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
                image.load()  # at full size: a JPEG decoded at a fraction of it would give other pixels than timm's
                return _fitted(ImageOps.exif_transpose(image), size)
    except Image.DecompressionBombError:
        raise Unreadable(f"more than max_pixels={max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise Unreadable("not a picture, or in a format that Pillow does not know") from None
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise Unreadable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _fitted(image: Image.Image, size: tuple[int, int] | Framing) -> Tensor:
    if image.mode.startswith("I") or image.mode == "F":
        # Kept as floats: Pillow would clip 16-bit values at 255.
        grey = _resized(Image.fromarray(_deep(image), mode="F"), size)
        data = torch.from_numpy(np.array(grey, dtype=np.float32)).clamp(0, 1)
        return data.expand(3, *data.shape).clone()
    fitted = _resized(_rgb(image), size)
    return torch.from_numpy(np.array(fitted, dtype=np.uint8)).permute(2, 0, 1).float().div(255)


def _resized(image: Image.Image, size: tuple[int, int] | Framing) -> Image.Image:
    if not isinstance(size, Framing):
        return ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BICUBIC)
    height, width = size.resized(image.height, image.width)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), _FILTERS[size.interpolation])
    top, left = size.corner(height, width)
    return image.crop((left, top, left + size.size[1], top + size.size[0]))


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
