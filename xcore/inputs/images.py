"""Reads image files of every kind as float32 RGB in [0, 1], framed as a classifier frames its input."""

from __future__ import annotations

import io
import math
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

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
    floor
        Whether a margin of half a pixel is rounded down, as transformers does; torchvision and timm round it to even.
    """

    size: tuple[int, int]
    resize: int
    interpolation: Interpolation = "bicubic"
    whole: bool = False
    floor: bool = False

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
        rounded = math.floor if self.floor else round
        return rounded((height - self.size[0]) / 2), rounded((width - self.size[1]) / 2)


Picture = Path | bytes | np.ndarray | Image.Image
"""An image: its file, what would be in the file, a picture of Pillow, or its pixels: (H, W, 3) or (H, W) of 8 bits, or
(H, W, 3) of float32 in [0, 1]."""


class Unreadable(Exception):
    """A file cannot be read as an image. The message is the reason, in a few words."""


def read_picture(picture: Picture, size: tuple[int, int] | Framing | None, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image and bring it to a size.

    The orientation (EXIF) is applied and transparent parts become white. Grey, CMYK and palette images become RGB, grey
    images with 16 bits keep their range, and an animation gives its first frame.

    Parameters
    ----------
    picture
        The file, what would be in it, or its pixels.
    size
        How a classifier frames its input: pixels of 8 bits are resized and cropped by Pillow, as timm and torchvision
        do before they make a tensor. Or (height, width) of the result in pixels: the image is resized to cover it and
        cropped at the centre. None = it keeps its own size.
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are checked, and of metadata that nobody reads
        with opened(picture, max_pixels) as image:
            image.load()  # at full size: a JPEG decoded at a fraction of it would give other pixels than timm's
            if isinstance(picture, np.ndarray) and picture.dtype != np.uint8:
                bands = [_resized(Image.fromarray(band, mode="F"), size) for band in np.moveaxis(picture, 2, 0)]
                return torch.from_numpy(np.stack([np.array(band) for band in bands])).clamp(0, 1)
            return _fitted(ImageOps.exif_transpose(image), size)


def read_mask(mask: Picture, picture: Picture, size: tuple[int, int] | Framing, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read the mask of an image, and bring it to a size as the image is brought to it.

    Grey levels are divided by the largest; in a mask with a palette, all but the first colour is covered.

    Parameters
    ----------
    mask
        It may be larger or smaller than the picture, which it covers.
    picture, size, max_pixels
        As for `read_picture`.

    Returns
    -------
    float32 (height, width): how much of each pixel is covered, in [0, 1].

    Raises
    ------
    Unreadable
        The file of the mask or of the picture is no image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(picture, max_pixels) as image:
            whole = image.size[::-1] if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5 else image.size
        with opened(mask, max_pixels) as image:
            grey = ImageOps.exif_transpose(image)
            values = np.array(grey if grey.mode in ("P", "1") else as_rgb(grey).convert("L"), dtype=np.float32)
            values = values.clip(0, 1) if grey.mode == "P" else values / max(1.0, float(values.max(initial=0)))
        covered = Image.fromarray(values, mode="F")
        if covered.size != whole:
            covered = covered.resize(whole, Image.Resampling.NEAREST)
        smooth = replace(size, interpolation="bilinear") if isinstance(size, Framing) else size
        return torch.from_numpy(np.array(_resized(covered, smooth), dtype=np.float32)).clamp(0, 1)


@contextmanager
def opened(picture: Picture, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image, whose pixels may not be decoded yet.

    Parameters
    ----------
    picture
        The file, what would be in it, or its pixels.
    max_pixels
        Larger images are refused.

    Raises
    ------
    Unreadable
        It is no image or has too many pixels; or decoding it in the block failed.
    """
    try:
        if isinstance(picture, Path):
            kept = picture.stat()
            if not stat.S_ISREG(kept.st_mode):  # opening a pipe would wait for ever
                raise Unreadable("not a regular file")
            if kept.st_size == 0:
                raise Unreadable("the file is empty")
        with _image(picture) as image:
            if not image.width * image.height:
                raise Unreadable(f"it has {image.width}x{image.height} pixels")
            if image.width * image.height > max_pixels:
                raise Unreadable(f"{image.width}x{image.height} pixels, more than max_pixels={max_pixels}")
            yield image
    except Image.DecompressionBombError:
        raise Unreadable(f"more than max_pixels={max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise Unreadable("not a picture, or in a format that Pillow does not know") from None
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except OSError as error:
        raise Unreadable(error.strerror or _line(error)) from error
    except (SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise Unreadable(_line(error)) from error


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _image(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.copy()  # so that the caller's stays open
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture if picture.dtype == np.uint8 else np.rint(picture * 255).astype(np.uint8))
    return Image.open(picture if isinstance(picture, Path) else io.BytesIO(picture))


def framed(images: Tensor, framing: Framing) -> Tensor:
    """Pictures (n, 3, H, W) in [0, 1], framed with pixels of 8 bits, as if they had been saved and were read again.

    Returns
    -------
    float32 (n, 3, *framing.size) in [0, 1], on the CPU.
    """
    pixels = images.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return torch.stack([_fitted(Image.fromarray(picture), framing) for picture in pixels])


def _fitted(image: Image.Image, size: tuple[int, int] | Framing | None) -> Tensor:
    if image.mode.startswith("I") or image.mode == "F":
        # Kept as floats: Pillow would clip 16-bit values at 255.
        grey = _resized(Image.fromarray(_deep(image), mode="F"), size)
        data = torch.from_numpy(np.array(grey, dtype=np.float32)).clamp(0, 1)
        return data.expand(3, *data.shape).clone()
    fitted = _resized(as_rgb(image), size)
    return torch.from_numpy(np.array(fitted, dtype=np.uint8)).permute(2, 0, 1).float().div(255)


def _resized(image: Image.Image, size: tuple[int, int] | Framing | None) -> Image.Image:
    if size is None:
        return image
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


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB of 8 bits; transparent parts become white."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(np.rint(_deep(image).clip(0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "La", "PA", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")
