"""The torch device that models are put on: one setting a process, made by ``--device``."""

from __future__ import annotations

from xcore.errors import UsageError

_device = "cpu"


def current() -> str:
    """The device of models made from now on."""
    return _device


def use(name: str) -> None:
    """Choose the device; raises `UsageError` if torch has no such device."""
    global _device
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}", "e.g. --device cpu") from None
    _device = name
