"""Pictures in which phrases are most and least present, as methods show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from xcore.contract import Samples
from xcore_evidence import chart
from xcore_evidence.ridge import standardised

PICTURED = 10
"""Phrases of which pictures are drawn: the first five and the last five."""
BESIDE = 4
"""Pictures on each side of a phrase."""


def highest(values: Tensor, n: int) -> list[int]:
    """Indices of the n highest values (m,), the highest first, of equal ones the first."""
    order: list[int] = torch.argsort(values, descending=True, stable=True)[:n].tolist()
    return order


def pictured(path: Path, phrases: Sequence[str], order: Sequence[int], samples: Samples, read: Tensor) -> Path:
    """Draw the phrases at both ends of a ranking, each with pictures high and low in it, as a PNG file.

    Parameters
    ----------
    order
        Indices of the phrases, the most important first.
    read
        (n, k) presence of the phrases in the n pictures.
    """
    shown = list(order) if len(order) <= PICTURED else [*order[: PICTURED // 2], *order[-PICTURED // 2 :]]
    z = standardised(read).T
    high = [samples.images[highest(z[i], BESIDE)] for i in shown]
    low = [samples.images[highest(-z[i], BESIDE)] for i in shown]
    return chart.high_and_low(path, [phrases[i] for i in shown], high, low)
