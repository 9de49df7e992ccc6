"""What cells share: drawn once, and safe from those who write into it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch

from xcore.api import load_registry
from xcore.contract import Concept, Explanation
from xcore.pretrained.adapters import adapter, save_adapter
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

PLUGINS = Path(__file__).parents[1] / "plugins"


def test_each_seed_draws_its_own_samples_for_methods_and_metrics(tmp_path: Path) -> None:
    registry = load_registry([str(PLUGINS / "toy_plugin.py")])
    keys = {"data": "toy", "classes": ["red"], "methods": ["toy"], "budget": {"samples": 3, "heldout": 2}}
    bench = Workbench(registry, Store(tmp_path))

    def drawn(**more: Any) -> list[set[str]]:
        cells = make_plan(Suite(**keys, **more), registry).cells
        random_sets = [bench.random_sets(c, split)(3, 0) for c in cells for split in ("train", "heldout")]
        return [set(s.ids) for s in (*map(bench.explained, cells), *map(bench.heldout, cells), *random_sets)]

    own = drawn(seeds=[0, 1])
    assert all(not a & b for a, b in itertools.combinations(own, 2))
    (seen, _, held, _, *_), first = drawn(seeds=[0, 1], data_seed=0), drawn()
    assert [seen, held] == first[:2] == [own[0], own[2]]  # the first seed draws what it always drew


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


def test_random_sets_of_the_next_class_draw_only_what_is_new(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("xcore.run.random_sets.POOL", 60)  # of which a class is asked for at once
    registry = load_registry([str(PLUGINS / "toy_plugin.py")])
    suite = Suite(data="toy", classes=["red", "green"], methods=["toy"], budget={"samples": 3, "heldout": 2})
    first, second = make_plan(suite, registry).cells
    bench, alone = Workbench(registry, Store(tmp_path)), Workbench(registry, Store(tmp_path / "alone"))
    data, asked = bench.dataset(first.data), []
    draw = data.samples
    monkeypatch.setattr(data, "samples", lambda *given: asked.append(given) or draw(*given))
    bench.random_sets(first, "train")(3, 0).images.zero_()
    assert sorted(given[0] for given in asked) == sorted({*data.classes} - {"red"})
    asked.clear()
    drawn = bench.random_sets(second, "train")(3, 0)
    assert [given[0] for given in asked] == ["red"]
    assert torch.equal(drawn.images, alone.random_sets(second, "train")(3, 0).images), "as if it came first"
    assert drawn.digests == drawn.take(range(3)).digests == tuple(drawn.take([i]).digest for i in range(3))


def test_counterparts_of_tuned_concepts_are_drawn_by_the_adapter_of_the_explanation(tmp_path: Path) -> None:
    registry = load_registry([str(PLUGINS / name) for name in ("toy_plugin.py", "growing_plugin.py")])
    suite = Suite(data="toy", classifiers=["toy-net"], classes=["red"], methods=["sampling"], generator="painter")
    (cell,) = make_plan(suite, registry).cells
    bench = Workbench(registry, Store(tmp_path))
    asked: list[str] = []
    painter = bench.component("generator", cell.generator)
    draw = painter.generate

    def recorded(prompts: Any, seeds: Any, by: Any = None) -> Any:
        asked.append(by.digest if by else "")
        return draw(prompts, seeds)

    painter.generate = recorded
    made = adapter({"w": torch.ones(1)}, {})
    save_adapter(made, tmp_path / "adapter.safetensors")
    concept = Concept("red", 1.0, render=f"generated:painter+{made.digest}")
    files = {"adapter.safetensors": tmp_path / "adapter.safetensors"}
    random_set = bench.run(cell, Explanation("m", "red", "any", (concept,), files=files)).heldout_random_set
    for render in ("generated:painter", concept.render):
        first = random_set(3, 0, render, "null")
        assert len(first) == 3
        assert len(set(first.meta["prompt"])) == 1
    assert asked == ["", made.digest]
    again = Workbench(registry, Store(tmp_path)).run(cell, Explanation("m", "red", "any", (concept,), files=files))
    kept = again.heldout_random_set(3, 0, concept.render, "null")
    assert asked == ["", made.digest], "drawn once, and kept with the run"
    assert kept.meta["prompt"] == first.meta["prompt"]
