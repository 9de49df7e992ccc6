"""The preprocessing of a classifier, on tensors: resize, centre crop and normalise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xcore.contract import UsageError
from xcore.inputs.images import Framing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a model: (n, 3, H, W) in [0, 1] -> (n, 3, h, w) normalised.

    Parameters
    ----------
    framing
        How pictures of other sizes than the model's input are resized and cropped. Pictures of the input's size are
        left as they are: a data set reads its files with the framing of the classifier, so that positions in
        activations and in pictures correspond.
    mean, std
        Mean and standard deviation of each channel, for images in [0, 1].
    reverse
        Whether the network takes blue, green and red in this order; then so are `mean` and `std`.
    """

    framing: Framing
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    reverse: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        if tuple(images.shape[-2:]) != self.framing.size:
            images = framed(images, self.framing)
        mean = torch.tensor(self.mean, device=images.device).reshape(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).reshape(-1, 1, 1)
        return ((images.flip(1) if self.reverse else images) - mean) / std


def framed(images: Tensor, framing: Framing) -> Tensor:
    """Images (n, 3, H, W) in [0, 1], resized with antialiasing and cropped: (n, 3, h, w) in [0, 1].

    For images that are tensors already. Those of files are framed when they are read, on their 8-bit pixels.
    """
    size = framing.resized(*images.shape[-2:])
    if tuple(images.shape[-2:]) != size:
        if framing.interpolation == "nearest":
            images = interpolate(images, size=size, mode="nearest")
        else:  # torch has no Lanczos filter
            mode = "bilinear" if framing.interpolation == "bilinear" else "bicubic"
            images = interpolate(images, size=size, mode=mode, align_corners=False, antialias=True).clamp(0, 1)
    (top, left), (h, w) = framing.corner(*size), framing.size
    return images[..., top : top + h, left : left + w]


def with_options(preprocessing: Preprocessing, options: Any) -> Preprocessing:
    """The preprocessing with the values that the options give; raises `UsageError` for a `std` that is not above 0."""
    framing = preprocessing.framing
    if options.input_size is not None:
        scale = options.input_size / min(framing.size)
        resize = max(options.input_size, round(framing.resize * scale))
        framing = replace(framing, size=(options.input_size,) * 2, resize=resize)
    if options.fit == "whole":
        framing = replace(framing, resize=min(framing.size), whole=True)
    if options.std is not None and min(options.std) <= 0:
        raise UsageError(f"std is {options.std}, and all values must be above 0", "give standard deviations above 0")
    mean, std = options.mean or preprocessing.mean, options.std or preprocessing.std
    return replace(preprocessing, framing=framing, mean=mean, std=std)
