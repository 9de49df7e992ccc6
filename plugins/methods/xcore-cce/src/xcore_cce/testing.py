"""Embeddings that are sums of attributes, so that the right concepts are known, and how well these are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


@dataclass(frozen=True, eq=False)
class World:
    """n embeddings, each the sum of one value of every attribute, in random directions, and noise."""

    z: Tensor
    """(n, d), less their mean."""
    labels: tuple[Tensor, ...]
    """For each attribute the value of each embedding, (n,)."""
    directions: Tensor
    """(values, d) unit vectors of all attributes: what the value adds, above the mean of its attribute."""
    attribute: Tensor
    """(values,) of which attribute each is."""
    made_of: str
    """In words."""

    @property
    def members(self) -> Tensor:
        """(n, values) bool."""
        return torch.cat([one_hot(label).bool() for label in self.labels], 1)


def world(values: tuple[int, ...], n: int, d: int, noise: float, seed: int) -> World:
    """A world of attributes with these numbers of values, each a normal vector of variance 1, beside noise."""
    rng = np.random.default_rng(seed)
    z, labels, directions = noise * rng.standard_normal((n, d)), list[Tensor](), list[Tensor]()
    for count in values:
        vectors, label = rng.standard_normal((count, d)), rng.integers(count, size=n)
        z = z + vectors[label]
        labels.append(torch.from_numpy(label))
        directions.append(torch.from_numpy(vectors - vectors[label].mean(0)))
    attribute = torch.arange(len(values)).repeat_interleave(torch.tensor(values))
    said = f"{' x '.join(map(str, values))} values, {n} embeddings of {d} dimensions, noise {noise:g}"
    embeddings = torch.from_numpy(z)
    return World(
        embeddings - embeddings.mean(0), tuple(labels), normalize(torch.cat(directions), dim=1), attribute, said
    )


def drawn_world(seed: int) -> World:
    """A world of two to four attributes with three to five values each; size and noise are drawn, too."""
    rng = np.random.default_rng(seed)
    values = tuple(int(v) for v in rng.integers(3, 6, rng.integers(2, 5)))
    n, d, noise = rng.choice([200, 400, 800]), rng.choice([24, 48, 96]), rng.choice([0.1, 0.2, 0.3])
    return world(values, int(n), int(d), float(noise), seed)


def purity(made: World, concepts: Tensor) -> float:
    """Share of the concepts (k, d) of a subspace that are most like values of one and the same attribute."""
    nearest = made.attribute[(concepts.double() @ made.directions.T).argmax(1)]
    return float(nearest.bincount().max()) / len(nearest)


def match(made: World, concepts: Tensor) -> float:
    """Cosine of each value with the concept (k, d) that is most like it, mean over values."""
    return float((made.directions @ concepts.double().T).amax(1).mean())
