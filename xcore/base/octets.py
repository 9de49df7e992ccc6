"""Pictures in a byte for each value instead of four, where not a bit is lost: those from files are whole 255ths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def as_octets(images: Tensor) -> Tensor | None:
    """The images in 8 bits, of the same shape; None if `as_floats` would not give them back bit for bit.

    Parameters
    ----------
    images
        (n, ...) float32 in [0, 1]. They are looked at one by one, so that no second copy of all is made.
    """
    import torch

    if images.dtype != torch.float32:
        return None
    made = torch.empty(images.shape, dtype=torch.uint8, device=images.device)
    for image, kept in zip(images, made, strict=True):
        kept.copy_((image * 255).round().clamp_(0, 255))
        # Compared as bits: a negative zero equals zero, but has a digest of its own.
        if not torch.equal(as_floats(kept).view(torch.int32), image.contiguous().view(torch.int32)):
            return None
    return made


def as_floats(octets: Tensor) -> Tensor:
    """The images of which `as_octets` made these: float32 in [0, 1]."""
    return octets.float().div_(255)
