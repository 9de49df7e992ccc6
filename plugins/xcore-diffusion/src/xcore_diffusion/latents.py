"""The latents of a pipeline as a layer: what the denoiser hands to the decoder of the autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NoReturn

from torch import Tensor

from xcore.errors import NotApplicable
from xcore.samples import Samples


class LatentProbe:
    """A generator opened at its latents (protocol `xcore.protocols.Probe`, without a head).

    Parameters
    ----------
    read
        Samples -> latents (n, C, h, w): those that were drawn, else the mode of the encoder.
    name
        What messages call the generator.
    """

    layout: Literal["NC", "NCHW", "NTC"] = "NCHW"

    def __init__(self, read: Callable[[Samples], Tensor], name: str) -> None:
        self._read, self._name = read, name

    def activations(self, x: Samples) -> Tensor:
        """Latents (n, C, h, w) float32 on the CPU, scaled as the denoiser sees them.

        Raises
        ------
        UsageError
            The samples bring latents of another shape than this generator draws.
        """
        return self._read(x)

    def gradients(self, x: Samples, target: int) -> NoReturn:
        """Raise `NotApplicable`: latents lead to a picture, not to a logit."""
        raise self._no_logits()

    def head(self, a: Tensor, like: Samples | None = None) -> NoReturn:
        """Raise `NotApplicable`: latents lead to a picture, not to a logit."""
        raise self._no_logits()

    def _no_logits(self) -> NotApplicable:
        return NotApplicable(
            f"the latents of {self._name} lead to no logits: there are no gradients and no head",
            "read their activations, or open a classifier",
        )
