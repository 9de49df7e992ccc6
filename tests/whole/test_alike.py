"""`benchmarks/alike.py`: how alike two explanations are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from xcore.contract import Concept, Explanation

SPEC = importlib.util.spec_from_file_location("alike", Path(__file__).parents[2] / "benchmarks" / "alike.py")
assert SPEC is not None
assert SPEC.loader is not None
alike = importlib.util.module_from_spec(SPEC)
sys.modules["alike"] = alike  # dataclasses look there for the annotations of their module
SPEC.loader.exec_module(alike)


def of(*concepts: Concept, parts: tuple[Explanation, ...] = ()) -> Explanation:
    return Explanation("m", "zebra", "importance", concepts, parts=parts)


def named(**importances: float) -> Explanation:
    return of(*(Concept(name, value, words=(name,)) for name, value in importances.items()))


def test_named_concepts_are_compared_by_their_names_whatever_their_order() -> None:
    one = named(a=3.0, b=2.0, c=1.0, only=9.0)
    assert alike.alike(one, named(c=1.0, a=30.0, b=2.0)) == {"importance": pytest.approx(1.0)}
    assert alike.alike(one, named(a=1.0, b=2.0, c=3.0)) == {"importance": pytest.approx(-1.0)}
    assert alike.alike(one, named(a=1.0, b=1.0, c=1.0)) == {"importance": 0.0}
    assert alike.alike(one, named(a=1.0, b=2.0)) == {}  # two concepts rank nothing


def test_the_sign_of_an_effect_counts() -> None:
    against = of(*(Concept(n, abs(e), words=(n,), evidence={"effect": e}) for n, e in (("a", 1), ("b", 0), ("c", -2))))
    assert alike.alike(named(a=3.0, b=2.0, c=1.0), against)["importance"] == pytest.approx(1.0)


def mapped(importances: list[float], where: list[int], pictures: int = 2) -> Explanation:
    """Concepts each of which lies in one cell of the grid of all pictures."""
    concepts = []
    for value, cell in zip(importances, where, strict=True):
        maps = torch.zeros(pictures, alike.GRID, alike.GRID)
        maps.view(pictures, -1)[:, cell] = torch.arange(1.0, pictures + 1)
        directions = {"layer": torch.eye(3)[len(concepts)]}
        concepts.append(Concept(f"C{len(concepts)}", value, maps=maps, directions=directions))
    return of(*concepts)


def test_unnamed_concepts_are_matched_by_where_they_are() -> None:
    one, moved = mapped([3.0, 2.0, 1.0], [5, 9, 20]), mapped([2.0, 1.0, 3.0], [9, 20, 5])
    assert alike.alike(one, moved)["importance"] == pytest.approx(1.0)
    assert alike.alike(one, moved)["places"] == pytest.approx(1.0)
    assert alike.alike(one, mapped([1.0, 2.0, 3.0], [5, 9, 20]))["importance"] == pytest.approx(-1.0)
    assert alike.alike(one, mapped([3.0, 2.0, 1.0], [40, 41, 42]))["places"] < 0


def test_pictures_in_another_order_are_the_same_pictures() -> None:
    first, second = mapped([3.0, 2.0, 1.0], [5, 9, 20], 1), mapped([3.0, 2.0, 1.0], [50, 30, 40], 1)
    one, other = (
        of(*(Concept(a.name, a.importance, maps=torch.cat([a.maps, b.maps])) for a, b in zip(*pair, strict=True)))
        for pair in ((first.concepts, second.concepts), (second.concepts, first.concepts))
    )
    assert alike.alike(one, other, rows=[1, 0]) == {"importance": pytest.approx(1.0), "places": pytest.approx(1.0)}
    assert alike.alike(one, other)["places"] < 0.5


def test_directions_count_by_their_importance() -> None:
    one, other = mapped([1.0, 0.0, 0.0], [5, 9, 20]), mapped([1.0, 0.0, 0.0], [5, 9, 20])
    turned = of(
        Concept("C0", 1.0, directions={"layer": torch.tensor([0.6, 0.8, 0.0])}),
        Concept("C1", 0.0, directions={"layer": torch.tensor([0.0, 0.0, 1.0])}),
    )
    assert alike.alike(one, other)["directions"] == pytest.approx(1.0)
    assert alike.alike(one, turned)["directions"] == pytest.approx((0.6 + 0.8) / 2)
    elsewhere = of(Concept("C0", 1.0, directions={"other": torch.ones(3)}))
    assert "directions" not in alike.alike(one, elsewhere)


def test_segments_of_single_pictures_add_up_to_places() -> None:
    left, right = torch.zeros(2, 1, 16, 16).unbind(0)
    left[:, :, :8], right[:, :, 8:] = 1, 1

    def explained(*values: float) -> Explanation:
        part = of(*(Concept("s", v, maps=m) for v, m in zip(values, (left, right), strict=True)))
        return of(Concept("top", 1.0, maps=torch.ones(1, 16, 16)), parts=(part,))

    assert alike.alike(explained(0.9, 0.1), explained(0.5, 0.2)) == {"places": pytest.approx(1.0)}
    assert alike.alike(explained(0.9, 0.1), explained(0.2, 0.5)) == {"places": pytest.approx(-1.0)}
