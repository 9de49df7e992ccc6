"""What a network does that explanations do not expect, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from xcore.models.graph import frozen, map_tensors
from xcore.models.outputs import close
from xcore.models.torch_model import CannotRun, TorchModel


def depends_on(model: TorchModel, args: Any, before: Tensor | None, logits: Tensor) -> tuple[str, ...]:
    """Notes on logits that depend on other samples in the batch, or differ from call to call.

    The first sample runs alone, and if its logits are others than in the batch, the batch runs again: that tells the
    two apart. Rounding does not count.

    Parameters
    ----------
    args
        Input of the module for two samples.
    before
        Their logits in an earlier call; None if there was none.
    logits
        (2, classes) of the two samples.
    """
    again = "the logits of the same samples differ from call to call: the network draws at random when it is evaluated"
    random = f"{again}, so that explanations of it do, too"
    if before is not None and before.shape == logits.shape and not close(before, logits):
        return (random,)
    one = map_tensors(lambda tensor: tensor[:1] if tensor.ndim and len(tensor) == len(logits) else tensor, args)
    try:
        with frozen(model.module), torch.no_grad():
            alone = model.run(one, 1)
            if close(alone, logits[:1]):
                return ()
            if not close(model.run(args, len(logits)), logits):
                return (random,)
    except CannotRun as error:
        return (f"the network fails on one sample alone: {error.reason}{_norms(model.module)}",)
    return (
        "the logits of a sample depend on the others in its batch"
        f"{_norms(model.module)}: they are those of a batch of {model.batch_size}, and change with batch_size",
    )


def _norms(module: nn.Module) -> str:
    """The norms that take their statistics from the batch in evaluation mode, for a message."""
    names = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
    ]
    return f" ({names[0]!r} takes its statistics from the batch)" if names else ""


def unprepared(module: nn.Module) -> str:
    """A note if a network expects pictures that are normalised, and is given them as they are; empty otherwise."""
    name, place = type(module).__name__, type(module).__module__
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if isinstance(config, dict) and "mean" in config:
        if not _differs(config["mean"], 0) and not _differs(config.get("std", ()), 1):
            return ""
        means = f"mean {_shown(config['mean'])} and standard deviation {_shown(config.get('std', ()))}"
        architecture = config.get("architecture") or "NAME"
        reads, instead = f"pictures that are normalised by {means}", f"xcore.open('timm:{architecture}')"
    elif place.startswith("transformers."):
        reads, instead = "pictures as its image processor prepares them", "xcore.open('hf:DIR')"
    elif place.startswith("torchvision.models."):
        reads, instead = "pictures that are normalised", "xcore.open('torchvision:NAME')"
    else:
        return ""
    return (
        f"{name} usually reads {reads}, and gets them in [0, 1]: if nothing in it normalises them, use {instead} or "
        "preprocess="
    )


def _differs(numbers: Iterable[float], plain: float) -> bool:
    return any(abs(number - plain) > 1e-6 for number in numbers)


def _shown(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{number:.3g}" for number in numbers) + ")"
