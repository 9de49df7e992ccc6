"""`xcore shift` from the request to the table, by methods that find concepts and by edited pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xcore_acting.shift import shift

from xcore.contract import UsageError


def shifted(colours: Path, tmp_path: Path, **given: Any) -> Any:
    about: dict[str, Any] = {"data": "drawn-fields", "classes": ["green"], "plugins": [colours], **given}
    (found,) = shift("reader", "other", out=tmp_path / "out", **about)
    return found


def test_concepts_that_a_method_finds_are_scored_where_the_data_know_none(colours: Path, tmp_path: Path) -> None:
    found = shifted(colours, tmp_path, method="finder", set={"tcav": {"negatives": 3}}, budget={"samples": 8})
    assert {row["concept"] for row in found.rows} == {"red", "gray"}
    assert all(row["difference_lo"] <= row["difference"] <= row["difference_hi"] for row in found.rows)
    assert any("2 concepts are those that finder finds in A" in note for note in found.found.notes)


def test_concepts_that_rlpo_draws_are_scored_in_both(colours: Path, tmp_path: Path) -> None:
    options = {"n": 4, "negatives": 2, "steps": 2, "adapt": {"lr": 2.0}, "keep": "all", "update_rule": "always"}
    more = {"rank": "tcav", "maps": 0, "prompts": ("blue", "gray")}
    settings = {"rlpo": {**options, **more}, "tcav": {"negatives": 3}}
    found = shifted(colours, tmp_path, method="rlpo", set=settings, budget={"samples": 8})
    assert {row["concept"] for row in found.rows} == {"gray", "blue"}
    assert any("are those that rlpo finds in A" in note for note in found.found.notes)


def test_the_same_edits_are_asked_of_both(colours: Path, tmp_path: Path) -> None:
    settings = {"surrogate": {"edits": 40, "permutations": 199}}
    found = shifted(colours, tmp_path, evidence="edited", phrases=["blue", "gray", "red"], set=settings)
    assert {row["concept"] for row in found.rows} == {"blue", "gray", "red"}
    assert any("edited pictures of the class" in note for note in found.found.notes)
    for option in ("alpha", "minimum", "shown"):
        with pytest.raises(UsageError, match=rf"surrogate\.{option} is not used here"):
            shifted(colours, tmp_path, evidence="edited", set={"surrogate": {option: 4}})
