"""Methods whose cost is known: so many seconds of sleep for each sample and step. Used beside toy_plugin.py."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from pydantic import Field

from xcore import hookimpl
from xcore.contract import Options


class Growing(Options):
    each: float = Field(default=0.0, description="seconds for each sample or step")
    after: float = Field(default=0.0, description="seconds after the last one")
    steps: int = Field(default=0, description="number of steps")


def explained(task: Any) -> object:
    import torch

    from xcore.contract import Concept, Explanation

    concept = Concept("all of it", 1.0, task.samples, source=torch.arange(len(task.samples)))
    return Explanation("growing", task.target_name, "nothing in particular", (concept,))


class Sampling:
    """Sleeps for each sample, and tells its progress."""

    def __init__(self, options: Growing) -> None:
        self.options = options

    def explain(self, task: Any) -> object:
        n = len(task.samples)
        for i in range(n):
            time.sleep(self.options.each)
            task.progress(i + 1, n + 1)
        time.sleep(self.options.after)
        task.progress(n + 1, n + 1)
        return explained(task)


class Stepping(Sampling):
    """Draws two samples and sleeps in each step, and says how many steps it takes."""

    @property
    def steps(self) -> int:
        return self.options.steps

    def explain(self, task: Any) -> object:
        steps = min(self.steps, task.budget.steps or self.steps)
        for i in range(steps):
            time.sleep(self.options.each)
            task.generator.generate(["red", "blue"], [0, 1])
            task.progress(i + 1, steps + 1)
        time.sleep(self.options.after)
        task.progress(steps + 1, steps + 1)
        return explained(task)


class Pooling(Sampling):
    """Asks for a random set that the generator draws."""

    def explain(self, task: Any) -> object:
        task.random_set(10, 0, "generated:painter")
        return explained(task)


class Failing:
    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        raise RuntimeError("it never works")


class Killed:
    """Its process is killed, as by a system whose memory is full."""

    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


class Painter:
    """A generator that draws grey pictures."""

    modality = "image"
    fingerprint = "painter"
    can = frozenset[str]()

    def __init__(self, options: object) -> None:
        pass

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> object:
        import torch

        from xcore.contract import Samples

        ids = tuple(f"{prompt}/{seed}" for prompt, seed in zip(prompts, seeds, strict=True))
        return Samples("image", torch.full((len(prompts), 3, 16, 16), 0.5), ids)


def elsewhere(options: object, argument: str) -> str:
    """The fingerprint of a network whose files are on the hub."""
    from xcore.pretrained.hub import model_directory

    return str(model_directory(argument))


@hookimpl
def register_classifiers(register: Any) -> None:
    register("far-net", Failing, summary="a network on the hub", fingerprint=elsewhere, argument="ID")


@hookimpl
def register_generators(register: Any) -> None:
    register("painter", Painter, summary="draws grey pictures")


@hookimpl
def register_explainers(register: Any) -> None:
    register("sampling", Sampling, summary="sleeps for each sample", options=Growing)
    register("stepping", Stepping, summary="sleeps in each step", options=Growing, needs=("generator",))
    register("pooling", Pooling, summary="takes a random set", options=Growing)
    register("failing", Failing, summary="fails")
    register("killed", Killed, summary="is killed")
