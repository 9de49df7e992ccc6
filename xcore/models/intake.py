"""What a module takes: the type, channels and shape that its first layer reads, and sizes of pictures to try."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xcore.base.errors import UsageError
from xcore.models.graph import frozen, map_tensors, run, tensors_in
from xcore.models.modules import hookable

SIZES = (224, 64, 32, 28, 96, 128, 256, 384, 299, 16, 8)
"""Sides of the square images that are tried on a module if its input size is not given, in pixels, in this order."""
LUMINANCE = "0.299 of red, 0.587 of green and 0.114 of blue"


class WrongSize(UsageError):
    """The first layer reads vectors of another length than pictures of this size have; `reason` says which."""

    reason = ""


@dataclass(frozen=True)
class Intake:
    """How images (n, 3, H, W) become what a module's first layer reads.

    Parameters
    ----------
    layer
        Name of the first layer with weights that is called; "" = it was not found.
    grey
        Whether the module reads one channel, so that colours become grey by their luminance. Grey stays as it is.
    flat
        Whether the module reads vectors, so that images are flattened.
    """

    layer: str = ""
    grey: bool = False
    flat: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of it, one line each."""
        grey = f"the network reads one channel: colours become grey by their luminance ({LUMINANCE})"
        flat = "the network reads vectors: pictures are flattened, channel by channel and row by row"
        return (*([grey] if self.grey else []), *([flat] if self.flat else []))

    def __call__(self, args: Any, dtype: torch.dtype) -> Any:
        """The module's input in the type of its first layer, and with its channels."""
        return map_tensors(lambda tensor: self._changed(tensor, dtype), args)

    def _changed(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if self.grey and tensor.ndim == 4 and tensor.shape[1] == 3:
            red, green, blue = tensor.split(1, 1)
            tensor = green + 0.299 * (red - green) + 0.114 * (blue - green)  # which leaves grey exactly as it is
        if self.flat and tensor.ndim == 4:
            tensor = tensor.flatten(1)
        return tensor.to(dtype)


class _Stop(BaseException):
    """Ends a forward pass at the first layer."""


def find_intake(module: nn.Module, args: Any) -> Intake:
    """How images become what the first layer of a module reads, seen in a forward pass that ends there.

    Parameters
    ----------
    args
        Input of the module that was made from RGB images.

    Raises
    ------
    UsageError
        The first layer reads another number of channels than 1 and 3.
    WrongSize
        It reads vectors of another length.
    """
    given = next((tensor for tensor in tensors_in(args) if tensor.ndim == 4 and tensor.is_floating_point()), None)
    if given is None:
        return Intake()
    met: list[tuple[str, nn.Module, Any]] = []

    def note(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...]) -> None:
            met.append((name, part, inputs[0] if inputs else None))
            raise _Stop

        return hook

    handles = [part.register_forward_pre_hook(note(name)) for name, part in hookable(module) if _reads(part)]
    if isinstance(getattr(module, "weight", None), Tensor) and not isinstance(module, torch.jit.ScriptModule):
        handles.append(module.register_forward_pre_hook(note("")))  # a module that is one layer
    try:
        if handles:
            with frozen(module), torch.no_grad():
                run(module, args)
    except (
        _Stop,
        Exception,
    ):  # whatever is wrong is told by the forward pass in earnest; here only the first layer counts
        pass
    finally:
        for handle in handles:
            handle.remove()
    if not met:
        return Intake(grey=_first_channels(module) == 1 and given.shape[1] == 3)
    name, part, reached = met[0]
    if not isinstance(reached, Tensor):
        return Intake(name)
    wanted = channels_of(part)
    if isinstance(part, nn.Linear):
        return _of_vectors(module, name, part.in_features, given, reached)
    if wanted is None or reached.ndim != 4 or reached.shape[1] == wanted or reached.shape[1] != given.shape[1]:
        return Intake(name)
    if wanted == 1 and given.shape[1] == 3:
        return Intake(name, grey=True)
    gives = "pictures have 3" if given.shape[1] == 3 else f"its preprocessing gives {given.shape[1]}"
    raise UsageError(
        f"{type(module).__name__} takes {wanted} channels (its first layer {name!r}), and {gives}",
        f"pass preprocess=, a function that makes inputs of {wanted} channels of images (n, 3, H, W)",
    )


def _reads(part: nn.Module) -> bool:
    """Whether a part is one layer with weights of real numbers, as a convolution is."""
    weight = part._parameters.get("weight")
    real = weight is not None and weight.is_floating_point() and not isinstance(part, nn.Embedding)
    return real and not any(True for _ in part.children())


def channels_of(part: nn.Module) -> int | None:
    """How many channels a layer reads, on axis 1; None if its kind does not say."""
    if isinstance(part, nn.modules.conv._ConvNd):
        return int(part.in_channels)
    return int(part.num_features) if isinstance(part, nn.modules.batchnorm._BatchNorm) else None


def _first_channels(module: nn.Module) -> int | None:
    """The channels of the first weight of four axes, for modules that no hook can see into."""
    weight = next((p for p in module.parameters() if p.ndim == 4), None)
    return None if weight is None else int(weight.shape[1])


def _of_vectors(module: nn.Module, name: str, length: int, given: Tensor, reached: Tensor) -> Intake:
    """The intake of a module whose first layer is linear and reads vectors of this length."""
    whole = math.prod(given.shape[1:])
    if reached is given or reached.shape == given.shape:  # nothing before it has changed the picture
        if reached.shape[-1] == length:
            return Intake(name)
        if length in (whole, whole // 3):
            return Intake(name, grey=length != whole, flat=True)
    elif reached.shape[-1] == length:
        return Intake(name)
    elif reached.shape[-1] == 3 * length and given.shape[1] == 3:
        return Intake(name, grey=True)
    reason = f"its first layer {name!r} reads vectors of {length} numbers"
    shown = " x ".join(map(str, given.shape[1:]))
    hint = "pass input_size=..., or preprocess=, a function that makes them of images (n, 3, H, W)"
    error = WrongSize(f"{type(module).__name__} takes no pictures of {shown}: {reason}", hint)
    error.reason = reason
    raise error


def sizes_to_try(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Sizes of pictures that a module may take: what it says itself, what vectors suggest, and common ones."""
    told: list[Any] = []
    for owner in (module, getattr(module, "config", None), getattr(module, "patch_embed", None)):
        config = getattr(owner, "pretrained_cfg", None)
        told += [config["input_size"][1:]] if isinstance(config, dict) and "input_size" in config else []
        told += [getattr(owner, name, None) for name in ("img_size", "image_size")]
    first = next((part for _, part in module.named_modules() if _reads(part)), None)
    if isinstance(first, nn.Linear):
        sides = (math.isqrt(first.in_features // channels) for channels in (3, 1))
        told += [s for s, c in zip(sides, (3, 1), strict=True) if s > 1 and c * s * s == first.in_features]
    tried = set()
    for size in (*reversed(told), *SIZES):
        pair = _pair(size)
        if pair is not None and pair not in tried:
            tried.add(pair)
            yield pair


def _pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int) and size > 0:
        return size, size
    if isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return int(size[0]), int(size[1])
    return None


def artificial_pictures(height: int, width: int) -> Tensor:
    """Two pictures (2, 3, height, width) in [0, 1] of coloured clouds, always the same ones."""
    generator = torch.Generator().manual_seed(0)  # a local one, so that the global random state stays as it is
    coarse = torch.rand(2, 3, 4, 4, generator=generator)
    clouds = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return (clouds + 0.2 * torch.rand(clouds.shape, generator=generator) - 0.1).clamp(0, 1)
