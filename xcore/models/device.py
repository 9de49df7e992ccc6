"""The torch device that models run on: one setting for the whole process, made by ``--device``."""

from __future__ import annotations

from xcore.base.errors import UsageError

_device = "cpu"


def current() -> str:
    """The device on which models are put when they are made, e.g. "cpu" or "cuda:0"."""
    return _device


def use(name: str) -> None:
    """Choose the device for models that are made from now on; raises `UsageError` if torch cannot use it."""
    global _device
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used: {reason}", "choose another, e.g. --device cpu") from None
    _device = name
