"""A finished run is shown again without its records, and only if nothing has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xcore.api import bench
from xcore.base.files import as_json
from xcore.report.shown_before import FILE
from xcore.report.write import render
from xcore.store.identity import Identity
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"


def run(folder: Path, plugin: Path = TOY, **keys):
    asked = {"data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "seeds": [0, 1]}
    return bench(["toy"], out=folder, plugins=[plugin], **{**asked, **keys})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder)
    return folder


@pytest.fixture
def kept(finished, tmp_path):
    """A run that was shown where it is."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    run(folder)
    return folder


@pytest.fixture
def reads(monkeypatch):
    """The records that are read."""
    seen: list[str] = []
    read = Store.read

    def noted(self, identity):
        seen.append(identity)
        return read(self, identity)

    monkeypatch.setattr(Store, "read", noted)
    return seen


def said(result) -> list[str]:
    """All that a result tells, but for how long it took."""
    verdicts = [verdict.text for verdict in result.verdicts]
    outcomes = [(o.cell.label, o.cell.seed, o.status, o.record, o.cached) for o in result.result.outcomes]
    return [as_json(result.rows), render(result.table, "md"), as_json(outcomes), *verdicts, *map(str, result.pictures)]


def test_it_is_shown_as_from_its_records_and_none_is_read(kept, reads):
    again = run(kept, gates=["toy.brightness >= 0"])
    assert reads  # the gates are new
    reads.clear()
    from_the_file = run(kept, gates=["toy.brightness >= 0"])
    assert not reads
    (kept / FILE).unlink()
    assert said(from_the_file) == said(run(kept, gates=["toy.brightness >= 0"])) == said(again)
    assert len(from_the_file.verdicts) == 1


@pytest.mark.parametrize(
    "name", ["explanations/*/record.json", "scores/*.json", "table.md", "report.html", "pictures/*/concepts.png"]
)
def test_a_file_that_was_touched_is_looked_at(kept, reads, name):
    path = sorted(kept.glob(name))[0]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    before = path.read_bytes()
    run(kept)
    assert reads
    reads.clear()
    run(kept)
    assert not reads
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["explanations/*", "scores/*.json", "pictures/*/concepts.png", "table.csv"])
def test_what_is_gone_is_made_again(kept, name):
    path = sorted(kept.glob(name))[0]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(kept)
    assert path.exists()


def test_other_code_is_another_request(kept, reads, monkeypatch):
    component = Identity.component
    monkeypatch.setattr(Identity, "component", lambda self, kind, ref: f"{component(self, kind, ref)} edited")
    run(kept)
    assert reads


def test_a_shortcut_that_is_damaged_is_none(kept, reads):
    whole = said(run(kept))
    (kept / FILE).write_text("{")
    assert said(run(kept)) == whole
    assert reads


def test_a_run_with_a_failure_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_METRIC_FAILS", "1")
    assert run(tmp_path).broken
    assert not (tmp_path / FILE).exists()
    monkeypatch.delenv("TOY_METRIC_FAILS")
    assert not run(tmp_path).broken
    assert (tmp_path / FILE).exists()


AGAIN = """
import sys
from xcore.api import bench
asked = {{"data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "seeds": [0, 1]}}
done = bench(["toy"], out={out!r}, plugins=[{plugin!r}], **asked)
assert done.result.cached == 2
print(*[name for name in {late!r} if name in sys.modules])
"""
LATE = ("xcore.run.loop", "xcore.run.workbench", "xcore.report.site.run_page", "xcore.ci.baseline", "torch", "jinja2")


def test_a_finished_run_imports_nothing_of_what_runs_cells_or_draws(kept):
    code = AGAIN.format(out=str(kept), plugin=str(TOY), late=LATE)
    shown, looked_at = [], []
    for found in (shown, looked_at):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found += done.stdout.split()
        (kept / FILE).unlink()
    assert not shown
    assert "xcore.run.loop" in looked_at
