"""Controls: explainers that explain nothing, to show which scores are possible without any method.

CS, ED, RCS and RED never ask the model, so noise looks "novel" to them and crops of the class look "near". A method
should be compared with these rows, not with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from xcore.contract import Concept, Explanation, NotApplicable, Samples, Task
from xcore.inputs.renderings import crops
from xcore.inputs.words import WORD
from xcore_metrics.options import ControlOptions

WORDS, LETTERS = 5, (2, 7)
"""Made-up words in a text of noise, and the smallest and largest number of letters of each."""

Draw = Callable[[Task, ControlOptions, np.random.Generator], Iterable[Concept]]


class Control:
    """An explainer that draws its concepts by the seed and never asks the classifier."""

    control = True
    """Said to the checks of `xcore.testing`, which ask of other explainers that they explain something."""

    def __init__(self, name: str, draw: Draw, options: ControlOptions | None) -> None:
        self.name = name
        self.draw = draw
        self.options = options or ControlOptions()

    def explain(self, task: Task) -> Explanation:
        """Concepts in a meaningless order, all with importance 0.

        Raises
        ------
        NotApplicable
            There are no samples of the class, or no training samples of another class.
        """
        if not len(task.samples):
            raise NotApplicable(f"{self.name} needs samples of the class, and there are none")
        total, concepts = self.options.concepts, []
        for concept in self.draw(task, self.options, np.random.default_rng(task.seed)):
            concepts.append(concept)
            task.progress(len(concepts), total, concept.name)
        return Explanation(self.name, task.target_name, "none (a control)", tuple(concepts))


def _crops(task: Task, options: ControlOptions, rng: np.random.Generator) -> Iterable[Concept]:
    how = "half"
    if task.samples.modality == "image":
        height, width = task.samples.images.shape[-2:]
        size = str(height) if height == width else f"{height}x{width}"
        how = f"{min(height, width) // 2}>{size}"
    n = options.samples
    sources = _cycle(rng, len(task.samples), options.concepts * n)
    for c in range(options.concepts):
        source = sources[c * n : (c + 1) * n]
        whole = task.samples.take(source.tolist())
        if whole.modality == "text":
            samples, render = _spans(whole, rng), f"span:{how}"
        else:
            samples, render = crops(whole, how, rng), f"crop:{how}"
        yield Concept(f"class crops {c + 1}", 0.0, samples, render=render, source=torch.from_numpy(source))


def _spans(samples: Samples, rng: np.random.Generator) -> Samples:
    """Half of each text: consecutive words from a random position, with the characters between them."""
    cut = []
    for text in samples.texts:
        places = [match.span() for match in WORD.finditer(text)]
        size = max(1, len(places) // 2)
        first = int(rng.integers(max(1, len(places) - size + 1)))
        here = places[first : first + size]
        cut.append(text[here[0][0] : here[-1][1]] if here else text)
    return Samples("text", tuple(cut), tuple(f"{i}#span" for i in samples.ids))


def _cycle(rng: np.random.Generator, size: int, n: int) -> NDArray[np.int64]:
    """n indices below size: one permutation after another, so that all are used before one is used again."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]


def _other_class(task: Task, options: ControlOptions, rng: np.random.Generator) -> Iterable[Concept]:
    """Each concept shows another class, if there are enough; random sets if the data set has only this class."""
    others = [c for c in task.data.classes if c != task.target_name]
    order = _cycle(rng, len(others), options.concepts) if others else ()
    for c in range(options.concepts):
        if others:
            cls = others[order[c]]
            name = f"{task.samples.modality}s of {cls}"
            samples = task.data.samples(cls, "train", options.samples, int(rng.integers(2**31)))
            if not len(samples):
                raise NotApplicable(f"the data set has no training {task.samples.modality}s of class {cls!r}")
        else:
            name = f"random set {c + 1}"
            samples = task.random_set(options.samples, c, "as-is")
        yield Concept(name, 0.0, samples)


def _noise(task: Task, options: ControlOptions, rng: np.random.Generator) -> Iterable[Concept]:
    n = options.samples
    like = task.samples.take([i % len(task.samples) for i in range(n)])
    render = "noise:uniform" if like.modality == "image" else "noise:strings"
    for c in range(options.concepts):
        samples = replace(_noise_like(like, rng), ids=tuple(f"noise/{task.seed}/{c}/{i}" for i in range(n)))
        yield Concept(f"noise {c + 1}", 0.0, samples, render=render, source=torch.full((n,), -1))


def _noise_like(samples: Samples, rng: np.random.Generator) -> Samples:
    """As many images of noise, of the same size; or texts of made-up words."""
    ids = tuple(f"{name}#noise" for name in samples.ids)
    if samples.modality == "image":
        return Samples("image", torch.from_numpy(rng.random(tuple(samples.images.shape), dtype=np.float32)), ids)
    return Samples("text", tuple(" ".join(_word(rng) for _ in range(WORDS)) for _ in ids), ids)


def noise_rendering(options: object = None) -> Callable[[Samples, str, np.random.Generator], Samples]:
    """The rendering ``noise:...`` of random sets: noise of the kind that the control `noise` shows.

    Against pictures, noise differs in all that noise is, and may have a TS of 1; against other noise it has none.
    """
    return lambda samples, how, rng: _noise_like(samples, rng)


def _word(rng: np.random.Generator) -> str:
    least, most = LETTERS
    return "".join(chr(ord("a") + i) for i in rng.integers(26, size=rng.integers(least, most + 1)))


def class_crops(options: ControlOptions | None = None) -> Control:
    """Random crops of the explained images, half as large as the short side and enlarged to the size of the image.

    For texts: half of the words, consecutive. Random sets cannot be cut in this way, so TS gives no value: a CAV
    against whole texts would separate the two by their length.
    """
    return Control("class-crops", _crops, options)


def other_class(options: ControlOptions | None = None) -> Control:
    """Samples of other classes, from the training split."""
    return Control("other-class", _other_class, options)


def noise(options: ControlOptions | None = None) -> Control:
    """Images whose pixels are independent and uniform in [0, 1]; texts of five random strings of 2 to 7 letters.

    Their random sets are noise, too (`noise_rendering`), so that TS does not praise them for being unlike pictures. A
    model that reads all strings as one unknown word cannot tell them apart, and then TS gives no value.

    The released code of RLPO uses such strings as random sets. They do not work as random sets: a model with a
    vocabulary reads each of them as its token for unknown words, so all such texts have the same activations, and a CAV
    against them separates known from unknown words. As a control they show scores far from the class.
    """
    return Control("noise", _noise, options)
