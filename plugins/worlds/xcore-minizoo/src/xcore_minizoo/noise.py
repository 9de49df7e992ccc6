"""A network whose logits say nothing of what a picture shows: `minizoo/noise[:SEED]`, for the level of tests.

The logit of each class is the sine of a random projection of the pixels that takes many turns from one picture to the
next. So it is a fixed function of the picture, as that of any network, but as good as independent of everything that
can be seen: a test that calls a phrase important for it is wrong. Among so many pictures that a method looks at, the
logits are as if they had been permuted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xcore.contract import UsageError, digest
from xcore.models.classifiers import TorchClassifier
from xcore_minizoo.models import scaled
from xcore_minizoo.sources import code_digest
from xcore_minizoo.world import CLASS_NAMES

SIZE = 2.0
"""The greatest logit."""
TURNS = 3.0
"""Standard deviation of the weights. Two pictures of a class are then tens of turns apart."""


class Noise(nn.Module):
    """Images (n, 3, 64, 64) in [-1, 1] -> logits (n, 9)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weights = TURNS * torch.randn(3 * 64 * 64, len(CLASS_NAMES), generator=generator, dtype=torch.float64)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """The logits; the projection is in double precision, so that they are the same in batches of any size."""
        phases = x.flatten(1).double() @ self.weights.double()  # type: ignore[operator]
        logits: Tensor = SIZE * phases.sin().float()
        return logits


def classifier(options: None, argument: str = "") -> TorchClassifier:
    """The classifier `minizoo/noise:SEED`."""
    return TorchClassifier(Noise(_seed(argument)).eval(), list(CLASS_NAMES), preprocess=scaled, input_size=64)


def fingerprint(options: Any, argument: str = "") -> str:
    """What identifies the weights: the seed and the code that draws them."""
    return digest([_seed(argument), code_digest("noise")])


def _seed(argument: str) -> int:
    if argument and not (argument.isascii() and argument.isdigit()):
        raise UsageError(
            f"the seed of minizoo/noise:{argument} must be a whole number of 0 or more", "e.g. minizoo/noise:0"
        )
    return int(argument or 0)
