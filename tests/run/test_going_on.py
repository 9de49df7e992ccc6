"""Going on with a run costs the same for each of its finished cells, however many there are."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from xcore.api import bench
from xcore.store import run_directory

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"


def run(folder: Path, cells: int):
    asked = {"data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "seeds": list(range(cells))}
    return bench(["toy"], out=folder, plugins=[TOY], **asked)


@pytest.fixture
def counts(monkeypatch):
    """How often records are read, something is hashed, the disk is asked for a file, and names in a folder listed."""
    found: Counter[str] = Counter()

    def counted(what, function, weight=lambda result: 1):
        def call(*args, **keys):
            result = function(*args, **keys)
            found[what] += weight(result)
            return result

        return call

    monkeypatch.setattr(run_directory, "read_record", counted("records read", run_directory.read_record))
    monkeypatch.setattr(hashlib, "sha256", counted("hashed", hashlib.sha256))
    monkeypatch.setattr(os, "stat", counted("asked for a file", os.stat))
    monkeypatch.setattr(os, "listdir", counted("names listed", os.listdir, len))
    return found


def test_a_run_with_one_cell_missing_costs_as_much_for_each_cell_however_many_there_are(tmp_path, counts, monkeypatch):
    took = []
    monkeypatch.setattr("xcore.api.draw", None)  # pictures take longer than all the rest of a cell
    for cells in (4, 8, 12):
        folder = tmp_path / str(cells)
        run(folder, cells)
        shutil.rmtree(next(folder.glob("explanations/*.0.*")))
        counts.clear()
        result = run(folder, cells).result
        assert (result.cached, result.count("ok")) == (cells - 1, cells)
        took.append(Counter(counts))
    for what, most in {"records read": 3, "hashed": 10, "asked for a file": 60, "names listed": 12}.items():
        first, second = (b[what] - a[what] for a, b in itertools.pairwise(took))
        assert 0 < first / 4 <= most, (what, first / 4)
        assert abs(second - first) < 4, (what, first, second)  # not one more for a cell than before
