"""The notebooks of the documentation run from top to bottom, and what ends a cell can be shown."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.py"))


def cells(path: Path) -> list[str]:
    """The code of each cell, in the percent format of jupytext."""
    found: list[str] = []
    for part in path.read_text(encoding="utf-8").split("\n# %%")[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" not in head:
            found.append(body)
    return found


def run(code: str, space: dict[str, Any]) -> Any:
    """Run a cell; its value is that of its last line, if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), space)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), space)


def shown(value: Any) -> str:
    """What a notebook shows: HTML, a picture or a line."""
    for way in ("_repr_html_", "_repr_png_"):
        if (method := getattr(value, way, None)) and method():
            return way
    assert "tensor(" not in repr(value)
    return "" if value is None else "__repr__"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    seen = [shown(run(code, space)) for code in cells(path)]
    assert seen.count("_repr_html_") >= 2, "tables and galleries"
    check = CHECKS[path.stem]
    check(space)


def of_a_network(space: dict[str, Any]) -> None:
    """What the text of the notebook says about the figures is so."""
    assert not [note for note in space["explanation"].notes if "normalised" in note], "prepared as in training"
    frame = space["explanation"].to_pandas()
    assert frame["importance"].is_monotonic_decreasing
    assert space["found"].strength.shape == (6, 5)


def of_methods(space: dict[str, Any]) -> None:
    ts = space["ts"].set_index(["label", "rank"])["value"]
    assert ts["class-crops"].min() > 0.9
    assert space["ts"].set_index("label").loc["noise", "outside_null_seeds"].sum() == 0, "noise has no mark"
    assert space["ts"]["null_mean"].min() > 0.2


def of_texts(space: dict[str, Any]) -> None:
    dull, gripping, big = space["negative"](space["dull"], space["gripping"], space["big"])
    assert dull > 0.9
    assert big > 0.9
    assert gripping < 0.5


CHECKS = {"explain_your_network": of_a_network, "compare_methods": of_methods, "explain_texts": of_texts}
