"""Amending a run: what is added to it, what is refused, and that nothing finished is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xcore import api
from xcore.api import bench, report, score
from xcore.contract import UsageError
from xcore.run.progress import Reporter
from xcore.store import identity
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
COMMON = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness"]}


class Noted(Reporter):
    """Keeps the warnings."""

    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a toy cell, and nothing here looks at pictures."""
    monkeypatch.setattr("xcore.api.draw", None)


@pytest.fixture
def counter(tmp_path, monkeypatch):
    path = tmp_path / "counter"
    path.touch()
    monkeypatch.setenv("TOY_COUNTER", str(path))
    return path


def first(tmp_path, methods=("toy",), **keys):
    return bench(methods, out=tmp_path / "run", **{**COMMON, **keys})


def figures(folder):
    """The table without what the clock and the folder say."""
    table = json.loads((folder / "table.json").read_text())
    table["header"] = {}
    for section in table["sections"]:
        for row in section["rows"]:
            row["seconds"] = None
    return table


def suite_of(folder):
    return json.loads((folder / "run.json").read_text())["plan"]["suite"]


def test_a_run_that_was_added_to_is_the_run_that_was_asked_for_at_once(tmp_path, counter):
    first(tmp_path)
    bench(["crash"], add_to=tmp_path / "run", classes=["blue"], seeds=[0, 2], metrics=["spread"])
    every = {"classes": ["red", "blue"], "seeds": [0, 2], "metrics": ["brightness", "spread"]}
    bench(["toy", "crash"], out=tmp_path / "whole", **{**COMMON, **every})
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    assert sorted(counter.read_text().split()) == sorted("00002222" + "00002222")  # eight cells in each, none twice


def test_what_is_there_is_added_once_whatever_it_is_called(tmp_path, counter):
    first(tmp_path, seeds=[0, 1])
    again = bench(
        ["toy_plugin/toy"], add_to=tmp_path / "run", classes=["red"], seeds=[1], metrics=["toy_plugin/brightness"]
    )
    assert {r["label"] for r in again.rows} == {"toy"}
    assert len(counter.read_text().split()) == 2


def test_adding_nothing_does_what_is_not_done(tmp_path, counter, monkeypatch):
    first(tmp_path, seeds=[0, 1])
    for record in (tmp_path / "run" / "explanations").glob("*red.1.*/record.json"):
        record.write_text("{")
    bench(add_to=tmp_path / "run")
    assert counter.read_text().split() == ["0", "1", "1"]


def test_classes_are_split_at_commas_before_they_are_joined(tmp_path):
    first(tmp_path, classes=["red,green"])
    bench(add_to=tmp_path / "run", classes=["green,blue"])
    assert suite_of(tmp_path / "run")["classes"] == ["red", "green", "blue"]
    bench(add_to=tmp_path / "run", classes=["all"])
    assert suite_of(tmp_path / "run")["classes"] == ["all"]


@pytest.mark.parametrize(
    ("methods", "keys", "said"),
    [
        ([], {"data": "other"}, "has the data set toy, and this request asks for other"),
        ([], {"budget": {"samples": 5}}, "has the budget of samples 60, and this request asks for 5"),
        ([], {"layer": "1"}, "has no layer, and this request asks for 1"),
        ([], {"threads": 2}, "has the number of threads all cores, and this request asks for 2"),
        ([], {"data_seed": 3}, "has no seed by which samples are drawn, and this request asks for 3"),
        ([], {"heldout": "toy"}, "has no data set of the held-out samples, and this request asks for toy"),
        ([], {"contrast": "toy"}, "has no data set of the random sets, and this request asks for toy"),
        ([], {"set": {"tuned": {"k": 5}}}, "tuned has k=3 in {run}, and this request asks for k=5"),
        (
            [],
            {"set": {"shade": {"k": 5}}},
            "has the metric shade with the default options, and this request asks for k=5",
        ),
        ([], {"classes": ["rde"]}, "unknown class 'rde' (did you mean 'red'?)"),
        (["tunde"], {}, "unknown method 'tunde' (did you mean 'tuned'?)"),
        ([], {"metrics": ["brightnes"]}, "unknown metric 'brightnes' (did you mean 'brightness'?)"),
        ([], {"out": "elsewhere"}, "--out and --add-to both name a run"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(tmp_path, counter, methods, keys, said):
    first(tmp_path, ["tuned"], metrics=["brightness", "shade"], set={"tuned": {"k": 3}})
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(UsageError) as refused:
        bench(methods, add_to=tmp_path / "run", **keys)
    assert said.format(run=tmp_path / "run") in str(refused.value)
    assert refused.value.hint
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert len(counter.read_text().split()) == 1


def test_a_method_with_other_options_comes_in_under_a_label_of_its_own(tmp_path, counter):
    first(tmp_path, ["tuned"], set={"tuned": {"k": 3}})
    suite = tmp_path / "more.toml"
    suite.write_text('[[arms]]\nlabel = "tuned-5"\nmethod = "tuned"\nset = {k = 5}\n')
    result = bench(add_to=tmp_path / "run", suite=str(suite))
    assert {r["label"] for r in result.rows} == {"tuned", "tuned-5"}
    bench(add_to=tmp_path / "run", suite=str(suite))  # again: nothing is new
    assert len(counter.read_text().split()) == 2
    suite.write_text('[[arms]]\nlabel = "tuned-5"\nmethod = "tuned"\nset = {k = 6}\n')
    with pytest.raises(UsageError, match="the label 'tuned-5' stands for another method"):
        bench(add_to=tmp_path / "run", suite=str(suite))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a run directory"):
        bench(["toy"], add_to=tmp_path, plugins=[TOY])
    with pytest.raises(UsageError, match="is not a run directory"):
        score(tmp_path / "nowhere", ["brightness"])
    assert not (tmp_path / "nowhere").exists()


# -- score -------------------------------------------------------------------------------------------------------------
def test_scoring_makes_no_explanation_and_gives_what_a_bench_would_have_given(tmp_path, counter):
    first(tmp_path, seeds=[0, 1])
    result = score(tmp_path / "run", ["spread"])
    assert list(result.table.metrics) == ["brightness", "spread"]
    assert counter.read_text().split() == ["0", "1"]
    bench(["toy"], out=tmp_path / "whole", **{**COMMON, "seeds": [0, 1], "metrics": ["brightness", "spread"]})
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    report(tmp_path / "run")
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_explanations_stay_though_the_code_of_their_method_has_changed(tmp_path, counter):
    plugin = tmp_path / "own" / "toy_plugin.py"
    plugin.parent.mkdir()
    plugin.write_text(TOY.read_text())
    first(tmp_path, plugins=[plugin])
    before = figures(tmp_path / "run")
    plugin.write_text(TOY.read_text() + "\n# edited\n")
    identity._folder_digest.cache_clear()  # kept for the life of a process
    told = Noted()
    result = score(tmp_path / "run", ["spread"], told)
    assert counter.read_text().split() == ["0"]
    assert any("other code of toy_plugin; its explanations stay as they are" in line for line in told.lines)
    assert {r["status"] for r in result.rows} == {"ok"}
    assert result.rows[0]["overall"]["spread"]["value"] == 0
    old = [row["values"][0] for row in figures(tmp_path / "run")["sections"][0]["rows"]]
    assert old == [row["values"][0] for row in before["sections"][0]["rows"]]
    report(tmp_path / "run")
    bench(add_to=tmp_path / "run")  # a bench does what depends on the edit again
    assert counter.read_text().split() == ["0", "0"]


def test_scoring_is_refused_when_the_pictures_are_others_now(tmp_path, counter, monkeypatch):
    shades = tmp_path / "shades.txt"
    monkeypatch.setenv("TOY_FILE", str(shades))
    shades.write_text("dark")
    first(tmp_path, data="toy-file", classifiers=["toy-net"])
    shades.write_text("bright")
    with pytest.raises(UsageError, match="the files of the data set toy-file have changed") as refused:
        score(tmp_path / "run", ["spread"])
    assert f"xcore bench --add-to {tmp_path / 'run'}" in refused.value.hint


def test_missing_scores_of_a_metric_are_computed_and_failed_cells_are_left_alone(tmp_path, counter, monkeypatch):
    monkeypatch.setenv("TOY_METRIC_FAILS", "1")
    assert first(tmp_path, ["toy", "crash"], seeds=[1]).result.score_failures
    monkeypatch.delenv("TOY_METRIC_FAILS")
    result = score(tmp_path / "run", ["brightness"])
    assert not result.result.score_failures
    assert {r["label"]: r["status"] for r in result.rows} == {"toy": "ok", "crash": "failed"}
    assert counter.read_text().split() == ["1"]


def test_scoring_that_was_interrupted_goes_on_where_it_was(tmp_path, counter, monkeypatch):
    first(tmp_path, seeds=[0, 1, 2], metrics=["spread"])
    whole, write = [], Store.write_scores

    def stopped(self, identity, *about):
        if len(whole) == 1:
            raise KeyboardInterrupt
        whole.append(identity)
        write(self, identity, *about)

    monkeypatch.setattr(Store, "write_scores", stopped)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "run", ["brightness"])
    open_cells = [r for r in report(tmp_path / "run").rows if r["seed"] and r["scores"]["brightness"]["value"] is None]
    assert len(open_cells) == 6
    monkeypatch.setattr(Store, "write_scores", lambda self, *about: (whole.append(about[0]), write(self, *about)))
    score(tmp_path / "run", ["brightness"])
    assert len(whole) == len(set(whole)) == 3  # none twice
    bench(["toy"], out=tmp_path / "whole", **{**COMMON, "seeds": [0, 1, 2], "metrics": ["spread", "brightness"]})
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    assert len(counter.read_text().split()) == 6  # three in each run


def test_a_run_that_another_process_has_amended_meanwhile_is_refused(tmp_path, monkeypatch):
    first(tmp_path)
    real = api.resolved

    def slow(*request):
        found = real(*request)
        monkeypatch.setattr(api, "resolved", real)
        bench(add_to=tmp_path / "run", classes=["green"])
        return found

    monkeypatch.setattr(api, "resolved", slow)
    with pytest.raises(UsageError, match=r"another process has changed .* meanwhile"):
        bench(add_to=tmp_path / "run", classes=["blue"])
    assert suite_of(tmp_path / "run")["classes"] == ["red", "green"]


def test_a_run_without_finished_explanations_is_not_scored(tmp_path):
    first(tmp_path, ["crash"], seeds=[1])
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(UsageError, match="has no finished explanation") as refused:
        score(tmp_path / "run", ["spread"])
    assert f"xcore bench --add-to {tmp_path / 'run'}" in refused.value.hint
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_gates_are_put_together_and_the_new_one_wins(tmp_path):
    first(tmp_path, gates=["toy.brightness >= 0.9"])
    result = bench(add_to=tmp_path / "run", seeds=[0, 1], gates=["toy.brightness >= 0.1"])
    assert [v.status for v in result.verdicts] == ["met"]
    assert suite_of(tmp_path / "run")["gates"] == ["toy.brightness >= 0.1"]


def test_a_metric_with_other_options_and_options_of_others_are_refused(tmp_path):
    first(tmp_path, metrics=["shade"])
    with pytest.raises(
        UsageError, match="has the metric shade with the default options, and this request asks for k=2"
    ):
        score(tmp_path / "run", ["shade"], settings={"shade": {"k": 2}})
    with pytest.raises(UsageError, match="unknown component in --set 'tuned'"):
        score(tmp_path / "run", ["brightness"], settings={"tuned": {"k": 2}})
    with pytest.raises(UsageError, match="unknown role 'juge'"):
        score(tmp_path / "run", ["brightness"], models={"juge": "strict"})


def test_a_helper_model_comes_in_with_the_metric_that_asks_for_it(tmp_path, counter):
    first(tmp_path)
    result = score(tmp_path / "run", ["judged"], models={"judge": "strict"})
    assert result.rows[0]["overall"]["judged"]["value"] == 1.0
    assert counter.read_text().split() == ["0"]
    with pytest.raises(UsageError, match="has the model for the role 'judge' strict, and this request asks for mild"):
        score(tmp_path / "run", ["brightness"], models={"judge": "mild"})
    assert bench(add_to=tmp_path / "run").rows[0]["overall"]["judged"]["value"] == 1.0
    assert counter.read_text().split() == ["0"]


def test_a_helper_model_that_a_method_of_the_run_would_use_is_refused(tmp_path, counter):
    first(tmp_path, ["asks"])
    with pytest.raises(UsageError, match="asks would use the model for the role 'judge', which it was made without"):
        score(tmp_path / "run", ["judged"], models={"judge": "strict"})
    with pytest.raises(UsageError, match="asks would use the model for the role 'judge'"):
        bench(add_to=tmp_path / "run", models={"judge": "strict"})
