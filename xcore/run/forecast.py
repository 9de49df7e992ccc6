"""What a run will take, forecast from what a probe measured: the arithmetic (see `xcore.run.probe`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from xcore.contract.types import Cell, Outcome
from xcore.run.plan import Plan

STEPS = 6
"""Steps that a method which takes more is probed with."""
DOUBT = 0.15
"""How far a time that was measured once may be wrong: the next one differs by so much on a machine that is quiet."""


@dataclass(frozen=True)
class Amount:
    """Wall-clock seconds, seconds of the processor over all threads, and samples that a generator drew."""

    seconds: float = 0.0
    processor: float = 0.0
    drawn: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.seconds + other.seconds, self.processor + other.processor, self.drawn + other.drawn)

    def __sub__(self, other: Amount) -> Amount:
        return self + other * -1

    def __mul__(self, factor: float) -> Amount:
        return Amount(self.seconds * factor, self.processor * factor, self.drawn * factor)


@dataclass(frozen=True)
class Between:
    """An amount, and the least and the most that it is believed to be."""

    likely: Amount = Amount()
    low: Amount = Amount()
    high: Amount = Amount()

    def __add__(self, other: Between) -> Between:
        return Between(self.likely + other.likely, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Between:
        return Between(self.likely * factor, self.low * factor, self.high * factor)


def measured(amount: Amount) -> Between:
    """What was measured once."""
    low, high = amount * (1 - DOUBT), amount * (1 + DOUBT)
    return Between(amount, replace(low, drawn=amount.drawn), replace(high, drawn=amount.drawn))


@dataclass(frozen=True)
class Tick:
    """One report of progress: so many steps of so many are done after this amount."""

    step: int
    total: int
    at: Amount


@dataclass(frozen=True)
class Seen:
    """A probe of one cell, without shared work."""

    amount: Amount
    ticks: tuple[Tick, ...] = ()
    stopped: bool = False
    """Whether it was stopped before its end."""
    outcome: Outcome | None = None

    @property
    def failure(self) -> str:
        """Why there is no explanation; empty if there is one, or if it was stopped."""
        return f"{self.outcome.status}: {self.outcome.reason}" if self.outcome and self.outcome.status != "ok" else ""


def rest(ticks: Sequence[Tick], units: float, bounded: bool = False) -> Between:
    """What so many further units of progress take, when each takes what the latest ones took on average.

    Only the latter half of the seen units counts, but two at least, since a method may do something else in the
    first ones. The range is two standard errors of their mean, and `DOUBT`.

    Parameters
    ----------
    bounded
        Whether the units are the steps of a method that was given fewer: what follows the steps is none.
    """
    increments = []
    for before, after in pairwise(ticks):
        # Before the first step and after the last one a method does something else.
        if 0 < before.step < after.step and not (bounded and after.step > STEPS):
            increments += [(after.at - before.at) * (1 / (after.step - before.step))] * (after.step - before.step)
    if not bounded:
        increments = increments[max(0, min(len(increments) // 2, len(increments) - 2)) :]
    if not increments or units <= 0:
        return Between()
    n = len(increments)
    mean = Amount(*(fmean(getattr(i, f) for i in increments) for f in ("seconds", "processor", "drawn")))
    spread = stdev([i.seconds for i in increments]) / n**0.5 if n > 1 else mean.seconds
    doubt = min(0.9, (2 * spread / mean.seconds if mean.seconds else 0) + DOUBT)
    likely = mean * units
    return Between(
        likely,
        replace(likely * (1 - doubt), drawn=likely.drawn),
        replace(likely * (1 + doubt), drawn=likely.drawn),
    )


def whole(seen: Seen, steps: int = 0, few: Seen | None = None, share: float = 1.0) -> Between:
    """What a cell takes from start to end.

    Parameters
    ----------
    seen
        The probe with all samples.
    steps
        The steps that it takes without the bound `STEPS`; 0 = it was not bounded.
    few
        If it was stopped: the probe on a part of the samples, to its end.
    share
        How many times more samples the cell has than that.
    """
    if steps:
        return measured(seen.amount) + rest(seen.ticks, steps - STEPS, bounded=True)
    if not seen.stopped:
        return measured(seen.amount)
    last = seen.ticks[-1]
    cell = measured(seen.amount) + rest(seen.ticks, last.total - 1 - last.step)
    if few is not None:
        inner = [tick.at for tick in few.ticks if tick.step < tick.total]
        tail = few.amount - inner[-1] if inner else Amount()
        cell += Between(tail * share**0.5, tail, tail * share)  # it may grow with the samples, or not
    return cell


@dataclass(frozen=True)
class Kind:
    """The cells of a plan that a probe of one of them stands for."""

    label: str
    classifier: str
    cells: tuple[int, ...]
    """Positions in `Plan.cells` of those that are not finished."""
    probe: int
    """Position of the cell that is probed."""
    scores: Mapping[str, int] = field(default_factory=dict)
    """Metric -> how many of its scores are not there yet."""


def assemble(
    kinds: Sequence[Kind], found: Mapping[str, Any], plan: Plan, once: Amount
) -> tuple[Between, list[Between]]:
    """What the run takes, and what each kind takes of it.

    Parameters
    ----------
    found
        What `Probe.measure` gave.
    once
        What any run takes: its start, its plan, its table.
    """
    each = []
    for kind, about in zip(kinds, found["kinds"], strict=True):
        n = len(kind.cells)
        cells = between(about["first"]) + between(about["further"]) * (n - 1) if n else Between()
        scores = [measured(Amount(**a)) * kind.scores.get(m, 0) for m, a in about["scores"].items()]
        each.append(sum(scores, cells))
    more = sum(
        len({drawn_for(plan.cells[i]) for kind in kinds for i in kind.cells if kind.classifier == c}) - 1
        for c in {kind.classifier for kind in kinds if kind.cells}
    )
    # What is drawn for another class is drawn with the first seed again; the random sets that a generator draws are of
    # all classes and seeds.
    seeds = min(more, len({plan.cells[i].data_seed for kind in kinds for i in kind.cells} or {0}) - 1)
    shared = measured(once + Amount(**found["shared"]))
    shared += measured(Amount(**found["class"])) * (more - seeds) + measured(Amount(**found["seed"])) * seeds
    return sum(each, shared), each


def drawn_for(cell: Cell) -> tuple[str, int]:
    """What samples and random sets are drawn anew for: the class, and the seed that they are drawn with."""
    return cell.cls, cell.data_seed


def between(plain: Mapping[str, Any]) -> Between:
    """What `asdict` made of a `Between`."""
    return Between(**{name: Amount(**amount) for name, amount in plain.items()})
