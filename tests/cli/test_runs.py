"""`xcore runs`: list, show, gc, export, on small runs of the toy world."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from xcore.api import bench, report
from xcore.cli.main import main
from xcore.report.inventory import garbage
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"]}
METRICS = ["brightness", "spread"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a toy cell, and nothing here looks at pictures."""
    monkeypatch.setattr("xcore.api.draw", None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two methods and two seeds, of which one cell failed."""
    folder = tmp_path_factory.mktemp("made") / "two"
    bench(["tuned", "crash"], out=folder, seeds=[0, 1], metrics=METRICS, **COMMON)
    return folder


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "runs" / "two"))


@pytest.fixture
def xcore(monkeypatch, capsys):
    def call(*words, code=0):
        monkeypatch.setattr("sys.argv", ["xcore", "runs", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
        return capsys.readouterr()

    return call


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def figures(folder):
    table = json.loads((folder / "table.json").read_text())
    return {**table, "header": {}}


# -- list and show -----------------------------------------------------------------------------------------------------
def test_list_counts_cells_and_a_damaged_run_hides_no_other(run, xcore):
    broken = run.parent / "deeper" / "broken"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text('{"plan": []')
    said = xcore("list", run.parent)
    heading, first, second = (line.split() for line in said.out.splitlines())
    assert heading[:4] == ["run", "suite", "cells", "ok"]
    assert first[1:6] == ["?"] * 5
    assert second[1:7] == ["custom", "4", "3", "1", "0", "0"]
    assert "broken cannot be read: " in said.err
    found = [json.loads(line) for line in xcore("list", run.parent, "--json").out.splitlines()]
    assert [about["cells"] for about in found] == [{}, {"ok": 3, "failed": 1, "skipped": 0, "pending": 0}]
    assert found[1]["size"] == sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    assert "no folder" in xcore("list", run.parent / "nowhere", code=2).err


def test_show_says_what_was_asked_what_is_there_and_how_to_go_on(run, xcore):
    shutil.rmtree(next((run / "explanations").glob("tuned.*.red.1.*")))
    before = files(run)
    said = xcore("show", run).out
    assert "methods      tuned, crash" in said
    assert "seeds        0, 1" in said
    assert "there: 2 ok, 1 failed, 1 not done of 4 cells" in said
    assert "crash  red  seed 1  failed: ValueError: seed 1 is unlucky" in said
    assert "tuned  red  seed 1  not done" in said
    assert "artifacts" in said
    assert f"to go on: xcore bench --add-to {run}" in said
    about = json.loads(xcore("show", run, "--json").out)
    assert about["scores"]["brightness"] == {"there": 2, "wanted": 2}
    assert sum(about["sizes"].values()) == sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    assert files(run) == before
    assert "not a run directory" in xcore("show", run.parent, code=2).err


# -- gc ----------------------------------------------------------------------------------------------------------------
def test_gc_removes_what_no_plan_refers_to_and_a_bench_makes_nothing_again(tmp_path, xcore, monkeypatch):
    run, counter = tmp_path / "run", tmp_path / "counter"
    request = dict(out=run, metrics=METRICS, **COMMON)
    bench(["tuned"], seeds=[0, 1], set={"tuned": {"k": 3}}, **request)
    old = {p.name for part in ("explanations", "artifacts") for p in (run / part).iterdir() if p.is_dir()}
    old |= {p.name for p in (run / "scores").iterdir()}
    bench(["tuned"], seeds=[0, 1], set={"tuned": {"k": 4}}, **request)
    (run / "explanations" / ".writing-x").mkdir()
    (run / "table.md").with_name(".writing-y").write_text("half")
    before, whole = figures(run), files(run)
    dry = json.loads(xcore("gc", run, "--dry-run", "--json").out)
    assert files(run) == whole
    assert {Path(one["path"]).name for one in dry["files"]} == {*old, ".writing-x", ".writing-y"}
    assert dry["size"] == sum(one["size"] for one in dry["files"]) > 0
    sizes = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    done = json.loads(xcore("gc", run, "--json").out)
    assert (done["files"], done["removed"], dry["removed"]) == (dry["files"], True, False)
    assert sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) == sizes - dry["size"]
    assert xcore("gc", run).out == f"{run}: nothing to remove\n"
    report(run)
    assert figures(run) == before
    monkeypatch.setenv("TOY_COUNTER", str(counter))
    monkeypatch.setattr("xcore.store.run_directory.Store.write_scores", lambda *about: pytest.fail("scored again"))
    bench(add_to=run)
    assert not counter.exists()
    assert figures(run) == before


def test_gc_keeps_artifacts_while_cells_are_open_and_says_so(run, xcore):
    used = next(p for p in (run / "artifacts").iterdir() if p.is_dir())
    shutil.copytree(used, used.with_name("translator.0123456789abcdef"))  # such as what a killed cell had trained
    shutil.rmtree(next((run / "explanations").glob("tuned.*.red.1.*")))
    said = xcore("gc", run)
    assert "1 artifact kept: 2 cells that are not done or failed may use them" in said.err
    assert len([p for p in (run / "artifacts").iterdir() if p.is_dir()]) == 2


def test_gc_touches_nothing_that_xcore_did_not_write(run, xcore, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "record.json").write_text("{}")
    (run / "explanations" / "mine.0123456789abcdef").mkdir()
    (run / "explanations" / "notes.txt").write_text("mine")
    (run / "explanations" / "link.0123456789abcde0").symlink_to(elsewhere)
    (run / "scores" / "notes.txt").write_text("mine")
    (run / "artifacts" / "mine").mkdir()
    xcore("gc", run)
    assert {"explanations/notes.txt", "scores/notes.txt"} <= files(run)
    assert (run / "explanations" / "mine.0123456789abcdef").is_dir()
    assert (run / "artifacts" / "mine").is_dir()
    assert (elsewhere / "record.json").is_file()


def test_gc_is_refused_while_another_process_works_there(run, xcore):
    with Store(run).locked():
        assert "another process works in" in xcore("gc", run, code=2).err
        xcore("gc", run, "--dry-run")


def test_a_gc_that_is_killed_leaves_no_half_of_a_record(run, xcore, monkeypatch):
    bench(["crash"], out=run, metrics=METRICS, **COMMON)
    real = shutil.rmtree

    def killed(path, **keys):
        next(Path(path).rglob("record.json")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(garbage.shutil, "rmtree", killed)
    xcore("gc", run, code=130)
    monkeypatch.setattr(garbage.shutil, "rmtree", real)
    assert all((p / "record.json").is_file() for p in (run / "explanations").glob("[!.]*"))
    xcore("gc", run)
    assert not list((run / "explanations").glob(".*"))


# -- export ------------------------------------------------------------------------------------------------------------
def test_export_has_every_score_once_with_its_samples_and_every_gap_with_its_reason(run, xcore, tmp_path):
    xcore("export", run)
    found = pd.read_parquet(run / "scores.parquet", dtype_backend="numpy_nullable")
    kept = [s for path in (run / "scores").glob("*.json") for s in json.loads(path.read_text())["scores"]]
    assert sorted(found.value.dropna()) == sorted(s["value"] for s in kept)
    shown = {
        (row["label"], row["rank"] - 1, seed): value
        for section in json.loads((run / "table.json").read_text())["sections"]
        for row in section["rows"]
        if row["rank"]
        for cell in row["values"]
        if cell["metric"] == "brightness"
        for seed, value in cell["by_seed"].items()
    }
    bright = found[(found.metric == "brightness")]
    assert {(r.label, r.concept, str(r.seed)): r.value for r in bright.itertuples()} == shown
    assert set(bright.concept_name) == {"part 0", "part 1", "part 2"}
    joint = found[found.metric == "spread"]
    assert [(r.label, pd.isna(r.seed), r.seeds) for r in joint.itertuples()] == [
        ("tuned", True, "0 1"),
        ("crash", False, "0"),
    ]
    failed = found[found.status == "failed"]
    ((label, seed, reason),) = [(r.label, r.seed, r.reason) for r in failed.itertuples()]
    assert (label, seed) == ("crash", 1)
    assert reason.startswith("ValueError: seed 1 is unlucky, at toy_plugin.py:")
    assert len(found) == len(kept) + 1
    for path in (run / "scores").glob("*.json"):
        path.unlink()
    xcore("export", run, "--to", tmp_path / "none.csv")
    rows = list(csv.DictReader((tmp_path / "none.csv").open()))
    assert [r["reason"] for r in rows if r["metric"]] == ["no score was written"] * 5


def test_csv_and_parquet_hold_the_same_and_runs_are_told_apart(run, made, xcore, tmp_path):
    suite = tmp_path / "hostile.toml"
    suite.write_text('data = "toy"\nclasses = ["red"]\n[[arms]]\nlabel = "=1+1"\nmethod = "toy"\n')
    bench(suite=str(suite), plugins=[TOY], metrics=["singles"], out=tmp_path / "other" / "two")
    paths = [run, tmp_path / "other" / "two"]
    xcore("export", *paths, "--to", tmp_path / "all.parquet")
    xcore("export", *paths, "--to", tmp_path / "all.csv")
    frame = pd.read_parquet(tmp_path / "all.parquet", dtype_backend="numpy_nullable")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert set(frame.run) == {"runs/two", "other/two"}
    assert [r["value"] for r in rows] == ["" if pd.isna(v) else repr(float(v)) for v in frame.value]
    last = frame.iloc[-1]
    assert (last.label, rows[-1]["label"]) == ("=1+1", "'=1+1")
    assert (list(last.samples), rows[-1]["samples"]) == ([0.25, 0.75], "[0.25, 0.75]")
    assert (last.spread, last.over, last.n, json.loads(last.details)) == (0.5, "pairs", 2, {"chance": 0.1})
    assert {name: str(frame[name].dtype) for name in ("seed", "concept", "value")} == {
        "seed": "Int64",
        "concept": "Int64",
        "value": "Float64",
    }


def test_export_refuses_what_it_cannot_write(run, made, xcore):
    assert "several runs go into one file" in xcore("export", run, made, code=2).err
    assert "ends neither in .parquet nor in .csv" in xcore("export", run, "--to", "scores.xlsx", code=2).err
    assert "cannot write to" in xcore("export", run, "--to", run / "nowhere" / "scores.csv", code=2).err
    assert "the same run is named twice" in xcore("export", run, run, "--to", "scores.csv", code=2).err


def test_reading_commands_change_nothing(run, xcore, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in (run, *run.rglob("*"))}
    to = tmp_path / "x.csv"
    for words in (["list", run.parent], ["show", run], ["gc", run, "--dry-run"], ["export", run, "--to", to]):
        xcore(*words)
    assert {p: p.stat().st_mtime_ns for p in (run, *run.rglob("*"))} == before
