"""Bad plugins, bad files and bad luck: each harms only itself and is told in one line."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from xcore.api import bench, report
from xcore.cli.main import main
from xcore.contract import PluginError, Ref, UsageError
from xcore.registry import Registry
from xcore.run import loop, worker
from xcore.store.identity import Identity
from xcore.store.run_directory import Store

HERE = Path(__file__).parents[1] / "plugins"
TOY, HOSTILE = HERE / "toy_plugin.py", HERE / "hostile_plugin.py"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)  # hostile_plugin.py builds on toy_plugin.py


def run(tmp_path, methods, **keys):
    fixed = {"plugins": [TOY, HOSTILE], "data": "toy", "classes": ["red"], "metrics": ["brightness"]}
    return bench(methods, out=tmp_path / "run", **{**fixed, **keys})


def command(tmp_path, *words):
    call = [sys.executable, "-m", "xcore", "bench", "--plugin", str(TOY), "--plugin", str(HOSTILE), "--data", "toy"]
    call += ["--class", "red", "--metrics", "brightness", "--out", str(tmp_path / "run"), *words]
    env = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    # A run of the tests in the background ignores SIGINT, and so would its children.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.run(call, capture_output=True, text=True, env=env, check=False, preexec_fn=heard)


BAD = {
    "nothing": "method 'nothing' returned NoneType, not an Explanation",
    "infinite": "concept 0 ('part 0') of method 'infinite': importance is inf",
    "odd_evidence": "concept 0 ('part 0') of method 'odd_evidence': p is nan",
    "holes": "method 'holes': local holds numbers that are not finite",
    "steep": "method 'steep': direction at '2' holds numbers that are not finite",
    "huge_maps": "maps (kept as 16-bit floats) holds numbers that are not finite",
    "small_maps": "maps have shape (60, 4, 4), the samples need (60, 16, 16)",
    "leaves": "SystemExit: 5",
    "crash": "cannot be made: ValueError: cannot make it",
    "lost": "xcore.contract:NotThere cannot be loaded: AttributeError",
}
"""Method -> why its row failed. `crash` of the toy plugin is another method of that name."""


def test_each_bad_method_is_one_failed_row_with_its_reason(tmp_path):
    names = {method: f"hostile_plugin/{method}" for method in BAD}
    rows = run(tmp_path, [*names.values(), "toy"]).rows
    good = [(r["status"], r["concept"]) for r in rows if r["label"] == "toy"]
    assert good == [("ok", f"part {i}") for i in range(3)]
    assert len(rows) == len(BAD) + len(good)
    failed = {r["label"]: r for r in rows if r["label"] != "toy"}
    assert {(r["status"], r["concept"]) for r in failed.values()} == {("failed", None)}
    for method, name in names.items():
        said = failed[name]["reason"]
        assert BAD[method].replace(repr(method), repr(name)) in said or BAD[method] in said


def test_no_concept_is_a_result(tmp_path):
    made = run(tmp_path, ["concept_free"])
    assert [(r["status"], r["rank"], r["reason"]) for r in made.rows] == [("ok", None, "the method found no concept")]
    assert made.result.count("ok") == 1


@pytest.mark.parametrize(
    "keys", [{"classifiers": ["crash"]}, {"classifiers": ["unmarked"]}, {"data": "crash"}], ids=str
)
def test_a_factory_that_crashes_is_named_before_anything_runs(tmp_path, keys):
    with pytest.raises(PluginError, match=r"'(crash|unmarked)' of hostile_plugin cannot be made: \w+Error") as error:
        run(tmp_path, ["toy"], **keys)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def test_bad_metrics_lose_no_other_score(tmp_path):
    made = run(tmp_path, ["toy"], metrics=["nan", "silent", "hostile_plugin/crash", "brightness"])
    crash, nan = sorted(made.result.score_failures)
    assert re.fullmatch(
        "hostile_plugin/crash on toy red: metric 'crash' of hostile_plugin cannot be made: "
        r"ValueError: cannot make it, at hostile_plugin\.py:\d+",
        crash,
    )
    assert nan == "nan on toy red: nan gives concept 0 the value nan"
    scores = made.rows[0]["scores"]
    assert scores["brightness"]["value"] > 0
    assert scores["silent"]["reason"] == "the metric gave no score"


def test_variants_of_a_metric_stand_side_by_side(tmp_path):
    made = run(tmp_path, ["toy"], metrics=["variants"], seeds=[0, 1])
    scores = made.rows[1]["scores"]
    assert {k: (s["variant"], s["value"]) for k, s in scores.items()} == {
        "variants": ("near", 1.0),
        "variants [far]": ("far", 11.0),
    }
    assert made.rows[0]["overall"]["variants"]["value"] == 9.0
    section = made.table.sections[0]
    shown = {(c.metric, c.variant, c.whole): v.value for c, v in section.rows[0].values.items()}
    assert shown == {("variants", "near", False): 0.0, ("variants", "far", False): 10.0, ("variants", "", True): 9.0}
    assert all(c.direction == "higher" for c in section.columns)


def test_only_results_are_on_stdout(tmp_path):
    done = command(tmp_path, "--methods", "concept_free,toy", "--metrics", "variants,hostile_plugin/crash", "--json")
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    assert lines[-1]["cells"]["ok"] == 2
    for who in ("at import", "by a method", "by a metric", "by a factory"):
        assert f"printed {who}" in done.stderr
    assert "written by a method" in done.stderr


def test_an_interrupted_run_ends_with_the_command_that_resumes_it(tmp_path):
    done = command(tmp_path, "--methods", "toy,interrupted")
    assert done.returncode == 130
    last = done.stderr.splitlines()[-1]
    assert last.startswith("interrupted; to go on: xcore bench")
    assert "--methods toy,interrupted" in last


def test_a_finished_run_imports_nothing_heavy(tmp_path):
    run(tmp_path, ["toy"], seeds=[0, 1])
    code = f"""
import sys
from xcore.api import bench
sys.path.insert(0, {str(HERE)!r})
made = bench(["toy"], out={str(tmp_path / "run")!r}, plugins=[{str(TOY)!r}, {str(HOSTILE)!r}], data="toy",
             classes=["red"], metrics=["brightness"], seeds=[0, 1])
assert made.result.cached == 2 and len(made.rows) == 6
print("HEAVY", *[m for m in ("torch", "numpy", "PIL", "scipy") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY"


def test_a_full_disk_is_a_failed_cell(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    made = run(tmp_path, ["toy"], seeds=[0, 1])
    assert [r["reason"] for r in made.rows] == ["OSError: [Errno 28] No space left on device"] * 2
    monkeypatch.undo()
    monkeypatch.syspath_prepend(HERE)
    assert run(tmp_path, ["toy"], seeds=[0, 1]).result.count("ok") == 2


def test_an_os_error_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "table.md")

    monkeypatch.setattr("xcore.report.write.write_if_changed", full)
    words = ["bench", "--plugin", str(TOY), "--data", "toy", "--class", "red", "--methods", "skip"]
    monkeypatch.setattr(sys, "argv", ["xcore", *words, "--metrics", "brightness", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("xcore: table.md: No space left on device; to go on: xcore bench")


def test_two_processes_do_not_share_a_run(tmp_path):
    with Store(tmp_path / "run").locked(), pytest.raises(UsageError, match="another process works in"):
        run(tmp_path, ["toy"])


def test_strict_computes_anew_what_other_numerics_made_even_after_an_interruption(tmp_path, monkeypatch):
    run(tmp_path, ["toy"], seeds=[0, 1])
    real = loop.numerics
    for module in (loop, worker):
        monkeypatch.setattr(module, "numerics", lambda threads: {**real(threads), "machine": "another"})
    assert run(tmp_path, ["toy"], seeds=[0, 1]).result.cached == 2
    assert run(tmp_path, ["toy"], seeds=[0], strict=True).result.cached == 0  # as if it ended before seed 1
    assert run(tmp_path, ["toy"], seeds=[0, 1], strict=True).result.cached == 1
    assert run(tmp_path, ["toy"], seeds=[0, 1], strict=True).result.cached == 2


def test_a_generator_that_is_not_there_is_found_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="unknown generator"):
        run(tmp_path, ["toy"], generator="nowhere")


def test_a_layer_of_a_black_box_is_no_end_of_the_run(tmp_path):
    made = run(tmp_path, ["toy"], classifiers=["blind"], layer="3")
    assert made.result.count("ok") == 1  # this method asks for no layer


def test_a_plugin_file_that_is_named_twice_is_loaded_once(tmp_path):
    registry = Registry()
    for _ in range(2):
        registry.load_file(TOY)
    assert len(registry.plugins) == 1
    (tmp_path / TOY.name).write_text("")
    with pytest.raises(UsageError, match="two plugin files are named"):
        registry.load_file(tmp_path / TOY.name)


def test_fingerprints_are_taken_once_a_run(monkeypatch):
    registry = Registry()
    registry.load_file(TOY)
    identity = Identity(registry)
    taken = []
    monkeypatch.setattr("xcore.store.identity.code_digest", lambda card: taken.append(card.name) or "x")
    for _ in range(3):
        identity.component("dataset", Ref("toy"))
    assert taken == ["toy"]


def test_a_report_finds_what_the_run_kept_whatever_code_changed_since(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(TOY.read_text())
    first = run(tmp_path, ["toy"], plugins=[plugin], seeds=[0, 1], metrics=["brightness", "spread"])
    plugin.write_text(plugin.read_text() + "\nEDITED = True\n")
    code = (
        f"from xcore.api import report; print(len([r for r in report({str(tmp_path / 'run')!r}).rows if r['scores']]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # nothing is cached
    assert int(done.stdout) == len(first.rows) == 6


FILED = """
from pathlib import Path
from xcore import hookimpl
from xcore.contract import UsageError

def fingerprint(options, argument=None):
    if not Path("colours.txt").is_file():
        raise UsageError("no file 'colours.txt'")
    return "colours"

@hookimpl
def register_datasets(register):
    register("filed", "toy_plugin:make_data", summary="colours of a file", fingerprint=fingerprint)
"""


def test_a_report_from_another_folder_needs_no_file_or_says_where_they_are(tmp_path, monkeypatch):
    began, elsewhere = tmp_path / "began", tmp_path / "elsewhere"
    began.mkdir()
    elsewhere.mkdir()
    (began / "colours.txt").touch()
    (tmp_path / "filed.py").write_text(FILED)
    monkeypatch.chdir(began)
    first = run(tmp_path, ["toy"], plugins=[TOY, tmp_path / "filed.py"], data="filed")
    monkeypatch.chdir(elsewhere)
    assert [r["scores"] for r in report(tmp_path / "run").rows] == [r["scores"] for r in first.rows]
    (tmp_path / "run" / "identities.json").unlink()
    with pytest.raises(UsageError, match=r"no file 'colours.txt' \(run it in .*began, where the run was started\)"):
        report(tmp_path / "run")
    monkeypatch.chdir(began)
    assert len(report(tmp_path / "run").rows) == len(first.rows)


def test_a_contrast_that_cannot_be_made_is_found_before_anything_runs(tmp_path):
    with pytest.raises(PluginError, match="'crash' of hostile_plugin cannot be made"):
        run(tmp_path, ["toy"], contrast="crash")
    assert not list((tmp_path / "run").glob("explanations/*"))
