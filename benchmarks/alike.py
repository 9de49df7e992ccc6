"""How alike two explanations of a class are, by what they say: importances, places in the pictures, and directions.

Each measure is for the explanations that have what it compares; `alike` gives those that two explanations share:

- ``importance``: Spearman's rank correlation of the importances of the same concepts. Concepts with words (TCAV, the
  surrogate, RLPO) are the same if their names are. Others are matched one to one by their maps, where all have some,
  and else by their directions, so that the sum of the correlations is greatest.
- ``places``: Spearman's rank correlation, over the cells of a grid, of how important each place of a picture is (the
  maps of all concepts, each divided by its mean, weighted by importance), as a mean over the pictures.
- ``directions``: the best-match cosine of the directions, weighted by importance, as the mean of both ways.

1 = the same, 0 = nothing in common. What two unrelated explanations have depends on the method: non-negative atoms have
positive cosines. So a value means something beside others of the same method only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from xcore.contract import Concept, Explanation
from xcore.store.codec import decode

MEASURES = ("importance", "places", "directions")
GRID = 8
"""Places are cells of a grid of so many rows and columns."""


@dataclass(frozen=True, eq=False)
class Made:
    """An explanation of a run, and the cell that it was made for, as its record has it."""

    cell: dict[str, Any]
    explanation: Explanation

    @property
    def label(self) -> str:
        """The method, as tables name it."""
        return str(self.cell["label"])

    @property
    def key(self) -> tuple[str, str, int]:
        """(classifier, class, seed)."""
        return self.cell["classifier"]["text"], self.cell["cls"], self.cell["seed"]


def made(run: Path) -> Iterator[Made]:
    """The finished explanations of a run, in the order of their names."""
    for folder in sorted((run / "explanations").iterdir()):
        record = json.loads((folder / "record.json").read_text())
        if record["status"] == "ok":
            yield Made(record["cell"], decode(record["explanation"], folder))


def alike(a: Explanation, b: Explanation, rows: Sequence[int] | None = None) -> dict[str, float]:
    """Measure -> how alike two explanations of the same pictures are, as far as both have what it compares.

    Parameters
    ----------
    rows
        Picture of a -> where the same picture is in b; None = in the same place; () = they explain other pictures, so
        that places cannot be compared.
    """
    found: dict[str, float] = {}
    pairs = matched(a, b, rows)
    if pairs is not None and len(pairs) > 2:
        found["importance"] = rank_correlation(*np.array(pairs).T)
    if rows != () and (one := places(a)) is not None and (two := places(b)) is not None:
        two = two[list(rows)] if rows is not None else two
        if len(one) == len(two):
            found["places"] = float(np.mean([rank_correlation(x, y) for x, y in zip(one, two, strict=True)]))
    if (cosines := _cosines(a, b)) is not None:
        best = [(cosines.max(1 - side).values.numpy(), weights(e)) for side, e in ((0, a), (1, b))]
        found["directions"] = float(np.mean([np.average(value, weights=weight) for value, weight in best]))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def matched(a: Explanation, b: Explanation, rows: Sequence[int] | None = None) -> list[tuple[float, float]] | None:
    """The importances of the concepts that both have; None if it cannot be told which are the same."""
    pairs = pairing(a, b, rows)
    return None if pairs is None else [(importance(a.concepts[i]), importance(b.concepts[j])) for i, j in pairs]


def pairing(a: Explanation, b: Explanation, rows: Sequence[int] | None = None) -> list[tuple[int, int]] | None:
    """Which concepts of two explanations are the same, in the order of a; None if it cannot be told."""
    if a.concepts and b.concepts and all(c.words for e in (a, b) for c in e.concepts):
        other = {c.name: j for j, c in enumerate(b.concepts)}
        return [(i, other[c.name]) for i, c in enumerate(a.concepts) if c.name in other]
    mapped = all(c.maps is not None for e in (a, b) for c in e.concepts)
    alikeness = _of_maps(a, b, rows) if mapped and rows != () else _cosines(a, b)
    if alikeness is None:
        return None
    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(-alikeness.numpy()), strict=True)]


def importance(concept: Concept) -> float:
    """The importance with its sign, where the method tests effects in both directions."""
    return float(concept.evidence.get("effect", concept.importance))


def rank_correlation(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Spearman's correlation; of values that are all equal 0, since they rank nothing."""
    a, b = (rankdata(v) - (len(v) + 1) / 2 for v in (x, y))
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size else 0.0


def weights(explanation: Explanation) -> np.ndarray[Any, Any]:
    """The importances no less than 0, of sum 1; equal ones if none is above 0."""
    found = np.array([max(importance(c), 0.0) for c in explanation.concepts])
    return found / found.sum() if found.sum() else np.full(len(found), 1 / len(found))


def places(explanation: Explanation) -> np.ndarray[Any, Any] | None:
    """(N, `GRID` x `GRID`): how important each place of each picture is; None without maps."""
    if explanation.parts:  # one explanation for each picture, whose segments have values of their own
        rows = [
            sum(importance(c) * _grid(c.maps)[0] for c in part.concepts if c.maps is not None)
            for part in explanation.parts
        ]
        return torch.stack([torch.as_tensor(row) for row in rows]).numpy() if rows else None
    total: Tensor | None = None
    for concept, weight in zip(explanation.concepts, weights(explanation), strict=True):
        if concept.maps is not None:
            part = _grid(concept.maps)
            part = float(weight) * part / part.mean().clamp_min(1e-12)
            total = part if total is None else total + part
    return None if total is None else total.numpy()


def _grid(maps: Tensor) -> Tensor:
    return adaptive_avg_pool2d(maps.float().unsqueeze(1), GRID).flatten(1)


def _directions(explanation: Explanation) -> tuple[str, Tensor] | None:
    """The layer of the directions, and all of them, of length 1."""
    layers = {next(iter(c.directions), "") for c in explanation.concepts}
    if len(layers) != 1 or "" in layers:
        return None
    (layer,) = layers
    return layer, normalize(torch.stack([c.directions[layer].flatten().float() for c in explanation.concepts]), dim=1)


def _cosines(a: Explanation, b: Explanation) -> Tensor | None:
    """(k, l) cosines of the directions, if they are in layers of the same name and width."""
    one, two = _directions(a), _directions(b)
    if one is None or two is None or one[0] != two[0] or one[1].shape[1] != two[1].shape[1]:
        return None
    return one[1] @ two[1].T


def _of_maps(a: Explanation, b: Explanation, rows: Sequence[int] | None) -> Tensor | None:
    """(k, l) correlations of the maps of the concepts over the places of all pictures."""
    if a.parts or not a.concepts or not b.concepts:
        return None
    one, two = (torch.stack([_grid(c.maps) for c in e.concepts if c.maps is not None]) for e in (a, b))
    two = two[:, list(rows)] if rows is not None else two
    if one.shape[1] != two.shape[1]:
        return None
    one, two = (normalize(m.flatten(1) - m.flatten(1).mean(1, keepdim=True), dim=1) for m in (one, two))
    return one @ two.T
