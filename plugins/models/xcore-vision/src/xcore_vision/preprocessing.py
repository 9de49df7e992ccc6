"""The preprocessing of a classifier, on tensors: resize, centre crop and normalise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xcore.contract import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a model: (n, 3, H, W) in [0, 1] -> (n, 3, h, w) normalised.

    Parameters
    ----------
    size
        (height, width) of the model's input.
    resize
        Length in pixels to which the picture's short side is resized before the centre crop. Pictures of the model's
        input size are not resized or cropped, so that positions in activations and in pictures correspond.
    mean, std
        Mean and standard deviation of each channel, for images in [0, 1].
    interpolation
        "bilinear" or "bicubic", both with antialiasing, or "nearest".
    whole
        Whether the whole picture is resized to the input size, without any crop.
    """

    size: tuple[int, int]
    resize: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"
    whole: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        if tuple(images.shape[-2:]) != self.size:
            images = self._fitted(images)
        mean = torch.tensor(self.mean, device=images.device).reshape(3, 1, 1)
        std = torch.tensor(self.std, device=images.device).reshape(3, 1, 1)
        return (images - mean) / std

    def _fitted(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.whole:
            return self._resized(images, self.size)
        # As in torchvision, the long side is rounded down and the start of the crop is rounded.
        short = min(height, width)
        images = self._resized(images, (int(self.resize * height / short), int(self.resize * width / short)))
        h, w = self.size
        top, left = round((images.shape[-2] - h) / 2), round((images.shape[-1] - w) / 2)
        return images[..., top : top + h, left : left + w]

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(images.shape[-2:]) == size:
            return images
        if self.interpolation == "nearest":
            return interpolate(images, size=size, mode="nearest")
        resized = interpolate(images, size=size, mode=self.interpolation, align_corners=False, antialias=True)
        return resized.clamp(0, 1)


def with_options(preprocessing: Preprocessing, options: Any) -> Preprocessing:
    """The preprocessing with the values that the options give; raises `UsageError` for a `std` that is not above 0."""
    if options.input_size is not None:
        scale = options.input_size / min(preprocessing.size)
        preprocessing = replace(
            preprocessing,
            size=(options.input_size,) * 2,
            resize=max(options.input_size, round(preprocessing.resize * scale)),
        )
    if options.std is not None and min(options.std) <= 0:
        raise UsageError(f"std is {options.std}, and all values must be above 0", "give standard deviations above 0")
    return replace(
        preprocessing,
        mean=options.mean if options.mean is not None else preprocessing.mean,
        std=options.std if options.std is not None else preprocessing.std,
        whole=options.fit == "whole",
    )
