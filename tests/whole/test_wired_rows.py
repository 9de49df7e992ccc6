"""What `benchmarks/wired.py` keeps is found anew once anything that it depends on has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from xcore.contract import Ref
from xcore.registry import load_registry
from xcore.run.workbench import Workbench
from xcore.store import identity as identities
from xcore.store.run_directory import Store


def test_a_kept_row_goes_by_all_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark_script: Callable[[str], ModuleType]
) -> None:
    wired = benchmark_script("wired")
    registry = load_registry()

    def key(cell: object, kind: str = "observed", edits: int = 400) -> str:
        return wired.identity(Workbench(registry, Store(tmp_path)), cell, kind, edits)

    bench = Workbench(registry, Store(tmp_path))
    cell, tcav = (wired.cell_of(bench, "pattern=striped", kind) for kind in ("observed", "tcav"))
    others = [
        replace(cell, generator=Ref(cell.generator.text, {"steps": 11, "batch_size": 12})),
        replace(cell, models={role: ref for role, ref in cell.models.items() if role != "image-text"}),
        replace(cell, classifier=Ref("minizoo/wired:pattern=spotted")),
        replace(cell, seed=1),
        tcav,
        replace(tcav, method=Ref("tcav", {"maps": 1})),
        replace(tcav, generator=Ref(cell.generator.text, {"steps": 11, "batch_size": 12})),
    ]
    keys = [key(cell), key(cell, "factorial"), key(cell, "edited"), key(cell, "edited", 100), *map(key, others)]
    assert len(set(keys)) == len(keys)
    assert key(wired.cell_of(bench, "pattern=striped", "observed")) == keys[0]
    monkeypatch.setattr(identities, "_package_digest", lambda name: name)  # the code of another day
    assert key(cell) != keys[0]
