"""What `benchmarks/search.py` keeps is found anew once anything that it depends on has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from xcore.contract import Ref
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store import identity as identities
from xcore.store.run_directory import Store


def test_a_kept_search_goes_by_all_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark_script: Callable[[str], ModuleType]
) -> None:
    search = benchmark_script("search")
    registry = load_registry()
    suite = load_suite("minizoo-full")
    suite = suite.model_copy(update={"methods": ["rlpo"], "arms": [], "controls": [], "metrics": [], "seeds": [0]})
    cell = make_plan(suite, registry).cells[0]

    def key(cell: object, options: object, kind: str = "dqn", updates: int | None = None) -> str:
        return search.identity(Workbench(registry, Store(tmp_path)), cell, options, kind, updates)

    given = search.options_of(cell, 5, {})
    assert (given.keep, given.images, given.n, given.updates) == ("gain", 400, 5, None)
    changed = search.options_of(cell, 5, {"keep": "all"})
    keys = [
        key(cell, given),
        key(cell, changed),
        key(cell, search.options_of(cell, 6, {})),
        key(cell, given, "random"),
        key(cell, given, "random", 3),
        key(replace(cell, seed=1), given),
        key(replace(cell, cls="swan"), given),
        key(replace(cell, classifier=Ref("minizoo/shortcut")), given),
        key(replace(cell, generator=Ref(cell.generator.text, {"steps": 11})), given),
    ]
    assert len(set(keys)) == len(keys)
    assert key(cell, search.options_of(cell, 5, {})) == keys[0]
    monkeypatch.setattr(search, "CHECKED", (20, 400))
    assert key(cell, given) != keys[0]
    monkeypatch.undo()
    monkeypatch.setattr(identities, "_package_digest", lambda name: name)  # the code of another day
    assert key(cell, given) != keys[0]
