"""How evenly the actions were picked."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import fmean, pstdev


def entropy(counts: Sequence[int]) -> float:
    """Entropy of the picks in nats; ln k for k actions picked equally often."""
    total = sum(counts)
    return sum(-c / total * log(c / total) for c in counts if c) if total else 0.0


def anc(counts: Sequence[int]) -> float:
    """Average normalised count: mean over maximum, in (0, 1]; 1 for equal counts, 0 if nothing was picked."""
    return fmean(counts) / max(counts) if any(counts) else 0.0


def icv(counts: Sequence[int]) -> float | None:
    """Inverse coefficient of variation: mean over standard deviation (ddof 0); None for equal counts."""
    spread = pstdev(counts)
    return fmean(counts) / spread if spread else None


def line(counts: Sequence[int]) -> str:
    """The three figures, for people."""
    inverse = icv(counts)
    shown = "undefined" if inverse is None else f"{inverse:.2f}"
    return f"picks of {len(counts)} actions: entropy {entropy(counts):.2f} nats, ANC {anc(counts):.2f}, ICV {shown}"
