"""How the values of two runs are set against each other: paired by class and seed, by class, by seed, or not at all.

Seeds of one class share its pictures, its classifier and its truth, so they are averaged first, and n is the number of
classes. Only where one class is compared are its seeds the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from xcore.report.comparison.statistics import Estimate, Part, class_part, judged, seed_part

FEW = 5
"""Classes below which a reader is told that they are few."""
Case = tuple[str, int]
"""Class and seed."""
ONE_SEED = "with one seed, what it changes in all classes alike is not seen"
TOO_FEW = "too few to test: run more classes or seeds, e.g. with `xcore bench --add-to`"
UNTOLD = (
    "not tested: the runs have other seeds or samples, and no repetitions of them, so that what a seed changes in all "
    "classes cannot be told from a change; run both with the same seeds, or with more"
)
JOINT = "with one value for all seeds, what they change in all classes alike is not seen"


@dataclass(frozen=True)
class Values:
    """The values of one method and metric in one run."""

    of: Mapping[Case, float]
    draws: Mapping[Case, int]
    """Seed that the samples of a case were drawn with, of all cases that the run was asked for."""
    joint: bool = False
    """One value was given for several seeds together, so that they are no repetitions."""


@dataclass(frozen=True)
class Change:
    """Two sets of values, compared."""

    before: float
    after: float
    """Means over what is compared."""
    estimate: Estimate
    design: str
    """What is paired with what, in words."""
    unit: str
    """What n counts: "classes" or "seeds"."""
    remark: str = ""
    """What the test does not see, or why there is none."""


def change(a: Values, b: Values) -> Change:
    """Compare the values of two runs; both have some."""
    ours, theirs = (list(dict.fromkeys(cls for cls, _ in values.of)) for values in (a, b))
    shared = [cls for cls in ours if cls in theirs]
    if len(shared) > 1:
        return _by_class(a, b, shared)
    if shared and 1 in (len(ours), len(theirs)):
        return _by_seed(a, b, shared[0])
    return _apart(a, b, ours, theirs)


def _by_class(a: Values, b: Values, shared: Sequence[str]) -> Change:
    pairs = _pairs(a, b)
    joint = a.joint or b.joint
    if not joint and {cls for cls, _ in pairs} == set(shared):
        before, after = ({case: values.of[case] for case in pairs} for values in (a, b))
        sides, design = [{case: b.of[case] - a.of[case] for case in pairs}], "paired by class and seed"
    else:
        before, after = (_of(values, shared) for values in (a, b))
        sides, design = _repetitions(a, b), "paired by class; the seeds or samples differ, and are averaged first"
    means = [list(_means(table).values()) for table in (before, after)]
    if joint and _drawn(a) != _drawn(b):
        gap = fmean(means[1]) - fmean(means[0])
        design = "paired by class; each has one value for all its seeds, and these differ"
        return Change(fmean(means[0]), fmean(means[1]), Estimate(gap, len(shared)), design, "classes", UNTOLD)
    if joint:
        sides, design = [], "paired by class, with one value for all seeds"
    gaps = [y - x for x, y in zip(*means, strict=True)]
    made = _change(means, [class_part(gaps)], sides, len(shared), design, paired=len(sides) < 2)
    return replace(made, remark=JOINT) if joint else made


def _apart(a: Values, b: Values, ours: Sequence[str], theirs: Sequence[str]) -> Change:
    means = [list(_means(_of(*each)).values()) for each in ((a, ours), (b, theirs))]
    design = "not paired, since the runs share no two classes: the means of their classes are compared"
    if min(map(len, means)) < 2:
        estimate = Estimate(fmean(means[1]) - fmean(means[0]), min(map(len, means)))
        return Change(fmean(means[0]), fmean(means[1]), estimate, design, "classes", TOO_FEW)
    sides = _repetitions(a, b)
    if a.joint or b.joint:
        estimate = Estimate(fmean(means[1]) - fmean(means[0]), min(map(len, means)))
        return Change(fmean(means[0]), fmean(means[1]), estimate, design, "classes", UNTOLD)
    return _change(means, [class_part(side) for side in means], sides, min(map(len, means)), design, paired=False)


def _change(
    means: Sequence[Sequence[float]],
    parts: list[Part],
    sides: Sequence[Mapping[Case, float]],
    n: int,
    design: str,
    *,
    paired: bool,
) -> Change:
    """Test over classes, with what the seeds of each of the sides add."""
    before, after = map(fmean, means)
    size = max(abs(value) for side in means for value in side)
    repeated = [side for side in sides if len({seed for _, seed in side}) > 1]
    if sides and not paired and len(repeated) < len(sides):
        return Change(before, after, Estimate(after - before, n), design, "classes", UNTOLD)
    test = "t test over classes and seeds" if repeated else "t test over classes"
    remark = ONE_SEED if sides and not repeated else ""
    estimate = judged(after - before, [*parts, *map(seed_part, repeated)], n, size, test)
    return Change(before, after, estimate, design, "classes", remark)


def _by_seed(a: Values, b: Values, cls: str) -> Change:
    """One class: its seeds are the sample, unless they are no repetitions."""
    sides = [_of(values, [cls]) for values in (a, b)]
    if a.joint or b.joint:
        before, after = (fmean(side.values()) for side in sides)
        return Change(
            before, after, Estimate(after - before, 1), "one class, one value for all seeds", "classes", TOO_FEW
        )
    if pairs := [case for case in _pairs(a, b) if case[0] == cls]:
        before, after = (fmean(values.of[case] for case in pairs) for values in (a, b))
        gaps, design = [b.of[case] - a.of[case] for case in pairs], "one class, paired by seed"
        if len(gaps) < 2:
            return Change(before, after, Estimate(after - before, 1), design, "seeds", TOO_FEW)
        parts, n, test = [class_part(gaps)], len(gaps), "paired t test over seeds"
    else:
        design = "one class, not paired, since the seeds or samples differ"
        levels = [list(side.values()) for side in _repetitions(a, b, [cls])]
        before, after, n = fmean(levels[0]), fmean(levels[1]), min(map(len, levels))
        if n < 2:
            return Change(before, after, Estimate(after - before, n), design, "seeds", TOO_FEW)
        parts, test = [class_part(level) for level in levels], "Welch's t test over seeds"
    size = max(abs(value) for side in sides for value in side.values())
    return Change(before, after, judged(after - before, parts, n, size, test), design, "seeds")


# -- which values ------------------------------------------------------------------------------------------------------
def _pairs(a: Values, b: Values) -> list[Case]:
    """Classes and seeds that both have a value for, of the same samples."""
    return [case for case in a.of if case in b.of and a.draws.get(case) == b.draws.get(case)]


def _drawn(values: Values) -> set[tuple[int, int]]:
    """The seeds of a run, each with what its samples were drawn with."""
    return {(seed, draw) for (_, seed), draw in values.draws.items()}


def _of(values: Values, classes: Iterable[str]) -> dict[Case, float]:
    kept = set(classes)
    return {case: value for case, value in values.of.items() if case[0] in kept}


def _means(table: Mapping[Case, float]) -> dict[str, float]:
    """Class -> the mean over its seeds."""
    found: dict[str, list[float]] = {}
    for (cls, _), value in table.items():
        found.setdefault(cls, []).append(value)
    return {cls: fmean(found[cls]) for cls in sorted(found)}


def _repetitions(a: Values, b: Values, classes: Iterable[str] | None = None) -> list[dict[Case, float]]:
    """The values of each run by class and repetition, of runs that are not paired.

    A repetition is a draw of samples, which each seed has of its own unless a suite fixes it; seeds are one where both
    runs have the one same draw.
    """
    draws = [set(values.draws.values()) for values in (a, b)]
    fixed = draws[0] == draws[1] and len(draws[0]) == 1
    found = []
    for values in (a, b):
        table: dict[Case, list[float]] = {}
        for case, value in values.of.items():
            if classes is None or case[0] in classes:
                table.setdefault((case[0], case[1] if fixed else values.draws[case]), []).append(value)
        found.append({case: fmean(of) for case, of in table.items()})
    return found
