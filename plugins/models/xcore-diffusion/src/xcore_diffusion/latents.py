"""The latents of a pipeline as a layer: they are what the denoiser passes to the decoder of the autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NoReturn

from torch import Tensor

from xcore.contract import NotApplicable, Samples


class LatentProbe:
    """A probe at the latents of a generator (protocol `xcore.contract.Probe`, without gradients and head).

    Parameters
    ----------
    read
        Samples -> latents (n, C, h, w): those in their meta, else the mode of the encoder.
    name
        The name of the generator in messages.
    """

    layout: Literal["NC", "NCHW", "NTC"] = "NCHW"

    def __init__(self, read: Callable[[Samples], Tensor], name: str) -> None:
        self._read, self._name = read, name

    def activations(self, x: Samples) -> Tensor:
        """The latents (n, C, h, w), float32 on the CPU, scaled as the denoiser sees them.

        Raises
        ------
        UsageError
            The latents in the meta of the samples have another shape than those of this generator.
        """
        return self._read(x)

    def gradients(self, x: Samples, target: int) -> NoReturn:
        """Raise `NotApplicable`: latents lead to an image, not to logits."""
        raise self._no_logits()

    def head(self, a: Tensor, like: Samples | None = None) -> NoReturn:
        """Raise `NotApplicable`: latents lead to an image, not to logits."""
        raise self._no_logits()

    def _no_logits(self) -> NotApplicable:
        return NotApplicable(
            f"the latents of {self._name} lead to no logits, so there are no gradients and no head",
            "use the activations only, or explain a classifier",
        )
