"""What every metric must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import NotApplicable
from xcore.contract.protocols import Run
from xcore.contract.types import Score
from xcore.run.checks import DIRECTIONS, checked_scores, not_applicable
from xcore.testing.checklist import Skipped, check, expect
from xcore.testing.explainers import lent, same_in_two_processes
from xcore.testing.planted import planted_network, planted_run, planted_task
from xcore.testing.watching import Given, Subject, Watched, sets_digest, watch

if TYPE_CHECKING:
    from xcore.contract.protocols import Metric

NEEDS = ("samples", "samples:image", "samples:text", "maps", "dictionary", "directions", "truth")
"""What a metric may need (see `xcore.contract.Metric`)."""


@dataclass
class Judging(Subject):
    """A metric with the runs that it is checked on."""

    metric: Metric
    runs: Sequence[Run]
    """What it judges together: one, or several for a metric whose card has `across`."""
    folder: Path
    name: str = ""
    """The name that its scores must carry; "" = any, but all the same."""
    ranks: bool = True
    """Whether it says which explanation is better; that of a card without a column does not."""
    hashed: tuple[str, str] | None = None
    """Digests of the scores made in two processes with other seeds of Python's hashes; None = not made."""

    def watch(self) -> Watched:
        """See what the metric does on the runs, and beside."""
        for run in self.runs:
            if reason := not_applicable(self.metric, run, ("image", "text")):
                raise Skipped(f"it does not apply to the explanation of the check: {reason}")
        runs, given = _lent(self.runs)
        return watch(lambda: self.metric.score(runs), given)

    def scores(self) -> list[Score]:
        """The scores of the runs; raises what the metric raised."""
        made: list[Score] = self.watched().result()
        return made


def _lent(runs: Sequence[Run]) -> tuple[list[Run], Given]:
    """The runs with everything in them watched, and what is watched."""
    watched, whole = [], Given()
    components: dict[str, tuple[str, Any]] = {}
    contents: dict[str, Callable[[], str]] = {}
    for run in runs:
        task, given = lent(run.task)
        components |= given.components
        contents |= given.contents
        contents["held-out samples"] = lambda run=run: run.heldout.digest  # type: ignore[misc]
        contents["held-out random sets"] = lambda run=run: sets_digest(run.heldout_random_set)  # type: ignore[misc]
        note = whole.lent.note
        note("held-out samples", run.heldout)
        for concept in run.explanation.concepts:
            if concept.samples is not None:
                note("samples of the concepts", concept.samples)
        contents["the explanation"] = lambda run=run: _content(run)  # type: ignore[misc]
        given_sets = whole.lent.sets("a held-out random set", run.heldout_random_set)
        watched.append(replace(run, task=task, heldout_random_set=given_sets))
    return watched, replace(whole, components=components, contents=contents)


def _content(run: Run) -> str:
    """A digest of the tensors of an explanation."""
    from xcore.base.contents import content

    tensors: list[Any] = []
    for concept in run.explanation.concepts:
        tensors += [concept.maps, concept.local, *concept.directions.values()]
    dictionary = run.explanation.dictionary
    tensors += [dictionary.atoms, dictionary.codes] if dictionary is not None else []
    return repr([content(tensor) for tensor in tensors if tensor is not None])


@check(
    "metric",
    why="Tables mark the best value by the direction, and write n/a with a reason by what is needed.",
    mend="Give direction as higher, lower or none, and needs as a frozenset of what `xcore.contract.Metric` lists.",
)
def it_says_how_it_is_read(subject: Judging) -> None:
    """Its direction and its needs are among those that the contract knows."""
    metric = subject.metric
    direction = getattr(metric, "direction", None)
    expect(direction in DIRECTIONS, f"the direction is {direction!r}; it must be one of {', '.join(DIRECTIONS)}")
    needs = getattr(metric, "needs", None)
    listed = isinstance(needs, (frozenset, set))
    expect(listed, f"needs is {needs!r}; it must be a frozenset, such as frozenset({{'maps'}})")
    strange = sorted(set(needs or ()) - set(NEEDS))
    expect(not strange, f"needs holds {', '.join(map(repr, strange))}; known are {', '.join(NEEDS)}")


@check(
    "metric",
    why="Scores are looked up by their metric and concept; others are lost or shown at the wrong place.",
    mend="Give one Score for each concept of the explanation by its index, or one of the whole with concept=None.",
)
def every_concept_or_the_whole_is_scored(subject: Judging) -> None:
    """There is a finite score, or a reason, of every concept or of the whole, under one name."""
    scores = subject.scores()
    checked_scores(scores, None, subject.name, subject.runs)
    expect(scores, "a metric returns at least one score; where there is no value, a score has a reason")
    names = sorted({score.metric for score in scores})
    expect(
        len(names) == 1 and names[0], f"the scores carry the names {', '.join(map(repr, names))}; all must carry one"
    )
    indices = {s.concept for s in scores}
    wanted = set(range(max(len(run.explanation.concepts) for run in subject.runs)))
    absent = sorted(wanted - indices)
    expect(None in indices or not absent, f"there is no score of concept {', '.join(map(str, absent))}")


@check(
    "metric",
    why="Scores are kept, and a table that is made again must be the same.",
    mend="Draw from local generators seeded by run.cell.seed, and sort what has no order of its own.",
)
def scores_repeat(subject: Judging) -> None:
    """The same runs get the same scores."""
    expect(subject.metric.score(subject.runs) == subject.scores(), "the scores of a second call are others")


@check(
    "metric",
    why="Python orders sets of strings by a seed of each process: the next run would give other results.",
    mend="Sort a set before going through it, or use dict.fromkeys.",
)
def order_does_not_depend_on_the_hash_seed(subject: Judging) -> None:
    """Two processes with other seeds of Python's hashes give the same scores."""
    same_in_two_processes(subject.hashed)


@check(
    "metric",
    why="A metric that does not tell a perfect explanation from a random one ranks methods by something else.",
    mend="See that the direction is right, and that the score asks whether the network uses the concept.",
)
def a_perfect_explanation_beats_a_random_one(subject: Judging) -> None:
    """On a network whose concept is known, the true explanation has a better score than one of noise."""
    metric, task = subject.metric, subject.runs[0].task
    if not subject.ranks:
        raise Skipped("tables have no column of it (column=False)")
    if metric.direction == "none":
        raise Skipped("neither higher nor lower values are better")
    if task.samples.modality != "image":
        raise Skipped("the planted network reads images")
    task = planted_task(task, subject.folder / "planted", planted_network())
    values = []
    for perfect in (True, False):
        runs = [planted_run(task, perfect, seed) for seed in range(len(subject.runs))]
        if reason := not_applicable(metric, runs[0]):
            raise Skipped(f"it does not apply to the planted explanation: {reason}")
        try:
            values.append(_value(metric.score(runs)))
        except NotApplicable as error:
            raise Skipped(str(error)) from error
    one, two = values
    better = one > two if metric.direction == "higher" else one < two
    expect(better, f"the perfect explanation has {one:.4g}, the random one {two:.4g}, and {metric.direction} is better")


def _value(scores: Sequence[Score]) -> float:
    """The score of the whole explanation, else that of its first concept; raises `Skipped` if there is no value."""
    found = [s for s in scores if s.concept is None and s.value is not None]
    found = found or [s for s in scores if s.concept == 0 and s.value is not None]
    if not found or found[0].value is None:
        reasons = [s.reason for s in scores if s.reason]
        raise Skipped(f"the planted explanation has no value: {reasons[0] if reasons else 'none was given'}")
    return float(found[0].value)
