"""Explainers that explain nothing: what a table would show without any method.

CS, ED, RCS and RED never ask the model, so noise looks "novel" and crops of the class look "near". These rows show how
far each figure goes by itself. They are ordinary explainers; a method is worth what it adds to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from xcore.contrast import crops
from xcore.errors import NotApplicable
from xcore.protocols import Task
from xcore.types import Concept, Explanation, Samples
from xcore_metrics.options import FloorOptions

Draw = Callable[[Task, FloorOptions, np.random.Generator], Iterable[Concept]]


class Floor:
    """An explainer whose concepts are drawn by the seed alone: the classifier is never asked."""

    def __init__(self, name: str, draw: Draw, options: FloorOptions | None) -> None:
        self.name = name
        self.draw = draw
        self.options = options or FloorOptions()

    def explain(self, task: Task) -> Explanation:
        """Concepts in an order that means nothing; every importance is 0."""
        if task.samples.kind != "image" or not len(task.samples):
            raise NotApplicable(f"{self.name} needs images of the class")
        total, concepts = self.options.concepts, []
        for concept in self.draw(task, self.options, np.random.default_rng(task.seed)):
            concepts.append(concept)
            task.progress(len(concepts), total, concept.name)
        return Explanation(self.name, task.target_name, "none: a floor", tuple(concepts))


def _crops(task: Task, options: FloorOptions, rng: np.random.Generator) -> Iterable[Concept]:
    height, width = task.samples.images.shape[-2:]
    size = str(height) if height == width else f"{height}x{width}"
    how = f"{min(height, width) // 2}>{size}"
    n = options.samples
    sources = _cycle(rng, len(task.samples), options.concepts * n)
    for c in range(options.concepts):
        source = sources[c * n : (c + 1) * n]
        samples = crops(task.samples.take(source.tolist()), how, rng)
        yield Concept(f"class crops {c + 1}", 0.0, samples, render=f"crop:{how}", source=torch.from_numpy(source))


def _cycle(rng: np.random.Generator, size: int, n: int) -> NDArray[np.int64]:
    """n indices below size: one permutation after another, so that none is used twice before all are used once."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]


def _other_class(task: Task, options: FloorOptions, rng: np.random.Generator) -> Iterable[Concept]:
    """One other class a concept, as long as there are enough classes; a data set of one class offers its contrast."""
    others = [c for c in task.data.classes if c != task.target_name]
    order = _cycle(rng, len(others), options.concepts) if others else ()
    for c in range(options.concepts):
        if others:
            cls = others[order[c]]
            name = f"images of {cls}"
            samples = task.data.samples(cls, "train", options.samples, int(rng.integers(2**31)))
            if not len(samples):
                raise NotApplicable(f"the data set has no training images of class {cls!r}")
        else:
            name = f"random set {c + 1}"
            samples = task.contrast(options.samples, c, "as-is")
        yield Concept(name, 0.0, samples)


def _noise(task: Task, options: FloorOptions, rng: np.random.Generator) -> Iterable[Concept]:
    shape = (options.samples, *task.samples.images.shape[1:])
    for c in range(options.concepts):
        data = torch.from_numpy(rng.random(shape, dtype=np.float32))
        ids = tuple(f"noise/{task.seed}/{c}/{i}" for i in range(options.samples))
        yield Concept(f"noise {c + 1}", 0.0, Samples("image", data, ids), source=torch.full((options.samples,), -1))


def class_crops(options: FloorOptions | None = None) -> Floor:
    """Random crops, half the short side wide, of the explained images; rendered as a method of crops renders them."""
    return Floor("class-crops", _crops, options)


def other_class(options: FloorOptions | None = None) -> Floor:
    """Images of other classes, from the training split."""
    return Floor("other-class", _other_class, options)


def noise(options: FloorOptions | None = None) -> Floor:
    """Images whose pixels are independent and uniform in [0, 1]."""
    return Floor("noise", _noise, options)
