"""What `benchmarks/leaderboard.py` takes for an assertion of a method, and which classifiers its rows are of."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from xcore.contract import Concept, Explanation


@pytest.fixture
def leaderboard(benchmark_script: Callable[[str], ModuleType]) -> Any:
    return benchmark_script("leaderboard")


def explained(*concepts: tuple[float, dict[str, float]]) -> Explanation:
    """An explanation of concepts of these importances and this evidence."""
    made = tuple(Concept(f"c{i}", importance, evidence=evidence) for i, (importance, evidence) in enumerate(concepts))
    return Explanation("m", "zebra", "importance", made)


def test_a_method_with_a_test_asserts_what_the_test_marks_as_raising_and_no_more(leaderboard: Any) -> None:
    marked = explained((5.0, {"mark": 0.0}), (4.0, {"mark": 1.0}), (3.0, {}), (2.0, {"mark": -1.0}), (1.0, {"mark": 1}))
    assert leaderboard._asserted(marked) == [1, 4]


def test_a_method_without_a_test_asserts_its_first_three_concepts_of_positive_importance(leaderboard: Any) -> None:
    assert leaderboard._asserted(explained((3.0, {}), (2.0, {}), (1.0, {}), (0.5, {}))) == [0, 1, 2]
    assert leaderboard._asserted(explained((3.0, {}), (0.0, {}), (-1.0, {}))) == [0]


def test_rows_are_of_a_family_of_the_claimed_ones_and_of_all(leaderboard: Any) -> None:
    families = {"one": (1.0, 0.8), "or": (0.9,), "xor": (0.0,)}
    found = [leaderboard.Found(f, "a", v, 0.0, 0.0, 1, 1.0) for f, values in families.items() for v in values]
    found += [leaderboard.Found("one", "b", 0.25, 0.0, 0.0, 1, 1.0)]
    rows = dict(
        line.strip("| ").split(" | ", 1)
        for line in leaderboard._table("found", found, {"a": {"one", "or"}, "b": set()}).splitlines()[2:]
    )
    assert rows["one (2)"].startswith("0.90 [")
    assert rows["one (2)"].endswith("* | 0.25 (n = 1)")
    assert rows["claimed (3)"].startswith("0.90 [")
    assert rows["claimed (3)"].endswith("| n/a")
    assert rows["all (4)"].startswith("0.68 [")
    assert "n = 4" in rows["all (4)"]
    assert "half" not in " ".join(rows)
