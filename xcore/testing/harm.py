"""What a component must leave as it found it: one list of checks for all kinds, whatever their subjects do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.testing.checklist import check, expect

if TYPE_CHECKING:
    from xcore.testing.watching import Subject


@check(
    *("explainer", "metric", "classifier", "model"),
    why="All methods and metrics share the networks; a changed one gives the next of them other results.",
    mend="Work on a copy, use torch.autograd.grad, remove hooks in a `finally`, and put modes and functions back.",
)
def models_are_left_as_found(subject: Subject) -> None:
    """Networks keep their weights, gradients, modes, hooks and functions."""
    seen = subject.watched()
    expect(not seen.components, seen.components)
    seen.came_to_an_end()


@check(
    *("explainer", "metric", "generator", "classifier", "dataset", "model", "engine", "tracker", "rendering"),
    why="Whoever draws random numbers afterwards would get others, or always the same.",
    mend="Draw from local generators of the given seed, or inside `with xcore.contract.seeded(seed):`.",
)
def random_state_is_left_as_found(subject: Subject) -> None:
    """The global random states of Python, numpy and torch are as before."""
    seen = subject.watched()
    expect(not seen.randomness, f"it moved the global random state of {' and '.join(seen.randomness)}")
    seen.came_to_an_end()


@check(
    *("explainer", "metric", "generator", "classifier", "model", "rendering"),
    why="All methods and metrics of a run are given the same samples and the same explanation.",
    mend="Work on a copy: samples.images.clone().",
)
def samples_are_left_as_found(subject: Subject) -> None:
    """Samples that are given, random sets and explanations are not written to."""
    seen = subject.watched()
    expect(not seen.samples, f"it changed what it was given: {', '.join(seen.samples)}")
    seen.came_to_an_end()


@check(
    *("explainer", "metric", "generator", "classifier", "dataset", "model", "engine", "rendering"),
    why="Settings such as threads, the default dtype, the working directory or the environment hold for all cells.",
    mend="Set them in a `with` block, or put them back in a `finally`.",
)
def settings_are_left_as_found(subject: Subject) -> None:
    """The settings of the process are as before, and no thread is left running."""
    seen = subject.watched()
    expect(not seen.settings, "; ".join(seen.settings[:3]))
    expect(not seen.threads, f"it left running: {', '.join(seen.threads)}")
    seen.came_to_an_end()


@check(
    *("explainer", "metric", "generator", "classifier", "dataset", "model", "engine", "tracker", "rendering"),
    why="`xcore bench --json` is read line by line: what a component prints stands between the results.",
    mend="Tell in notes, by task.progress or by logging what is to be told.",
)
def output_is_left_alone(subject: Subject) -> None:
    """Nothing is written to the standard output, neither by print nor past it."""
    seen = subject.watched()
    expect(not seen.moved_output, "it redirected or closed the descriptor of the standard output")
    first = (seen.printed.strip().splitlines() or [""])[0]
    expect(not first, f"it printed {first[:80]!r}")
    seen.came_to_an_end()
