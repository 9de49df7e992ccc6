"""Tensors and lists of texts as `Samples`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xcore.base.errors import UsageError
from xcore.contract.samples import Samples

if TYPE_CHECKING:
    import torch

    Data = torch.Tensor | Samples | Sequence[str]


def as_samples(data: Data) -> Samples:
    """Images or texts as `Samples`, with ids that count them.

    Parameters
    ----------
    data
        Images (n, 3, H, W) in [0, 1], or a list of texts. `Samples` are returned as they are.

    Raises
    ------
    UsageError
        Images are no tensor, or their values are outside of [0, 1] or NaN; or `data` is one string.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, str):
        raise UsageError("one string is no list of texts", "pass [text] for a single text")
    if isinstance(data, Sequence):
        if data and hasattr(data[0], "shape"):
            raise UsageError(f"images are a {type(data).__name__}, not a tensor", "pass torch.stack(images)")
        return Samples("text", tuple(data), tuple(f"text/{i}" for i in range(len(data))))
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is None or not isinstance(data, torch.Tensor):
        what = type(data).__name__
        hint = "pass torch.from_numpy(images)" if what == "ndarray" else "pass images (n, 3, H, W) in [0, 1], or texts"
        raise UsageError(f"images are a {what}, not a tensor", hint)
    images = data.detach().float()
    if bool(images.isnan().any()):
        raise UsageError("images hold NaN", "look how they are read or prepared")
    if images.numel() and (float(images.min()) < 0 or float(images.max()) > 1):
        low, high = float(images.min()), float(images.max())
        hint = "scale them to [0, 1]: any other preprocessing is up to the classifier"
        raise UsageError(f"images must lie in [0, 1], got [{low:.2f}, {high:.2f}]", hint)
    return Samples("image", images, tuple(f"image/{i}" for i in range(len(images))))
