"""A damaged run directory: what is damaged is told by its name, made again by a bench, and marked by a report."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from xcore.api import bench, report
from xcore.contract import UsageError
from xcore.run.progress import Reporter
from xcore.store.records import SCHEMA, Damaged, read_record, write_record
from xcore.store.run_directory import Store

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
RECORD, TENSORS = "explanations/*/record.json", "explanations/*/tensors.safetensors"
SCORES = "scores/*.json"
DEEP, HUGE = "[" * 100_000, "1" * 5000
SHAPES = ["", "{", "[]", "{}", "3", "null", "NaN", DEEP, HUGE, '{"schema": 2}', '{"schema": "a"}', "\udcff"]


class Noted(Reporter):
    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two cells, which tests copy, and its scores."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, scores(run(folder))


@pytest.fixture
def kept(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def run(folder, **keys):
    asked = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "seeds": [0, 1]}
    return bench(["toy"], out=folder, **asked, **keys)


def scores(result):
    return [(row["status"], row["concept"], row["scores"], row["overall"]) for row in result.rows]


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("pattern", [RECORD, TENSORS, SCORES, "run.json", "identities.json"])
@pytest.mark.parametrize("at", [0.1, 0.999])
def test_a_flipped_bit_is_told_and_what_it_was_in_is_made_again(finished, kept, pattern, at, capsys):
    path = first(kept, pattern)
    flip(path, at)
    seen = Noted()
    again = run(kept, reporter=seen)
    told = [line for line in [*seen.lines, *capsys.readouterr().err.splitlines()] if "is damaged" in line]
    assert len(told) == 1
    assert str(path) in told[0]
    assert scores(again) == finished[1]
    assert again.result.cached == (1 if pattern in (RECORD, TENSORS) else 2)
    seen = Noted()
    assert run(kept, reporter=seen).result.cached == 2
    assert not [line for line in seen.lines if "damaged" in line]


def test_a_bit_that_the_disk_flipped_is_never_scored(finished, kept):
    path = first(kept, TENSORS)
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for file in kept.glob(SCORES):
        file.unlink()
    assert scores(run(kept)) == finished[1]


@pytest.mark.parametrize("pattern", [RECORD, SCORES])
def test_a_report_marks_what_is_damaged_and_makes_nothing(kept, pattern):
    path = first(kept, pattern)
    path.write_text("{}")
    seen = Noted()
    shown = report(kept, seen)
    row = json.dumps(shown.rows)
    assert f"{path.name} is damaged: " in row
    assert path.read_text() == "{}"
    assert shown.broken


@pytest.mark.parametrize("text", SHAPES, ids=lambda text: text[:12])
def test_json_of_any_shape_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Damaged, match=r"x\.json is damaged: ") as error:
        read_record(tmp_path / "x.json", {"status": str})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{}", DEEP], ids=lambda text: text[:12])
@pytest.mark.parametrize("pattern", [RECORD, SCORES, "identities.json"])
def test_what_is_no_record_is_told_in_one_line_and_made_again(finished, kept, pattern, text):
    first(kept, pattern).write_bytes(text.encode("utf-8", "surrogateescape"))
    seen = Noted()
    assert scores(run(kept, reporter=seen)) == finished[1]
    nothing = (pattern, text) == ("identities.json", "{}")  # which is what an older run may say
    assert sum("is damaged" in line for line in seen.lines) == (0 if nothing else 1)
    assert not any("\n" in line for line in seen.lines)


@pytest.mark.parametrize("text", SHAPES, ids=lambda text: text[:12])
def test_a_report_of_a_damaged_run_is_refused_in_one_line(kept, text):
    (kept / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"run\.json is damaged: ") as error:
        report(kept)
    assert "\n" not in str(error.value)
    assert "run again" in str(error.value)


def old(path, change=lambda plain: None):
    """Rewrite a record as one of schema 1, which has no checksums."""
    plain = read_record(path)
    plain.pop("sums", None)
    plain["schema"] = 1
    change(plain)
    path.write_text(json.dumps(plain))


def test_records_of_schema_1_without_checksums_are_read_as_before(finished, kept):
    for pattern in (RECORD, SCORES, "run.json"):
        for path in kept.glob(pattern):
            old(path)
    old(kept / "identities.json", lambda plain: plain.pop("schema"))
    assert scores(report(kept)) == finished[1]
    seen = Noted()
    again = run(kept, reporter=seen)
    assert again.result.cached == 2
    assert not [line for line in seen.lines if "damaged" in line]


CHANGES = {
    "status": lambda r: r.update(status="perhaps"),
    "seconds": lambda r: r.update(seconds="long"),
    "no explanation": lambda r: r.update(explanation=None),
    "explanation": lambda r: r.update(explanation=[1]),
    "format": lambda r: r["explanation"].update(format="two"),
    "importance": lambda r: r["explanation"]["concepts"][0].update(importance="much"),
    "huge": lambda r: r["explanation"]["concepts"][0].update(importance=10**400),
    "concepts": lambda r: r["explanation"].update(concepts={"0": {}}),
    "name": lambda r: r["explanation"]["concepts"][0].update(name=None),
    "no name": lambda r: r["explanation"]["concepts"][0].pop("name"),
    "cost": lambda r: r["explanation"].update(cost=[]),
    "tensor": lambda r: r["explanation"]["concepts"][0].update(maps={"tensor": 3}),
    "numerics": lambda r: r.update(numerics="none"),
    "versions": lambda r: r["numerics"].update(versions="none"),
    "first format": lambda r: r["explanation"].pop("format"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_old_record_of_another_shape_is_one_line_and_made_again(finished, kept, change):
    path = first(kept, RECORD)
    old(path, change)
    with pytest.raises(Damaged) as error:
        Store(kept).read(path.parent.name.rpartition(".")[2])
    assert "\n" not in str(error.value)
    seen = Noted()
    assert scores(run(kept, reporter=seen)) == finished[1]
    assert [line for line in seen.lines if str(path) in line and "\n" not in line]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(scores=[[]]),
        lambda s: s.update(scores=3),
        lambda s: s["scores"][0].update(value="high"),
        lambda s: s["scores"][0].update(value=10**400),
        lambda s: s["scores"][0].update(value=None),
        lambda s: s["scores"][0].update(details=[]),
        lambda s: s["scores"][0].pop("metric"),
        lambda s: s.pop("direction"),
        lambda s: s.update(heldout={"n": 3}),
    ],
)
def test_old_scores_of_another_shape_are_told_and_computed_again(finished, kept, change):
    path = first(kept, SCORES)
    old(path, change)
    assert "is damaged" in json.dumps(report(kept).rows)
    assert scores(run(kept)) == finished[1]


def test_scores_that_are_an_empty_list_are_what_a_metric_without_scores_wrote(kept):
    old(first(kept, SCORES), lambda s: s.update(scores=[]))
    assert "the metric gave no score" in json.dumps(report(kept).rows)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(cells=3),
        lambda plan: plan["cells"][0].update(seed="one"),
        lambda plan: plan["cells"][0].update(method="toy"),
        lambda plan: plan.update(suite={"gates": 3}),
        lambda plan: plan.update(metrics=[3]),
        lambda plan: plan.update(metric_cards={"brightness": 1}),
        lambda plan: plan.update(facts=[]),
        lambda plan: plan.update(notes=[1]),
    ],
)
def test_a_plan_of_another_shape_is_one_line(kept, change):
    old(kept / "run.json", lambda about: change(about["plan"]))
    with pytest.raises(UsageError, match=r"run\.json (does not hold a plan|is damaged)") as error:
        report(kept)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pattern", [RECORD, SCORES, "run.json"])
def test_what_a_newer_xcore_wrote_is_refused_in_one_line_and_left(kept, pattern):
    path = first(kept, pattern)
    old(path, lambda plain: plain.update(schema=SCHEMA + 1))
    before = path.read_bytes()
    for again in (report, run):
        with pytest.raises(UsageError, match=f"has schema {SCHEMA + 1}, this xcore reads up to {SCHEMA}.*newer"):
            again(kept)
    assert path.read_bytes() == before


def test_a_run_that_only_may_be_read_is_shown(finished, kept, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "table.md")

    for place in ("xcore.report.write.write_if_changed", "xcore.report.picture_paths._list"):
        monkeypatch.setattr(place, refused)
    seen = Noted()
    shown = report(kept, seen)
    assert scores(shown) == finished[1]
    assert [line for line in seen.lines if "cannot be written" in line]


def test_a_record_is_written_with_its_checksum(tmp_path):
    write_record(tmp_path / "x.json", {"a": "é\udcff", "b": 1.5})
    assert read_record(tmp_path / "x.json") == {"a": "é\udcff", "b": 1.5, "schema": SCHEMA}
    assert json.loads((tmp_path / "x.json").read_bytes())["sum"]


WANDERS = """
import os, tempfile
from toy_plugin import Crops, Brightness, make_data
from xcore import hookimpl

os.chdir(tempfile.gettempdir())

def data(options):
    os.chdir(tempfile.gettempdir())
    return make_data(options)

class Wanders(Crops):
    def explain(self, task):
        made = super().explain(task)
        os.chdir(tempfile.gettempdir())
        return made

class Judges(Brightness):
    def score(self, runs):
        os.chdir(tempfile.gettempdir())
        return super().score(runs)

@hookimpl
def register_explainers(register):
    register("wanders", Wanders, summary="goes elsewhere")

@hookimpl
def register_metrics(register):
    register("judges", Judges, summary="goes elsewhere")

@hookimpl
def register_datasets(register):
    register("far", data, summary="goes elsewhere")
"""


def test_a_plugin_that_goes_to_another_folder_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOY.parent)
    (tmp_path / "wanders.py").write_text(WANDERS)
    monkeypatch.chdir(tmp_path)
    asked = {"plugins": ["wanders.py", TOY], "data": "far", "classes": ["red"], "metrics": ["judges", "brightness"]}
    made = bench(["wanders", "toy"], classifiers=["toy-net"], out="run", **asked)
    assert Path.cwd() == tmp_path
    assert (tmp_path / "run" / "table.json").is_file()
    assert made.path == Path("run")
    assert [row["status"] for row in made.rows if row["label"] == "toy"] == ["ok"] * 3
    assert len(list((tmp_path / "run").glob(RECORD))) == 2
    assert scores(report("run")) == scores(made)
