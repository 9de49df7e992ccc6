"""A plugin that brings a role, a rendering of random sets and engines of its own."""

from __future__ import annotations

import sys
from dataclasses import replace

from pydantic import Field

from xcore import hookimpl
from xcore.contract import Options


class Painted:
    """One concept, named by the helper model of the role `palette`."""

    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        from xcore.contract import Concept, Explanation

        name = str(task.model("palette"))
        return Explanation("painted", task.target_name, "nothing", (Concept(name, 1.0, task.samples),))


class Percent(Options):
    percent: int = Field(default=0, description="share of the contrast that is left")


class Flattened:
    """One concept of flattened images of the class."""

    def __init__(self, options: Percent) -> None:
        self.percent = options.percent

    def explain(self, task: object) -> object:
        from xcore.contract import Concept, Explanation

        render = f"flat:{self.percent}"
        shown = flat(task.samples, str(self.percent), None)
        return Explanation("flattened", task.target_name, "nothing", (Concept("flat", 1.0, shown, render=render),))


class AsksForRandom:
    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        from xcore.contract import Explanation

        drawn = task.random_set(4, 0, "flat:0")
        note = f"flat:0 has contrast {float(drawn.images.std((2, 3)).mean()):.3f}"
        return Explanation("asks", task.target_name, "nothing", (), notes=(note,))


def flat(samples: object, how: str, rng: object) -> object:
    mean = samples.images.mean((2, 3), keepdim=True)
    return replace(samples, data=mean + (samples.images - mean) * int(how) / 100)


class Flatness:
    """The contrast of a random set that is rendered like the concept."""

    direction = "none"
    needs = frozenset({"samples"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        run = runs[0]
        sets = [run.heldout_random_set(6, 0, c.render) for c in run.explanation.concepts]
        return [Score("flatness", i, float(s.images.std((2, 3)).mean()), n=6) for i, s in enumerate(sets)]


class BatchOptions(Options):
    size: int = Field(default=1, ge=1, description="cells a batch")


class Batches:
    """An engine that announces its batches."""

    def __init__(self, options: BatchOptions) -> None:
        self.size = options.size

    def run(self, cells: object, work: object) -> object:
        cells = list(cells)
        for start in range(0, len(cells), self.size):
            batch = cells[start : start + self.size]
            print(f"a batch of {len(batch)}", file=sys.stderr)
            yield from map(work, batch)


def broken(options: object) -> object:
    raise RuntimeError("no workers")


@hookimpl
def register_explainers(register: object) -> None:
    register("painted", Painted, summary="named by a palette", uses=("palette",))
    register("flattened", Flattened, summary="flattened images", options=Percent)
    register("asks-for-random", AsksForRandom, summary="a note of a random set")


@hookimpl
def register_models(register: object) -> None:
    register("warm", lambda options: "warm", summary="warm colours", role="palette")
    register("cold", lambda options: "cold", summary="cold colours", role="palette")
    register("loud", lambda options: "loud", summary="loud sounds", role="loudness")


@hookimpl
def register_renderings(register: object) -> None:
    register("flat", lambda options: flat, summary="images with less contrast: flat:PERCENT")


@hookimpl
def register_metrics(register: object) -> None:
    register("flatness", Flatness, summary="contrast of a random set rendered like the concept")


@hookimpl
def register_engines(register: object) -> None:
    register("batches", Batches, summary="cells in batches", options=BatchOptions)
    register("broken", broken, summary="cannot be made")
