"""A pipeline's view: exit codes, what is said, files for CI servers, and our own smoke suite against its baseline."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from xcore.api import bench
from xcore.ci.gates import check_labels, check_metrics, parse
from xcore.ci.junit import junit
from xcore.ci.summary import summary
from xcore.ci.verdict import Verdict
from xcore.cli.main import main
from xcore.contract import Budget, Cell, Outcome, Ref, UsageError
from xcore.registry import load_registry
from xcore.report import Table
from xcore.report.rows import metric_infos
from xcore.run.plan import load_suite

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "plugins" / "toy_plugin.py"
TOY_RUN = ["bench", "--data", "toy", "--class", "red", "--metrics", "brightness,spread", "--seeds", "2"]

PLANTED = '''
"""A method whose concepts are bright images of the class, and a later version of it that loses some light."""
from dataclasses import replace
from xcore import hookimpl

LIGHT = 1.0


class Planted:
    def __init__(self, options):
        pass

    def explain(self, task):
        from xcore.contract import Concept, Explanation, Samples

        images = task.samples.images[: 4 + task.seed] * LIGHT
        concept = Concept("bright", 1.0, Samples("image", images, tuple(map(str, range(len(images))))))
        return Explanation("planted", task.target_name, "none", (concept,))


@hookimpl
def register_explainers(register):
    register("planted", Planted, summary="planted")
'''


def xcore(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    quiet = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    call = [sys.executable, "-m", "xcore", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, cwd=cwd, env={**os.environ, **quiet}, check=False)


def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str | Path
) -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["xcore", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as left:
        code = int(left.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def toy(tmp_path, capsys, monkeypatch):
    def run(*words):
        return here(capsys, monkeypatch, *TOY_RUN, "--plugin", TOY, "--out", tmp_path / "run", *words)

    return run


# -- our own pipeline --------------------------------------------------------------------------------------------------
def test_the_smoke_suite_keeps_its_gates_and_its_baseline_and_a_changed_one_is_caught(tmp_path, capsys, monkeypatch):
    baseline, run, report = ROOT / "benchmarks" / "baselines" / "smoke.json", tmp_path / "run", tmp_path / "junit.xml"
    words = ["bench", "--suite", "smoke", "--out", run, "--fail-on-regression", "--junit", report]
    code, _, err = here(capsys, monkeypatch, *words, "--baseline", baseline)
    assert code == 0, err
    held = json.loads(baseline.read_text())
    values = len(held["values"])
    assert err.splitlines()[-1] == f"3 of 3 gates met, {values} of {values} values of the baseline held"
    assert ET.parse(report).getroot()[0].get("failures") == "0"

    first = held["values"][0]
    assert (first["label"], first["metric"], first["rank"]) == ("craft", "TS", 1)
    first["value"] += 0.1  # beyond its tolerance, which its spread over seeds widens
    (tmp_path / "b.json").write_text(json.dumps(held))
    code, _, err = here(capsys, monkeypatch, *words, "--baseline", tmp_path / "b.json")
    assert code == 1
    last = err.splitlines()[-2:]
    assert last[0].startswith("craft.TS[layer3][C1] on zebra: ")
    assert "worse by 0.10" in last[0]
    assert last[1].endswith(f"to see more: xcore report {run}")


def test_a_regression_planted_in_a_plugin_is_caught(tmp_path, capsys, monkeypatch):
    method, baseline = tmp_path / "planted.py", tmp_path / "baseline.json"
    method.write_text(PLANTED)
    words = [*TOY_RUN, "--methods", "planted", "--plugin", TOY, "--plugin", method, "--baseline", baseline]
    assert here(capsys, monkeypatch, *words, "--out", tmp_path / "one", "--update-baseline")[0] == 0
    code, _, err = here(capsys, monkeypatch, *words, "--out", tmp_path / "two", "--fail-on-regression")
    assert code == 0, err
    method.write_text(PLANTED.replace("LIGHT = 1.0", "LIGHT = 0.8"))  # a process reads the code of a plugin once
    worse = xcore(*words, "--out", tmp_path / "two", "--fail-on-regression")
    assert worse.returncode == 1
    assert "planted.brightness[C1] on red: " in worse.stderr
    assert "worse by" in worse.stderr


# -- the command line --------------------------------------------------------------------------------------------------
def test_a_gate_that_must_pass_passes_and_one_that_must_fail_fails(toy):
    code, _, err = toy("--methods", "toy", "--gate", "toy.brightness >= 0.3", "--gate", "toy.seconds<=60")
    assert code == 0
    assert err.splitlines()[-1] == "2 of 2 gates met"
    code, _, err = toy("--methods", "toy", "--gate", "toy.brightness >= 0.9")
    assert code == 1
    said, end = err.splitlines()[-2:]
    assert said.startswith("toy.brightness on red: 0.4")
    assert "gate >= 0.9 missed by 0.4" in said
    assert end.startswith("1 of 1 gates missed; to see more: xcore report ")


def test_a_gate_on_a_failed_cell_is_missed_and_the_last_line_resumes(toy):
    code, _, err = toy("--methods", "crash", "--gate", "crash.brightness>=0")
    assert code == 1
    said, tally, resume = err.splitlines()[-3:]
    assert said.startswith(
        "crash.brightness on red: n/a (seed 1: failed: ValueError: seed 1 is unlucky, at toy_plugin."
    )
    assert said.endswith("), gate >= 0 missed")
    assert tally.startswith("1 of 1 gates missed")
    assert resume.startswith("1 cell(s) failed, 0 score(s) failed; to try them again: xcore bench")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "toyy.brightness>=1"], "did you mean 'toy'"),
        (["--gate", "toy.brightnes>=1"], "did you mean 'brightness'"),
        (["--gate", "toy.brightness on green>=1"], "unknown class"),
        (["--gate", "toy.brightness"], "not of the form"),
        (["--baseline", "nowhere.json"], "write it with --update-baseline"),
        (["--fail-on-regression"], "--fail-on-regression without a baseline"),
        (["--tolerance", "5%"], "--tolerance without a baseline"),
        (["--junit", ROOT], "is a folder"),
        (["--baseline", ROOT, "--update-baseline"], "is a folder"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_computed(toy, tmp_path, words, said):
    code, out, err = toy("--methods", "toy", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_be_written_hides_no_verdict(toy, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = toy("--methods", "toy", "--gate", "toy.brightness>=0.9", "--junit", tmp_path / "file" / "j.xml")
    assert code == 1
    assert err.index("1 of 1 gates missed") < err.index(str(tmp_path / "file"))


def test_json_holds_the_verdicts_on_its_last_line(toy):
    code, out, _ = toy("--methods", "toy", "--json", "--gate", "toy.brightness>=0.9")
    last = json.loads(out.splitlines()[-1])
    assert code == 1
    assert last["cells"] == {"ok": 2, "failed": 0, "skipped": 0, "cached": 0}
    assert [(v["kind"], v["name"], v["status"], v["rule"]) for v in last["verdicts"]] == [
        ("gate", "toy.brightness on red", "missed", ">= 0.9")
    ]


def test_a_finished_run_is_judged_by_report(toy, tmp_path, capsys, monkeypatch):
    toy("--methods", "toy", "--gate", "toy.brightness>=0.3")
    run, baseline = tmp_path / "run", tmp_path / "b.json"
    judged = lambda *words: here(capsys, monkeypatch, "report", run, *words)  # noqa: E731
    code, _, err = judged()
    assert (code, err) == (0, "1 of 1 gates met\n")  # the run's own gate
    assert judged("--gate", "toy.brightness>=0.9")[0] == 1
    assert judged("--gate", "toy.spread<=0.5")[2] == "2 of 2 gates met\n"
    assert judged("--gate", "toy.nothing>=0.9")[0] == 2
    assert judged("--baseline", baseline, "--update-baseline")[0] == 0
    assert judged("--baseline", baseline, "--fail-on-regression")[0] == 0
    code, out, _ = judged("--format", "csv", "--gate", "toy.brightness>=0.9")
    assert (code, out.partition(",")[0]) == (1, "data")


def test_a_report_of_a_run_that_lacks_scores_fails_as_the_run_did(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOY_METRIC_FAILS", "1")
    assert toy("--methods", "toy")[0] == 1
    words = ("--baseline", tmp_path / "b.json", "--update-baseline", "--junit", tmp_path / "j.xml")
    code, _, err = here(capsys, monkeypatch, "report", tmp_path / "run", *words)
    assert code == 1
    assert "not written: 0 cell(s) failed, 2 score(s) failed" in err
    assert not (tmp_path / "b.json").exists()
    assert ET.parse(tmp_path / "j.xml").getroot()[0].get("failures") == "3"  # two scores and the baseline


def test_a_suite_carries_gates_and_flags_choose_less(tmp_path):
    suite = tmp_path / "s.toml"
    text = 'data = "toy"\nclasses = ["red"]\nmethods = ["toy", "rude"]\nmetrics = ["brightness"]\ngates = [{}]\n'
    suite.write_text(text.format('"toy.brightness >= 0.9", "rude.brightness >= 0.9"'))
    keys = {"suite": str(suite), "out": tmp_path / "run", "plugins": [TOY]}
    assert [v.status for v in bench(**keys).verdicts] == ["missed", "missed"]
    assert [v.status for v in bench(**keys, gates=["toy.brightness>=0.1"]).verdicts] == ["missed", "met"]
    assert [v.status for v in bench(["toy"], **keys).verdicts] == ["missed", "noted"]
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        bench(["toy"], **keys, gates=["toyy.brightness>=0.1"])
    suite.write_text(text.format('"rudder.brightness >= 0.9"'))
    with pytest.raises(UsageError, match="unknown label"):
        bench(["toy"], **keys)


# -- files for CI servers ----------------------------------------------------------------------------------------------
ODD = 'a<b>&"c"\x00\x1b[31m\ud800\ufffe|\nd'


def outcome(status: str, label: str = "m", reason: str = "") -> Outcome:
    cell = Cell(label, Ref("m"), Ref("net"), Ref("d"), "zebra", 3, budget=Budget())
    return Outcome(cell, status, "rec.ord", reason, 1.5)  # type: ignore[arg-type]


def test_junit_counts_cells_scores_gates_and_values(tmp_path):
    verdicts = [
        Verdict("gate", "m.TS on zebra", "missed", "0.8, gate >= 0.9 missed by 0.1", ">= 0.9"),
        Verdict("gate", "m.TS on zebra", "met", "0.8, gate <= 0.9 met", "<= 0.9"),
        Verdict("baseline", "m.CS on zebra", "missed", "worse", excused=True),
        Verdict("baseline", "m.ED on zebra", "better", "better"),
        Verdict("baseline", "m on zebra", "noted", "2 new values"),
    ]
    cells = [outcome("ok"), outcome("failed", reason="out of memory"), outcome("skipped", reason="no gradients")]
    root = ET.fromstring(junit("smoke", cells, ["TS on m zebra: ValueError"], verdicts))
    suite = root[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "skipped", "time")} == {
        "tests": "9",
        "failures": "3",
        "skipped": "3",
        "time": "4.500",
    }
    found = [(c.get("classname"), c.get("name"), c[0].tag, c[0].get("message")) for c in suite if len(c)]
    assert found == [
        ("smoke.cells", "m zebra net d seed 3", "failure", "out of memory"),
        ("smoke.cells", "m zebra net d seed 3", "skipped", "no gradients"),
        ("smoke.scores", "TS on m zebra: ValueError", "failure", "TS on m zebra: ValueError"),
        ("smoke.gate", "m.TS on zebra >= 0.9", "failure", "m.TS on zebra: 0.8, gate >= 0.9 missed by 0.1"),
        ("smoke.baseline", "m.CS on zebra", "skipped", "m.CS on zebra: worse"),
        ("smoke.baseline", "m on zebra", "skipped", "m on zebra: 2 new values"),
    ]
    assert "record.json" in (suite[1][0].text or "")


def test_junit_is_well_formed_for_odd_characters():
    text = junit(ODD, [outcome("failed", ODD, ODD)], [ODD], [Verdict("gate", ODD, "missed", ODD, ODD)])
    suite = ET.fromstring(text.encode())[0]
    assert [case[0].get("message") for case in suite][:2] == ['a<b>&"c"[31m| d'] * 2
    assert len(suite) == 3


def test_the_summary_tells_what_was_missed_first_and_escapes(tmp_path):
    verdicts = [Verdict("gate", "a|b.TS", "met", "fine"), Verdict("gate", ODD, "missed", "x_y_z")]
    text = summary("smoke", Table(()), verdicts, "1 cell(s) failed")
    lines = text.splitlines()
    assert lines[0] == "## xcore · smoke: failed"
    assert lines[2] == "1 cell(s) failed; 1 of 2 gates missed"
    assert lines[6].startswith("| missed | gate | a\\<b>")
    assert lines[6].endswith("| x\\_y\\_z |")
    assert lines[7] == "| met | gate | a\\|b.TS | fine |"


def test_the_summary_is_appended_and_holds_the_table(toy, tmp_path):
    file = tmp_path / "new" / "summary.md"
    file.parent.mkdir()
    file.write_text("# before\n")
    toy("--methods", "toy", "--summary", file, "--junit", tmp_path / "other" / "j.xml")
    text = file.read_text()
    assert text.startswith("# before\n## xcore · custom: passed\n")
    assert "| Method | Concept | brightness ↑ |" in text
    assert ET.parse(tmp_path / "other" / "j.xml").getroot()[0].get("tests") == "2"


# -- the docs ----------------------------------------------------------------------------------------------------------
def test_the_page_shows_the_example_files_and_what_they_say_is_valid(capsys, monkeypatch):
    page, examples = (ROOT / "docs" / "gates.md").read_text(), ROOT / "docs" / "examples" / "ci"
    for file in examples.iterdir():
        assert f"```{file.suffix[1:].replace('yml', 'yaml')}\n{file.read_text()}```" in page
    suite = load_suite(str(examples / "explanations.toml"))
    offered = metric_infos((Ref(card.full_name) for card in load_registry().cards("metric")), load_registry())
    asked = {name: offered[name] for name in suite.metrics}
    check_labels(suite.gates, suite.labels)
    check_metrics(suite.gates, asked, offered)
    _, shown, _ = here(capsys, monkeypatch, "bench", "--help")
    command = (examples / "workflow.yml").read_text().partition("xcore bench")[2].partition("\n      - ")[0]
    for flag in re.findall(r"--[a-z-]+", command):
        assert f"{flag} " in shown
    for label, gate in re.findall(r"`((?:craft|noise)\.\S+( on zebra)? [<>=]+ [\d.]+)`", page):
        check_labels([label], ["craft", "noise"])
        check_metrics([label], {name: offered[name] for name in ("TS", "CS", "recovery", "cost")}, offered)
        assert parse(label).cls == gate.removeprefix(" on ")
