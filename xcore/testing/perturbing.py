"""Explanations made worse on purpose: random, shuffled or perturbed concepts of the same kind as the given ones.

All of them keep the number of concepts and the importances, but for dropped concepts, so that a metric cannot tell them
from the original by its form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from xcore.contract.protocols import Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Dictionary, Explanation
from xcore.models.codes import encode, rows_of

BACKGROUND = 40
"""Training samples, of all classes, whose activations random directions are made of."""
Generator = np.random.Generator


def only(explanation: Explanation, kind: str) -> Explanation:
    """The explanation with nothing but what belongs to one kind: directions, maps, or names with pictures."""
    keep = {
        "directions": {"maps": None, "samples": None, "words": (), "source": None},
        "maps": {"directions": {}, "atom": None, "samples": None, "words": (), "source": None},
        "pictures": {"directions": {}, "atom": None, "maps": None, "local": None},
    }[kind]
    concepts = tuple(replace(c, **keep) for c in explanation.concepts)  # type: ignore[arg-type]
    return replace(explanation, concepts=concepts, dictionary=explanation.dictionary if kind == "directions" else None)


def spread(explanation: Explanation, most: int) -> Explanation:
    """At most so many of the concepts, evenly from the most to the least important one; a dictionary stays whole."""
    k = len(explanation.concepts)
    if k <= most:
        return explanation
    chosen = np.linspace(0, k - 1, most).round().astype(int).tolist()
    return replace(explanation, concepts=tuple(explanation.concepts[i] for i in chosen))


def random_concepts(run: Run, kind: str, rng: Generator) -> Explanation:
    """As many random concepts of the same kind, with the importances of the given ones.

    Directions are differences of the activations of two random samples, atoms are activations of random samples at
    random positions, both as long as the given ones; maps are the given ones moved by a random step in each image, so
    that they are as large; pictures are random sets, rendered alike, under the names of random phrases.
    """
    explanation = run.explanation
    if kind == "directions" and explanation.dictionary is not None:
        return _random_atoms(run, explanation.dictionary, rng)
    made = [random_concept(run, concept, kind, rng) for concept in explanation.concepts]
    return replace(explanation, concepts=tuple(made))


def random_concept(run: Run, concept: Concept, kind: str, rng: Generator) -> Concept:
    """One random concept in place of a given one."""
    if kind == "maps":
        return replace(concept, name="random", maps=None if concept.maps is None else moved(concept.maps, rng))
    if kind == "directions":
        made = {layer: random_direction(run, layer, d, rng) for layer, d in concept.directions.items()}
        return replace(concept, name="random", directions=made)
    own = {word for c in run.explanation.concepts for word in (c.name, *c.words)}
    others = [phrase for phrase in run.task.vocabulary if phrase not in own] or ["something else"]
    name = others[int(rng.integers(len(others)))]
    return replace(concept, name=name, words=(name,), samples=_random_pictures(run, concept, rng))


def random_direction(run: Run, layer: str, direction: Tensor, rng: Generator) -> Tensor:
    """The difference of the activations of two random samples (at random positions), as long as a direction."""
    probe = run.task.classifier.open(layer)
    a = _background(run.task, layer)
    rows = a.flatten(1) if direction.numel() == a[0].numel() else rows_of(a, probe.layout).flatten(0, 1)
    one, other = rng.choice(len(rows), 2, replace=False)
    found = (rows[int(one)] - rows[int(other)]).detach().float().cpu().reshape(direction.shape)
    made: Tensor = found / found.norm().clamp_min(1e-12) * direction.norm()
    return made


def moved(maps: Tensor, rng: Generator) -> Tensor:
    """Maps (N, H, W), each moved by a random step and wrapped around, so that its values stay the same."""
    _, height, width = maps.shape
    steps = [(int(rng.integers(1, height)), int(rng.integers(1, width))) for _ in maps]
    return torch.stack([torch.roll(m, step, (0, 1)) for m, step in zip(maps, steps, strict=True)])


def shuffled(explanation: Explanation, rng: Generator) -> Explanation:
    """The same concepts in another order, under the importances of the places that they get."""
    given = [c.importance for c in explanation.concepts]
    order = np.arange(len(given))
    while (
        len({*given}) > 1 and [given[i] for i in order] == given
    ):  # where some are equal, another order may say the same
        order = rng.permutation(len(given))
    return reordered(explanation, order.tolist())


def reordered(explanation: Explanation, order: Sequence[int]) -> Explanation:
    """What the concepts are moves to another place; importances, for the class and for samples, stay where they are."""
    places = explanation.concepts
    made = [
        replace(places[i], importance=place.importance, local=place.local)
        for i, place in zip(order, places, strict=True)
    ]
    return replace(explanation, concepts=tuple(made))


def perturbed(run: Run, kind: str, n: int, rng: Generator) -> list[Explanation]:
    """n perturbed versions of a right explanation, in turn with noise, with swapped or dropped concepts, or shuffled.

    Noise is as strong as what it is added to: a direction plus a random one of the same length, the mean of a map and a
    moved one, half of a concept's pictures replaced by those of a random set under a random name. Swapped: a concept of
    the better half changes places with one of the other half. Dropped: the most important concept is left out.
    """
    ways: tuple[Callable[[Run, str, Generator], Explanation], ...]
    ways = (_noisy, _swapped, lambda run, kind, rng: shuffled(run.explanation, rng), _dropped)
    return [ways[i % len(ways)](run, kind, rng) for i in range(n)]


def _noisy(run: Run, kind: str, rng: Generator) -> Explanation:
    made = []
    for concept in run.explanation.concepts:
        noise = random_concept(run, concept, kind, rng)
        if kind == "maps" and concept.maps is not None and noise.maps is not None:
            made.append(replace(concept, maps=(concept.maps + noise.maps) / 2))
        elif kind == "directions":
            mixed: Mapping[str, Tensor] = {
                layer: (d + noise.directions[layer]) / 2**0.5 for layer, d in concept.directions.items()
            }
            made.append(replace(concept, directions=mixed))
        else:
            made.append(replace(noise, samples=_half(concept.samples, noise.samples)))
    return replace(run.explanation, concepts=tuple(made))


def _swapped(run: Run, kind: str, rng: Generator) -> Explanation:
    k = len(run.explanation.concepts)
    order = list(range(k))
    half = max(1, k // 2)
    one, other = int(rng.integers(half)), int(rng.integers(half, k)) if k > half else 0
    order[one], order[other] = order[other], order[one]
    return reordered(run.explanation, order)


def _dropped(run: Run, kind: str, rng: Generator) -> Explanation:
    """Without the first concept, and with a little noise on its importances, so that no two dropped ones are equal."""
    rest = run.explanation.concepts[1:]
    drawn = sorted(((c.importance * float(rng.uniform(0.5, 1.5)), i) for i, c in enumerate(rest)), reverse=True)
    return replace(run.explanation, concepts=tuple(replace(rest[i], importance=importance) for importance, i in drawn))


def _half(own: Samples | None, other: Samples | None) -> Samples | None:
    if own is None or other is None:
        return own
    n = min(len(own), len(other))
    return Samples.concat([own.take(slice(n // 2)), other.take(slice(n // 2, n))])


def _random_pictures(run: Run, concept: Concept, rng: Generator) -> Samples | None:
    if concept.samples is None:
        return None
    index = int(rng.integers(2**20))
    return run.task.random_set(len(concept.samples), index, concept.render, "null")


def _random_atoms(run: Run, dictionary: Dictionary, rng: Generator) -> Explanation:
    probe = run.task.classifier.open(dictionary.layer)
    rows = rows_of(_background(run.task, dictionary.layer), probe.layout).flatten(0, 1)
    k = len(dictionary.atoms)
    drawn = rows[torch.from_numpy(rng.choice(len(rows), k, replace=False))].detach().float().cpu()
    atoms = drawn / drawn.norm(dim=1, keepdim=True).clamp_min(1e-12) * dictionary.atoms.norm(dim=1, keepdim=True)
    made = replace(dictionary, atoms=atoms)
    of_samples = rows_of(probe.activations(run.task.samples), probe.layout)
    made = replace(made, codes=encode(made, of_samples).to(dictionary.codes.dtype))
    concepts = tuple(
        replace(c, name="random", directions=c.directions if c.atom is None else {dictionary.layer: atoms[c.atom]})
        for c in run.explanation.concepts
    )
    return replace(run.explanation, concepts=concepts, dictionary=made)


@lru_cache(maxsize=2)
def _background(task: Task, layer: str) -> Tensor:
    """The activations of `BACKGROUND` training samples; a task is known by its identity."""
    return task.classifier.open(layer).activations(task.data.samples(None, "train", BACKGROUND, task.seed)).detach()
