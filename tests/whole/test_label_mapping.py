"""A file that says how the labels of a table are called makes them classes of the classifier, all the way to a cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xcore.contract import Cell, UsageError
from xcore.registry import load_registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

pytest.importorskip("xcore_reviews")

ROWS = [("the stool was shoddy", "bad"), ("we loved the dish", "good")] * 6


def workbench(folder: Path, names: str, cls: str) -> tuple[Workbench, Cell]:
    lines = ["text,label", *(f"{text} {i},{label}" for i, (text, label) in enumerate(ROWS))]
    (folder / "reviews.csv").write_text("\n".join(lines))
    registry = load_registry()
    suite = Suite(
        methods=["tcav"],
        data=f"table:{folder / 'reviews.csv'}",
        classifiers=["reviews/textcnn"],
        classes=[cls],
        set={"table": {"names": names}} if names else {},
    )
    (cell,) = make_plan(suite, registry).cells
    return Workbench(registry, Store(folder / "run")), cell


def test_labels_are_called_as_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"bad": "negative", "good": "positive"}))
    bench, cell = workbench(tmp_path, str(tmp_path / "names.json"), "negative")
    assert bench.classifier(cell).classes[bench.target(cell)] == "negative"
    assert bench.explained(cell).texts
    assert all("shoddy" in text for text in bench.explained(cell).texts)


def test_without_it_the_class_is_unknown_and_the_message_says_how_to_name_it(tmp_path: Path) -> None:
    bench, cell = workbench(tmp_path, "", "bad")
    with pytest.raises(UsageError, match="names=FILE"):
        bench.target(cell)
