"""What cells share: drawn once, and safe from those who write into it."""

from __future__ import annotations

from pathlib import Path

import torch

from xcore.api import load_registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store


def test_the_explained_samples_are_drawn_once_and_nobody_can_change_them(tmp_path: Path, monkeypatch) -> None:
    registry = load_registry()
    suite = Suite(data="minizoo", classes=["zebra"], methods=["craft"], budget={"samples": 3, "heldout": 2})
    (cell,) = make_plan(suite, registry).cells
    bench = Workbench(registry, Store(tmp_path))
    data, asked = bench.dataset(cell.data), []
    draw = data.samples
    monkeypatch.setattr(data, "samples", lambda *given: asked.append(given) or draw(*given))
    first = bench.task(cell, tmp_path, lambda *_: None).samples
    kept = first.images.clone()
    first.images.zero_()
    second = bench.task(cell, tmp_path, lambda *_: None).samples
    assert torch.equal(second.images, kept)
    assert second.ids == first.ids
    assert [given[1] for given in asked] == ["explain"]
    bench.heldout(cell)
    assert [given[1] for given in asked] == ["explain", "heldout"]
