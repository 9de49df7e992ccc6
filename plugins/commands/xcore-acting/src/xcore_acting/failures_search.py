"""The search for failure modes: combinations of tags that fail more often, chosen on one half and tested on the other.

After Rezaei et al., PRIME: Prioritizing Interpretability in Failure Mode Extraction, ICLR 2024, whose conditions are
kept (enough support, a drop, and no tag that does not matter); the test on another half is not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from xcore_evidence.statistics import holm, wilson

from xcore_acting.failures_tags import Flags, Tags

ALIKE = 0.8
"""Overlap (Jaccard) of the samples of two modes above which the second is only named beside the first."""
WHOLE = 0.9
"""Greatest share of the samples that a mode may hold."""
MOST_TAGS = 120
"""Tags that are combined: the number of combinations grows with its cube."""
CHUNK = 2000
"""Combinations that are extended at once."""


@dataclass(frozen=True)
class Rules:
    """What a failure mode must fulfil."""

    depth: int = 3
    """Most tags in a combination."""
    support: int = 10
    share: float = 0.02
    """Least number of samples of a mode, in all, and least share of them."""
    margin: float = 0.05
    """How far the accuracy of a mode must lie below that of all samples, in [0, 1]."""
    step: float = 0.05
    """How far it must lie below that of each combination of fewer of its tags."""
    most: int = 20
    """Modes that are tested."""
    alpha: float = 0.05
    """Family-wise error rate of the tests, and the level at which a mode is chosen to be tested."""

    def least(self, n: int) -> int:
        """Least support in one half of n samples."""
        return max(1, round(max(self.support / 2, self.share * n)))


@dataclass(frozen=True, eq=False)
class Group:
    """Samples that are tested."""

    name: str
    has: Flags
    """(n,) which samples are in it."""
    among: tuple[Flags, ...] = ()
    """Samples that it must fail more often than the rest of, beside all samples: those with all its tags but one."""
    alike: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Mode:
    """A group of samples that fails more often than all, with its figures on the half that it was not chosen on."""

    name: str
    has: Flags
    """(n,) its samples, of both halves."""
    n: int
    """Support: its samples in the tested half; the other figures are of this half, too."""
    failures: int
    drop: float
    """Accuracy of all samples less that of the mode."""
    lo: float
    hi: float
    """95 % interval of the accuracy (Clopper and Pearson)."""
    drop_lo: float
    drop_hi: float
    """95 % interval of the drop (Newcombe)."""
    p: float
    """That it fails no more often than the other samples, or than those that lack one of its tags and have the others:
    the largest of the p-values of Fisher's exact tests, one-sided."""
    p_holm: float
    """p after Holm's correction over all groups that were tested in the same way."""
    accounts: float
    """Share of all failures that there would not be if the mode failed as rarely as the samples outside of it
    (population attributable fraction, Levin 1953); below 0 if it fails more rarely."""
    alike: tuple[str, ...] = ()
    """Other names of nearly the same samples."""

    @property
    def accuracy(self) -> float:
        """Share of its samples that are right; nan where it has none."""
        return 1 - self.failures / self.n if self.n else float("nan")


def halves(wrong: Flags, seed: int) -> Flags:
    """(n,) which samples are in the half that modes are chosen on: half of the failures, and half of the others."""
    rng = np.random.default_rng([seed, 24])
    chosen = np.zeros(len(wrong), dtype=bool)
    for of in (wrong, ~wrong):
        rows = rng.permutation(np.flatnonzero(of))
        chosen[rows[: len(rows) // 2]] = True
    return chosen


ABSENT = "not "
"""Begins the name of the absence of a tag. A combination has at most one absence, so that it can be pictured."""
SAME = 0.95
"""Overlap (Jaccard) of two tags above which the second is left out."""


def with_absent(tags: Tags) -> Tags:
    """The tags, and for each of them its absence; tags of all samples, of none, or that say the same are left out."""
    kept, same = list[int](), list[str]()
    varied = [i for i, count in enumerate(tags.has.sum(0)) if 0 < count < len(tags.has)]
    for i in varied:
        name = tags.names[i]
        twin = next((j for j in kept if _overlap(tags.has[:, i], tags.has[:, j]) >= SAME), None)
        if twin is None:
            kept.append(i)
        else:
            same.append(f"{name!r} is {tags.names[twin]!r}")
    few = f"; and {len(same) - 5} more" if len(same) > 5 else ""
    notes = (*tags.notes, f"tags of the same samples are left out: {', '.join(same[:5])}{few}") if same else tags.notes
    if fixed := len(tags.names) - len(varied):
        notes = (*notes, f"{fixed} of {len(tags.names)} tags are true of all samples or of none, and cannot matter")
    has, names = tags.has[:, kept], tuple(tags.names[i] for i in kept)
    # of two values, one is the absence of the other
    absent = [i for i in range(len(kept)) if all(_overlap(~has[:, i], other) < SAME for other in has.T)]
    said = tuple(f"{ABSENT}({names[i]})" if ABSENT + names[i] in names else ABSENT + names[i] for i in absent)
    flags = (False,) * len(names) + (True,) * len(said)
    return Tags(names + said, np.hstack([has, ~has[:, absent]]), notes, flags)


def strongest(tags: Tags, wrong: Flags, chosen: Flags) -> Tags:
    """At most `MOST_TAGS` tags: those whose samples fail most surely more often, on the chosen half."""
    if len(tags.names) <= MOST_TAGS:
        return tags
    has, failed = tags.has[chosen], wrong[chosen]
    errors, support = (has & failed[:, None]).sum(0), has.sum(0)
    p = fisher(errors.astype(np.int64), support.astype(np.int64), int(failed.sum()), len(failed))
    kept = np.sort(np.argsort(p, kind="stable")[:MOST_TAGS])
    note = f"of {len(tags.names)} tags and their absences the {MOST_TAGS} that go most with failures are combined"
    names, absent = tuple(tags.names[i] for i in kept), tuple(bool(tags.is_absent[i]) for i in kept)
    return Tags(names, tags.has[:, kept], (*tags.notes, note), absent)


def modes(tags: Tags, wrong: Flags, chosen: Flags, rules: Rules) -> tuple[list[Mode], int]:
    """The failure modes that combinations of tags name, and how many combinations were looked at.

    Parameters
    ----------
    tags
        Of n samples.
    wrong
        (n,) whether the classifier fails.
    chosen
        (n,) the half that modes are chosen on; they are tested on the others.

    Returns
    -------
    Those that were tested, the surest of the chosen half first.
    """
    has, failed = tags.has[chosen], wrong[chosen]
    combos, support, errors = supported(has, failed, tags.is_absent, rules)
    rate = failed.mean() if len(failed) else 0.0
    low = (errors / np.maximum(support, 1) >= rate + rules.margin) & (support <= WHOLE * len(failed))
    p = fisher(errors[low], support[low], int(failed.sum()), len(failed))
    rows = [combos[i] for i in np.flatnonzero(low)]
    counts = support[low]
    order = sorted(range(len(rows)), key=lambda i: (p[i], len(rows[i]), -counts[i]))
    kept: list[tuple[tuple[int, ...], list[str]]] = []
    for i in order:
        if p[i] > rules.alpha or len(kept) >= rules.most:
            break
        combo = rows[i]
        if not _each_tag_matters(has, failed, combo, rules):
            continue
        mine = _having(has, combo)
        near = next((also for other, also in kept if _overlap(mine, _having(has, other)) >= ALIKE), None)
        if near is None:
            kept.append((combo, []))
        else:
            near.append(named(tags.names, combo))
    groups = [
        Group(named(tags.names, c), _having(tags.has, c), tuple(_fewer(tags.has, c)), tuple(also)) for c, also in kept
    ]
    return tested(groups, wrong, ~chosen), len(combos)


def _having(has: Flags, combo: Sequence[int]) -> Flags:
    """(n,) which samples have all tags of a combination."""
    return np.asarray(has[:, list(combo)].all(1))


def named(names: Sequence[str], combo: Sequence[int]) -> str:
    """A combination of tags as a text."""
    return " & ".join(names[i] for i in combo)


def supported(
    has: Flags, failed: Flags, absent: Flags, rules: Rules
) -> tuple[list[tuple[int, ...]], NDArray[np.int64], NDArray[np.int64]]:
    """All combinations of tags with enough support, with their supports and numbers of failures.

    Parameters
    ----------
    absent
        (k,) which tags are absences.
    """
    least = rules.least(len(has))
    columns, wrong = has.astype(np.float32), failed.astype(np.float32)
    level: list[tuple[int, ...]] = [()]
    combos: list[tuple[int, ...]] = []
    support, errors = list[int](), list[int]()
    for _ in range(rules.depth):
        longer: list[tuple[int, ...]] = []
        for start in range(0, len(level), CHUNK):
            part = level[start : start + CHUNK]
            masks = np.stack([_having(has, c) for c in part]).astype(np.float32)
            counts, failures = masks @ columns, (masks * wrong) @ columns
            after = np.array([c[-1] if c else -1 for c in part])[:, None] < np.arange(has.shape[1])
            second = np.array([bool(c) and absent[list(c)].any() for c in part])[:, None] & absent
            for row, tag in zip(*np.nonzero((counts >= least) & after & ~second), strict=True):
                longer.append((*part[row], int(tag)))
                support.append(int(counts[row, tag]))
                errors.append(int(failures[row, tag]))
        combos += longer
        level = longer
        if not level:
            break
    return combos, np.array(support, dtype=np.int64), np.array(errors, dtype=np.int64)


def _each_tag_matters(has: Flags, failed: Flags, combo: tuple[int, ...], rules: Rules) -> bool:
    """Whether a combination fails more often, by `step`, than every combination of fewer of its tags, and surely so."""
    mine = _having(has, combo)
    fewer = (part for size in range(1, len(combo)) for part in combinations(combo, size))
    if any(failed[mine].mean() < failed[_having(has, part)].mean() + rules.step for part in fewer):
        return False
    return all(_inside(mine, among, failed) <= rules.alpha for among in _fewer(has, combo))


def _fewer(has: Flags, combo: tuple[int, ...]) -> list[Flags]:
    """For each tag of a combination of several, the samples with all the others."""
    parts = [[*combo[:i], *combo[i + 1 :]] for i in range(len(combo))] if len(combo) > 1 else []
    return [_having(has, part) for part in parts]


def _inside(group: Flags, among: Flags, failed: Flags) -> float:
    """p of Fisher's exact test that a group fails no more often than the other ones among these samples."""
    errors, support = np.array([(group & failed).sum()]), np.array([group.sum()])
    return float(fisher(errors, support, int((among & failed).sum()), int(among.sum()))[0])


def _overlap(a: Flags, b: Flags) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def tested(groups: Sequence[Group], wrong: Flags, on: Flags) -> list[Mode]:
    """The groups with their figures on a part of the samples, corrected over all groups."""
    failed = wrong[on]
    total, n = int(failed.sum()), len(failed)
    every = np.ones(n, dtype=bool)
    p = [max(_inside(g.has[on], among, failed) for among in (every, *(a[on] for a in g.among))) for g in groups]
    made = []
    for group, one, adjusted in zip(groups, p, holm(p), strict=True):
        k, m = int((group.has[on] & failed).sum()), int(group.has[on].sum())
        wrong_lo, wrong_hi = clopper_pearson(k, m)
        # the drop below all samples is the share of the others times the drop below these
        others = (n - m) / n if n else 0.0
        drop_lo, drop_hi = newcombe(k, m, total - k, n - m)
        made.append(
            Mode(
                name=group.name,
                has=group.has,
                n=m,
                failures=k,
                drop=k / m - total / n if m else float("nan"),
                lo=1 - wrong_hi,
                hi=1 - wrong_lo,
                drop_lo=others * drop_lo,
                drop_hi=others * drop_hi,
                p=one,
                p_holm=adjusted,
                accounts=attributable(k, m, total, n),
                alike=group.alike,
            )
        )
    return made


def attributable(k: int, m: int, total: int, n: int) -> float:
    """Share of all `total` failures of n samples that a group (k failures of m) accounts for; see `Mode.accounts`."""
    if not total or not m:
        return 0.0
    outside = (total - k) / (n - m) if n > m else 0.0
    return (k - m * outside) / total


def fisher(errors: NDArray[np.int64], support: NDArray[np.int64], total: int, n: int) -> NDArray[np.float64]:
    """p-values of Fisher's exact test, one-sided: a group fails no more often than the other samples.

    Parameters
    ----------
    errors, support
        Failures and samples of each group.
    total, n
        Failures and samples in all.
    """
    from scipy.stats import hypergeom

    if not len(errors):
        return np.zeros(0)
    both = np.stack([errors, support], 1)
    each, where = np.unique(both, axis=0, return_inverse=True)
    p: NDArray[np.float64] = hypergeom.sf(each[:, 0] - 1, n, total, each[:, 1])[where.reshape(-1)]
    return np.clip(p, 0.0, 1.0)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, k of n; (0, 1) where n is 0."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    lo = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    hi = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return lo, hi


def newcombe(k: int, n: int, k_other: int, n_other: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares, k / n - k_other / n_other; (-1, 1) where one has no samples.

    References
    ----------
    Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 1998
    (method 10).
    """
    if not n or not n_other:
        return -1.0, 1.0
    a, b = k / n, k_other / n_other
    (a_lo, a_hi), (b_lo, b_hi) = wilson(k, n), wilson(k_other, n_other)
    lo = a - b - ((a - a_lo) ** 2 + (b_hi - b) ** 2) ** 0.5
    hi = a - b + ((a_hi - a) ** 2 + (b - b_lo) ** 2) ** 0.5
    return lo, hi


def marked(found: Sequence[Mode], rules: Rules) -> list[Mode]:
    """The modes that the test shows, the one that accounts for most failures first."""
    sure = [m for m in found if m.p_holm <= rules.alpha and m.drop > 0]
    return sorted(sure, key=lambda m: -m.accounts)


@dataclass(frozen=True)
class Coverage:
    """How well groups find the failures, in the tested half."""

    groups: int
    share: float
    """Share of the samples that are in one of the groups."""
    failures: float
    """Share of the failures that are in one of them."""

    accounts: float
    """Share of the failures that they account for together; see `Mode.accounts`."""


def coverage(found: Sequence[Mode], wrong: Flags, on: Flags) -> Coverage:
    """The coverage of groups together."""
    if not found or not wrong[on].any():
        return Coverage(len(found), 0.0, 0.0, 0.0)
    union, failed = np.any([m.has[on] for m in found], axis=0), wrong[on]
    k, m, total, n = int((union & failed).sum()), int(union.sum()), int(failed.sum()), len(failed)
    return Coverage(len(found), m / n, k / total, attributable(k, m, total, n))
