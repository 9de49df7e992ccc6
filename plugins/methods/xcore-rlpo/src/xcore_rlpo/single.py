"""The search with one prompt alone: the generator is tuned to it step by step, for those who follow what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xcore_tcav.scorer import Scorer

from xcore.contract import Task
from xcore_rlpo.algorithm import FOLLOW, Search, noise
from xcore_rlpo.keeping import reading_of
from xcore_rlpo.options import Options
from xcore_rlpo.policy import RoundRobin
from xcore_rlpo.rlpo import usable_generator


def tune_one(
    task: Task,
    prompt: str,
    options: Options,
    steps: int,
    on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> Search:
    """Tune the generator to one prompt for at most so many steps, by the rules of the options.

    Returns
    -------
    The search, whose `snapshots` hold the adapters of every `options.trajectory_every` steps and of the last one.

    Raises
    ------
    NotApplicable, MissingError
        As `Rlpo` does.
    """
    generator = usable_generator(task, options)
    render = f"generated:{generator.fingerprint}" if options.contrast == "generated" else "as-is"
    probe = task.classifier.open(task.layer or task.classifier.default_layer)
    scorer = Scorer(
        probe,
        task.target,
        task.samples,
        task.random_set,
        negatives=options.negatives,
        pool=options.pool,
        folds=options.folds,
    )
    read = reading_of(task, options)
    search = Search(generator, scorer, [prompt], options, steps=steps, seed=task.seed, render=render, read=read)
    search.run(RoundRobin(1), on_step=on_step)
    search.keep_snapshot()
    return search


def fixed_noises(n: int, seed: int) -> list[int]:
    """n seeds of noise that has no part in the search."""
    return noise(n, seed, FOLLOW)
