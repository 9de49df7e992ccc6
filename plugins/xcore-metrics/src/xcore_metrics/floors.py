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
from xcore.words import WORD
from xcore_metrics.options import FloorOptions

WORDS, LETTERS = 5, (2, 7)
"""Made-up words of a text of noise, and the least and most letters of each."""

Draw = Callable[[Task, FloorOptions, np.random.Generator], Iterable[Concept]]


class Floor:
    """An explainer whose concepts are drawn by the seed alone: the classifier is never asked."""

    def __init__(self, name: str, draw: Draw, options: FloorOptions | None) -> None:
        self.name = name
        self.draw = draw
        self.options = options or FloorOptions()

    def explain(self, task: Task) -> Explanation:
        """Concepts in an order that means nothing; every importance is 0."""
        if not len(task.samples):
            raise NotApplicable(f"{self.name} needs samples of the class")
        total, concepts = self.options.concepts, []
        for concept in self.draw(task, self.options, np.random.default_rng(task.seed)):
            concepts.append(concept)
            task.progress(len(concepts), total, concept.name)
        return Explanation(self.name, task.target_name, "none: a floor", tuple(concepts))


def _crops(task: Task, options: FloorOptions, rng: np.random.Generator) -> Iterable[Concept]:
    how = "half"
    if task.samples.kind == "image":
        height, width = task.samples.images.shape[-2:]
        size = str(height) if height == width else f"{height}x{width}"
        how = f"{min(height, width) // 2}>{size}"
    n = options.samples
    sources = _cycle(rng, len(task.samples), options.concepts * n)
    for c in range(options.concepts):
        source = sources[c * n : (c + 1) * n]
        whole = task.samples.take(source.tolist())
        if whole.kind == "text":
            samples, render = _spans(whole, rng), f"span:{how}"
        else:
            samples, render = crops(whole, how, rng), f"crop:{how}"
        yield Concept(f"class crops {c + 1}", 0.0, samples, render=render, source=torch.from_numpy(source))


def _spans(samples: Samples, rng: np.random.Generator) -> Samples:
    """Half of each text: so many consecutive words from a random place, with what stands between them."""
    cut = []
    for text in samples.texts:
        places = [match.span() for match in WORD.finditer(text)]
        size = max(1, len(places) // 2)
        first = int(rng.integers(max(1, len(places) - size + 1)))
        here = places[first : first + size]
        cut.append(text[here[0][0] : here[-1][1]] if here else text)
    return Samples("text", tuple(cut), tuple(f"{i}#span" for i in samples.ids))


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
            name = f"{task.samples.kind}s of {cls}"
            samples = task.data.samples(cls, "train", options.samples, int(rng.integers(2**31)))
            if not len(samples):
                raise NotApplicable(f"the data set has no training {task.samples.kind}s of class {cls!r}")
        else:
            name = f"random set {c + 1}"
            samples = task.contrast(options.samples, c, "as-is")
        yield Concept(name, 0.0, samples)


def _noise(task: Task, options: FloorOptions, rng: np.random.Generator) -> Iterable[Concept]:
    n, kind = options.samples, task.samples.kind
    for c in range(options.concepts):
        if kind == "image":
            drawn = rng.random((n, *task.samples.images.shape[1:]), dtype=np.float32)
            data: torch.Tensor | tuple[str, ...] = torch.from_numpy(drawn)
        else:
            data = tuple(" ".join(_word(rng) for _ in range(WORDS)) for _ in range(n))
        ids = tuple(f"noise/{task.seed}/{c}/{i}" for i in range(n))
        yield Concept(f"noise {c + 1}", 0.0, Samples(kind, data, ids), source=torch.full((n,), -1))


def _word(rng: np.random.Generator) -> str:
    least, most = LETTERS
    return "".join(chr(ord("a") + i) for i in rng.integers(26, size=rng.integers(least, most + 1)))


def class_crops(options: FloorOptions | None = None) -> Floor:
    """Random crops, half the short side wide, of the explained images; rendered as a method of crops renders them.

    Of texts: half of the words, consecutive. No random sets are cut in this way, so TS says n/a: against whole texts a
    CAV would tell these by their length.
    """
    return Floor("class-crops", _crops, options)


def other_class(options: FloorOptions | None = None) -> Floor:
    """Samples of other classes, from the training split."""
    return Floor("other-class", _other_class, options)


def noise(options: FloorOptions | None = None) -> Floor:
    """Images whose pixels are independent and uniform in [0, 1]; texts of five random strings of 2 to 7 letters.

    The released code of RLPO takes such strings as random *contrast*. They are no contrast: a model with a vocabulary
    reads each of them as its one token for unknown words, so all such texts are one point, and a CAV against them tells
    known words from unknown ones. As a floor they show what the far end looks like.
    """
    return Floor("noise", _noise, options)
