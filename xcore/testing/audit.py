"""The audit of a metric: does it tell right explanations from wrong ones?

In the tests of a metric::

    from xcore.testing.audit import audit_metric
    from xcore_minizoo.audit import wired_cases

    found = audit_metric(MyMetric(), wired_cases("directions", each=1))
    print(*found.sentences(), sep="\\n")

Each case is an explanation of one kind. The metric scores it, and beside it random concepts, the same concepts with
shuffled importances, the same explanation on a network with random weights, and the explanation of another class. A
right explanation is ranked among 20 perturbed ones, too. What counts as passed is written in
`xcore.report.audits.Audit.passed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from xcore.base.errors import NotApplicable
from xcore.contract.protocols import Run
from xcore.contract.types import Explanation, Score
from xcore.report.audits import PERTURBED, Audit, Share
from xcore.run.checks import not_applicable
from xcore.testing.perturbing import only, perturbed, random_concepts, shuffled
from xcore.testing.planted import with_other_weights

if TYPE_CHECKING:
    from xcore.contract.protocols import Metric

SHOWN = 3
"""Concepts that a table shows, whose mean score stands for a metric that scores single concepts."""


@dataclass(frozen=True, eq=False)
class AuditCase:
    """An explanation on which a metric is audited.

    Attributes
    ----------
    name
        What it explains and who made it, which tells cases apart.
    kind
        "directions", "maps" or "pictures": the part of the explanation that the metric gets to see.
    run
        The explanation, with all that a metric needs.
    other
        The explanation of another class; None = there is none.
    right
        Whether it is known to be right, as it was made from the truth: then it is ranked among perturbed ones.
    """

    name: str
    kind: str
    run: Run
    other: Explanation | None = None
    right: bool = False

    def runs(self) -> dict[str, Run]:
        """What is scored, by name: "own", the comparisons, two random explanations, and the perturbed ones."""
        run = replace(self.run, explanation=only(self.run.explanation, self.kind))
        rng = np.random.default_rng([20261130, *self.name.encode(), *self.kind.encode()])

        def made(explanation: Explanation) -> Run:
            return replace(run, explanation=explanation)

        found = {"own": run}
        found["random concepts"] = made(random_concepts(run, self.kind, rng))
        found["shuffled importances"] = made(shuffled(run.explanation, rng))
        weights = with_other_weights(run.task.classifier)
        found["random weights"] = replace(run, task=replace(run.task, classifier=weights))
        if self.other is not None:
            found["another class"] = made(replace(only(self.other, self.kind), target=run.explanation.target))
        found["random again"] = made(random_concepts(run, self.kind, rng))
        if self.right:
            for i, explanation in enumerate(perturbed(run, self.kind, PERTURBED, rng)):
                found[f"perturbed {i}"] = made(explanation)
        return found


@dataclass(frozen=True)
class Observed:
    """What a metric said of one case. Plain data, so that an audit can be stopped and goes on.

    Attributes
    ----------
    kind
        Of the explanation.
    values
        Name (see `AuditCase.runs`) -> the value; None where the metric gave none.
    ways
        The variants of the scores, without names of layers and helpers.
    p
        The p-values of random concepts by the metric's own test.
    """

    kind: str
    values: Mapping[str, float | None] = field(default_factory=dict)
    ways: Sequence[str] = ()
    p: Sequence[float] = ()


def audit_metric(metric: Metric, cases: Iterable[AuditCase]) -> Audit:
    """Audit a metric on cases of one kind of explanation.

    Raises
    ------
    ValueError
        There is no case, the cases are of several kinds, or neither higher nor lower values are better.
    """
    found = [observe({"": metric}, case.kind, case.runs())[""] for case in cases]
    return summary(found, metric.direction)


def observe(metrics: Mapping[str, Metric], kind: str, runs: Mapping[str, Run]) -> dict[str, Observed]:
    """What each of some metrics says of everything of a case (`AuditCase.runs`).

    Run by run, so that metrics which share their computations do so here, too. A metric that gives the own explanation
    no value is not asked about the rest.
    """
    own = {name: scores_of(metric, runs["own"]) for name, metric in metrics.items()}
    valued = [name for name in metrics if value_of(own[name]) is not None]
    scored = {name: {"own": own[name]} for name in valued}
    for run_name, run in runs.items():
        for name in valued if run_name != "own" else ():
            scored[name][run_name] = scores_of(metrics[name], run)
    layers = {*runs["own"].task.classifier.layers}
    found = {name: Observed(kind) for name in metrics}
    for name, of_runs in scored.items():
        ways = dict.fromkeys(way(s.variant, layers) for s in of_runs["own"] if s.value is not None)
        p = [s.details["p"] for s in of_runs["random concepts"] if s.value is not None and "p" in s.details]
        found[name] = Observed(kind, {run: value_of(scores) for run, scores in of_runs.items()}, tuple(ways), p)
    return found


def scores_of(metric: Metric, run: Run) -> list[Score]:
    """The scores of a run; none where the metric does not apply to it."""
    if not_applicable(metric, run):
        return []
    try:
        return metric.score([run])
    except NotApplicable:
        return []


def value_of(scores: Sequence[Score]) -> float | None:
    """One value of an explanation: that of the whole, else the mean over its better-ranked half, at most `SHOWN`.

    Of several variants, the first one with a value counts.
    """
    valued = [s for s in scores if s.value is not None and isfinite(s.value)]
    if whole := [s for s in valued if s.concept is None]:
        return whole[0].value
    if not valued:
        return None
    same = [s for s in valued if s.variant == valued[0].variant]
    half = max(1, min(SHOWN, len({s.concept for s in scores}) // 2))
    return fmean(float(s.value) for s in sorted(same, key=lambda s: s.concept or 0)[:half] if s.value is not None)


def way(variant: str, layers: set[str]) -> str:
    """A variant without the names of layers and of helper models, so that those of several networks can be told."""
    return " ".join(w for w in variant.replace(",", " ").split() if w not in layers and "/" not in w)


def summary(observed: Sequence[Observed], direction: str) -> Audit:
    """What the observations of all cases of one kind say; raises as `audit_metric` does."""
    if direction not in ("higher", "lower"):
        raise ValueError(f"the direction is {direction!r}: only a metric with a better side can be audited")
    kinds = {o.kind for o in observed}
    if len(kinds) != 1:
        raise ValueError(f"an audit is of one kind of explanation, got {', '.join(sorted(kinds)) or 'none'}")
    sign = 1.0 if direction == "higher" else -1.0
    left_out, power = 0, {}
    for name in ("random concepts", "shuffled importances", "random weights", "another class"):
        pairs = [(o.values["own"], o.values[name]) for o in observed if name in o.values]
        left_out += sum(b is None for _, b in pairs)
        power[name] = _share(pairs, sign)
    level = _share([(o.values["random concepts"], o.values["random again"]) for o in observed if o.values], sign)
    p = [value for o in observed for value in o.p]
    return Audit(
        kinds.pop(),
        tuple(dict.fromkeys(w for o in observed for w in o.ways)),
        power,
        tuple(rank for o in observed if (rank := _rank(o, sign)) is not None),
        level,
        (sum(value <= 0.05 for value in p), len(p)) if p else None,
        left_out,
    )


def _share(pairs: Sequence[tuple[float | None, float | None]], sign: float) -> Share:
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return Share(sum((sign * a > sign * b) + 0.5 * (a == b) for a, b in both), len(both))


def _rank(observed: Observed, sign: float) -> float | None:
    """The rank of the right explanation among all, perturbed ones without a value left behind it."""
    if "perturbed 0" not in observed.values:
        return None
    own = observed.values["own"]
    others = [v for name, v in observed.values.items() if name.startswith("perturbed")]
    assert own is not None
    return 1 + sum((sign * v > sign * own) + 0.5 * (v == own) for v in others if v is not None)


def plain(observed: Observed) -> dict[str, Any]:
    """An observation as JSON holds it."""
    return {**vars(observed), "ways": list(observed.ways), "p": list(observed.p)}
