"""The loop end to end, on a toy world: records, resume, failures, order, determinism."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xcore.api import bench, report
from xcore.cli.main import main
from xcore.contract import Cell, UsageError
from xcore.run.loop import known_identities
from xcore.run.progress import Reporter
from xcore.store import run_directory
from xcore.store.identity import Identity
from xcore.store.records import write_record

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness"]}


def run(tmp_path, methods, **keys):
    return bench(methods, out=tmp_path / "run", **{**COMMON, **keys})


class Noted(Reporter):
    """Keeps the warnings."""

    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


def without_times(rows):
    return [{k: v for k, v in r.items() if k not in ("seconds", "cached")} for r in rows]


@pytest.fixture
def counter(tmp_path, monkeypatch):
    path = tmp_path / "counter"
    path.touch()
    monkeypatch.setenv("TOY_COUNTER", str(path))
    return path


def test_rows_and_files(tmp_path):
    result = run(tmp_path, ["toy"], seeds=[0, 1])
    assert [(r["seed"], r["rank"], r["concept"]) for r in result.rows] == [
        (s, k + 1, f"part {k}") for s in (0, 1) for k in range(3)
    ]
    assert all(0.3 < r["scores"]["brightness"]["value"] < 0.7 for r in result.rows)
    records = sorted((tmp_path / "run" / "explanations").iterdir())
    assert len(records) == 2
    names = {p.name for p in records[0].iterdir()}
    assert {"record.json", "tensors.safetensors", "concepts.png", "maps.png", "concepts"} <= names
    assert {"table.md", "table.csv", "table.json", "table.tex", "run.json"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


def test_finished_work_is_not_done_again(tmp_path, counter):
    first = run(tmp_path, ["toy"], seeds=[0, 1])
    second = run(tmp_path, ["toy"], seeds=[0, 1, 2])
    assert counter.read_text().split() == ["0", "1", "2"]
    assert second.result.cached == 2
    assert without_times(second.rows)[: len(first.rows)] == without_times(first.rows)


def test_going_on_does_not_compare_each_cell_with_all_others(tmp_path, monkeypatch):
    run(tmp_path, ["toy"], seeds=range(12))
    compared, equal = [], Cell.__eq__
    monkeypatch.setattr(Cell, "__eq__", lambda one, other: compared.append(one) or equal(one, other))
    went_on = run(tmp_path, ["toy"], seeds=range(13))
    assert [outcome.cached for outcome in went_on.result.outcomes] == [True] * 12 + [False]
    assert len(compared) <= 13


def test_adding_a_metric_costs_no_explanation(tmp_path, counter):
    run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness"])
    result = run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness", "spread"])
    assert counter.read_text().split() == ["0", "1"]
    spread = [r["overall"]["spread"]["value"] for r in result.rows if r["rank"] == 1]
    assert spread[0] == spread[1] > 0


def test_another_run_in_the_same_place_forgets_no_identity(tmp_path, counter):
    def kept():
        return known_identities(tmp_path / "run", pytest.fail)

    run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness"])
    before = kept()
    run(tmp_path, ["toy"], seeds=[0], metrics=["spread"])
    assert before.items() < kept().items()


def test_held_out_budget_changes_scores_only(tmp_path, counter):
    run(tmp_path, ["toy"], budget={"heldout": 5})
    run(tmp_path, ["toy"], budget={"heldout": 6})
    assert counter.read_text().split() == ["0"]
    run(tmp_path, ["toy"], budget={"samples": 7})
    assert counter.read_text().split() == ["0", "0"]


def test_a_failing_cell_harms_no_neighbour_and_is_tried_again(tmp_path, counter):
    result = run(tmp_path, ["crash", "skip", "nan", "toy"], seeds=[0, 1])
    status = {(o.cell.label, o.cell.seed): (o.status, o.reason) for o in result.result.outcomes}
    assert status["crash", 0][0] == status["toy", 0][0] == status["toy", 1][0] == "ok"
    assert status["crash", 1][0] == "failed"
    line = next(i for i, text in enumerate(TOY.read_text().splitlines(), 1) if "is unlucky" in text)
    assert status["crash", 1][1] == f"ValueError: seed 1 is unlucky, at toy_plugin.py:{line}"
    assert status["skip", 0] == ("skipped", "not for this model (try another)")
    assert status["nan", 0][0] == "failed"
    lost = [r for r in result.rows if r["status"] != "ok"]
    assert {(r["label"], r["seed"]) for r in lost} == {("crash", 1), ("skip", 0), ("skip", 1), ("nan", 0), ("nan", 1)}
    assert all(r["reason"] and r["concept"] is None for r in lost)
    before = len(counter.read_text().split())
    run(tmp_path, ["crash", "toy"], seeds=[0, 1])
    assert len(counter.read_text().split()) == before  # only the crash is tried again, and it crashes before counting


def test_a_method_for_another_kind_of_samples_is_skipped(tmp_path, counter):
    result = run(tmp_path, ["reader"])
    assert [(r["status"], r["reason"]) for r in result.rows] == [("skipped", "reader explains text, and toy is image")]
    assert not counter.exists() or not counter.read_text()


def test_a_failing_metric_loses_no_other_score(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_METRIC_FAILS", "1")
    result = run(tmp_path, ["toy"], metrics=["brightness", "spread"], seeds=[0, 1])
    assert len(result.result.score_failures) == 2
    assert result.rows[0]["overall"]["spread"]["value"] > 0
    monkeypatch.delenv("TOY_METRIC_FAILS")
    again = run(tmp_path, ["toy"], metrics=["brightness", "spread"], seeds=[0, 1])
    assert not again.result.score_failures
    assert again.rows[0]["scores"]["brightness"]["value"] > 0


def test_order_of_methods_changes_nothing(tmp_path):
    one = run(tmp_path / "a", ["toy", "rude"], seeds=[0, 1])
    two = run(tmp_path / "b", ["rude", "toy"], seeds=[1, 0])

    def key(r):
        return r["label"], r["seed"], r["rank"]

    assert sorted(without_times(one.rows), key=key) == sorted(without_times(two.rows), key=key)


def test_global_random_states_are_left_as_found(tmp_path):
    import random

    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    run(tmp_path, ["rude"])
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_another_engine_gives_the_same_table(tmp_path, counter):
    one = run(tmp_path / "a", ["toy"], seeds=[0, 1, 2])
    two = run(tmp_path / "b", ["toy"], seeds=[0, 1, 2], engine="backwards")
    assert counter.read_text().split() == ["0", "1", "2", "2", "1", "0"]
    assert without_times(one.rows) == without_times(two.rows)


def test_two_labels_of_one_explanation_run_once(tmp_path, counter):
    arms = [{"label": "a", "method": "toy"}, {"label": "b", "method": "toy"}]
    result = run(tmp_path, [], arms=arms)
    assert counter.read_text().split() == ["0"]
    assert {r["label"] for r in result.rows} == {"a", "b"}


def test_arms_are_run_beside_methods(tmp_path, counter):
    result = run(tmp_path, ["toy"], arms=[{"label": "b", "method": "toy"}])
    assert {r["label"] for r in result.rows} == {"toy", "b"}


def words_of(tmp_path, *words):
    tmp_path.mkdir(exist_ok=True)
    about = ["bench", "--plugin", str(TOY), "--data", "toy", "--class", "red", "--metrics", "brightness"]
    return [*about, "--out", str(tmp_path / "run"), *words]


@pytest.fixture
def here(monkeypatch, capsys):
    """A function that runs the command in this process: exit code, stdout, stderr."""

    def run(tmp_path, *words, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["xcore", *words_of(tmp_path, *words)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return run


def command(tmp_path, *words, **env):
    """The same in a process of its own."""
    env |= {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}  # a process that is killed leaves its temporary folder
    call = [sys.executable, "-m", "xcore", *words_of(tmp_path, *words)]
    return subprocess.run(call, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def test_killed_run_resumes_to_the_same_table(tmp_path, here):
    env = {"TOY_MARKER": str(tmp_path / "marker"), "TOY_COUNTER": str(tmp_path / "counter")}
    words = ("--methods", "kill", "--seeds", "4", "--json")
    killed = command(tmp_path, *words, **env)
    assert killed.returncode == -9
    code, resumed, said = here(tmp_path, *words, **env)
    assert code == 0, said
    assert (tmp_path / "counter").read_text().split() == ["0", "1", "2", "3"]
    _, whole, _ = here(tmp_path / "other", *words, **env)
    lines = [[json.loads(x) for x in out.splitlines()][:-1] for out in (resumed, whole)]
    for row in (row for made in lines for row in made):  # two folders
        row["picture"] = row["picture"] and Path(row["picture"]).name
        row.pop("pictures", None)
    assert without_times(lines[0]) == without_times(lines[1])
    assert not list((tmp_path / "run").rglob(".writing-*"))


def test_json_is_all_that_is_on_stdout(tmp_path, here):
    """Whoever writes there; by which ways, is tested with hostile plugins in a process of their own."""
    _, out, err = here(tmp_path, "--methods", "rude", "--json")
    lines = [json.loads(x) for x in out.splitlines()]
    assert lines[-1]["cells"] == {"ok": 1, "failed": 0, "skipped": 0, "cached": 0}
    assert "noise on stdout" in err
    assert "1 input(s) of toy were left out: toy/broken.png: not an image" in err


def test_exit_code_of_a_failed_cell_and_how_to_go_on(tmp_path, here):
    code, out, err = here(tmp_path, "--methods", "crash", "--seeds", "2")
    assert code == 1
    assert "seed 1 is unlucky, at toy_plugin.py:" in " ".join(out.split())  # the table breaks lines
    assert "--traceback" in out
    assert "xcore bench" in err.splitlines()[-1]


def test_report_rebuilds_the_table(tmp_path, monkeypatch):
    first = run(tmp_path, ["toy", "crash"], seeds=[0, 1])
    for path in (tmp_path / "run").glob("table.*"):
        path.unlink()
    # code that changes after the run does not take its results away
    monkeypatch.setattr(Identity, "component", lambda self, kind, ref: "changed")
    monkeypatch.setattr("xcore.run.about.codes", lambda registry, distributions: {"xcore-xai": "changed"})
    seen = Noted()
    again = report(tmp_path / "run", seen)
    assert any("other code of xcore-xai" in line and "shown as it was made" in line for line in seen.lines)
    assert without_times(again.rows) == without_times(first.rows)
    assert (tmp_path / "run" / "table.md").is_file()
    with pytest.raises(UsageError, match="is not a run directory"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--methods", "toyy"), 2, "unknown method 'toyy' (did you mean 'toy'?)"),
        (("--methods", ""), 2, "--methods is empty"),
        (("--methods", "toy", "--class", "rad"), 2, "did you mean 'red'?"),
        (("--methods", "toy", "--layer", "9"), 2, "9"),
        (("--methods", "toy", "--set", "toy.k=1"), 2, "takes no options"),
        (("--methods", "toy", "--set", "tuy.k=1"), 2, "unknown component in --set 'tuy'"),
        (("--methods", "toy", "--seeds", "x"), 2, "--seeds 'x'"),
        (("--methods", "toy", "--suite", "nope"), 2, "unknown suite 'nope'"),
        (("--methods", "toy,toy"), 2, "label 'toy' is named twice"),
        (("--methods", "toy", "--classifier", "tiny"), 2, "unknown classifier 'tiny'"),
        (("--methods", "toy", "--metrics", "brigthness"), 2, "did you mean 'brightness'?"),
        (("--methods", "toy", "--engine", "backward"), 2, "did you mean 'backwards'?"),
        (("--methods", "toy", "--plugin", "nowhere.py"), 2, "no plugin file 'nowhere.py'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, code, said):
    fixed = ["bench", "--plugin", str(TOY), "--data", "toy", "--class", "red", "--out", str(tmp_path / "run")]
    fixed += ["--metrics", "brightness"]
    monkeypatch.setattr(sys, "argv", ["xcore", *fixed, *words])
    with pytest.raises(SystemExit) as left:
        main()
    said_on_stderr = capsys.readouterr().err
    assert left.value.code == code
    assert said in said_on_stderr
    assert len(said_on_stderr.strip().splitlines()) == 1


def test_wrong_suite_key_names_the_nearest(tmp_path):
    suite = tmp_path / "mine.toml"
    suite.write_text('data = "toy"\nmethod = ["toy"]\n')
    with pytest.raises(UsageError, match=r"'method'.*did you mean 'methods'"):
        bench(suite=str(suite), plugins=[TOY], out=tmp_path / "run")


def test_a_metric_over_seeds_goes_on_without_those_that_failed(tmp_path):
    one = run(tmp_path / "a", ["crash"], metrics=["spread"], seeds=[0, 1, 2])
    two = run(tmp_path / "b", ["crash"], metrics=["spread"], seeds=[2, 1, 0])
    assert one.rows[0]["overall"]["spread"]["value"] > 0
    assert one.rows[0]["overall"] == two.rows[0]["overall"]
    shown = next(v for c, v in one.table.sections[0].rows[0].values.items() if c.metric == "spread")
    assert (shown.value, shown.spread) == (
        one.rows[0]["overall"]["spread"]["value"],
        None,
    )  # one value, no ± over seeds


def test_the_title_counts_the_held_out_samples_that_there_were(tmp_path):
    made = run(tmp_path, ["toy"], budget={"heldout": 500})
    assert [r["heldout"] for r in made.rows] == [100, 100, 100]
    assert "held-out images 100" in (tmp_path / "run" / "table.md").read_text()
    assert report(tmp_path / "run").rows[0]["heldout"] == 100


def test_an_explanation_is_read_once_for_all_metrics_that_judge_it_alone(tmp_path, monkeypatch):
    read = []
    real = run_directory.decode
    monkeypatch.setattr(run_directory, "decode", lambda *given: read.append(given) or real(*given))
    run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness", "cost", "CS"], models={"image-text": "minizoo/clip"})
    assert len(read) == 2
    run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness", "cost", "CS"], models={"image-text": "minizoo/clip"})
    assert len(read) == 2  # and not at all where every score is there
    run(tmp_path, ["toy"], seeds=[0, 1], metrics=["brightness", "cost", "spread"])
    assert len(read) == 4  # once more each for the metric that judges both together


def test_device_type_and_threads_are_recorded_and_a_change_is_told(tmp_path, monkeypatch):
    run(tmp_path, ["toy"], threads=1)
    (record,) = (tmp_path / "run" / "explanations").glob("*/record.json")
    numerics = json.loads(record.read_text())["numerics"]
    assert (numerics["threads"], numerics["device"], numerics["dtype"]) == (1, "cpu", "float32")
    monkeypatch.setattr("xcore.models.device._device", "cuda:7")
    seen = Noted()
    run(tmp_path, ["toy"], threads=1, reporter=seen)
    assert any("made with device cpu instead of cuda:7" in line for line in seen.lines)


EATS = """
from xcore import hookimpl

class Eats:
    direction, needs = "none", frozenset()
    def __init__(self, options): ...
    def score(self, runs):
        from xcore.contract import Score
        for concept in runs[0].explanation.concepts:
            concept.samples.images.zero_()
        return [Score("eats", None, 0.0)]

@hookimpl
def register_metrics(register):
    register("eats", Eats, summary="spoils what it judges")
"""


def test_scores_do_not_depend_on_the_order_of_metrics(tmp_path):
    (tmp_path / "eats.py").write_text(EATS)
    made = []
    for i, metrics in enumerate((["brightness", "eats"], ["eats", "brightness"])):
        keys = {"plugins": [TOY, tmp_path / "eats.py"], "metrics": metrics}
        rows = bench(["toy"], out=tmp_path / str(i), **{**COMMON, **keys}).rows
        made.append([row["scores"]["brightness"]["value"] for row in rows])
    assert made[0] == made[1]
    assert min(made[0]) > 0.3


def test_a_run_is_reported_whose_plugin_file_no_longer_loads(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(TOY.read_text())
    first = run(tmp_path, ["toy"], plugins=[plugin])
    plugin.write_text("raise TypeError('written for an older xcore')")
    seen = Noted()
    again = report(tmp_path / "run", seen)
    assert any("written for an older xcore" in line for line in seen.lines)
    assert without_times(again.rows) == without_times(first.rows)


@pytest.mark.parametrize("spoil", [lambda plan: plan["cells"][0].update(later=1), lambda plan: plan.pop("cells")])
def test_a_plan_that_cannot_be_read_is_one_line(tmp_path, spoil):
    run(tmp_path, ["toy"])
    file = tmp_path / "run" / "run.json"
    about = json.loads(file.read_text())
    spoil(about["plan"])
    write_record(file, about)
    with pytest.raises(UsageError, match=r"does not hold a plan that this xcore can read.*newer"):
        report(tmp_path / "run")


def test_a_gate_of_a_suite_on_what_the_suite_does_not_compute_is_refused(tmp_path):
    (tmp_path / "s.toml").write_text(
        'data = "toy"\nclasses = ["red"]\nmethods = ["toy"]\nmetrics = ["brightness"]\ngates = ["toy.spread >= 1"]\n'
    )
    with pytest.raises(UsageError, match=r"metric in gate 'toy.spread >= 1'"):
        bench(suite=str(tmp_path / "s.toml"), plugins=[TOY], out=tmp_path / "run")
