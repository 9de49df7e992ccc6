"""`benchmarks/alike.py` and `benchmarks/stability.py`: how alike explanations are, and what makes them differ."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from xcore.contract import Concept, Explanation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def loaded(name: str) -> ModuleType:
    """A script of benchmarks/, which is no package; the scripts import one another by their names."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


alike, stability = loaded("alike"), loaded("stability")


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


def test_other_pictures_are_compared_by_directions_alone() -> None:
    one, other = mapped([3.0, 2.0, 1.0], [5, 9, 20]), mapped([3.0, 2.0, 1.0], [5, 9, 20], pictures=4)
    assert set(alike.alike(one, other, ())) == {"importance", "directions"}
    assert alike.pairing(one, other, ()) == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(("concepts", "change"), [(1.0, 0.25), (1.0, 1.0), (0.0, 1.0)])
def test_variance_is_told_apart(concepts: float, change: float) -> None:
    """Of many concepts with known variances; standardised columns have a total variance of 1."""
    rng = np.random.default_rng(3)
    table = rng.normal(0, concepts**0.5, (4000, 1)) + rng.normal(0, change**0.5, (4000, 3))
    total = concepts + change
    found = stability.components(5 * table + np.array([0.0, 9.0, -4.0]))  # units and means drop out
    assert found == pytest.approx((concepts / total, change / total), abs=0.04)


def test_what_changes_nothing_has_no_share() -> None:
    same = np.repeat(np.arange(6.0)[:, None], 3, axis=1)
    own, none = stability.components(same)
    assert (own, none) == pytest.approx((6 / 5, 0.0))  # of 6 concepts, with 5 degrees of freedom
    said = stability.shares({"a": {"": own, "seed": none}, "b": {"": own, "seed": none}})
    assert said == ["1.00 [1.00, 1.00]", "0.00 [0.00, 0.00]", "-", "-", "-"]
