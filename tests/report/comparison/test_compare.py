"""`xcore compare` on runs of the toy world: verdicts, what is refused or marked, and every output."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

import xcore
from xcore.api import bench
from xcore.cli.main import main
from xcore.contract import UsageError
from xcore.registry import load_registry
from xcore.report.comparison import compare

TOY = Path(__file__).parents[2] / "plugins" / "toy_plugin.py"

SHINE = '''
"""A method whose concepts are images of the class, with a light that can be set; and metrics of it."""
from typing import ClassVar

from xcore import hookimpl
from xcore.contract import Options


class Light(Options):
    light: float = 1.0
    fails: bool = False


class Shine:
    def __init__(self, options):
        self.options = options

    def explain(self, task):
        import torch

        from xcore.contract import Concept, Explanation, Samples

        if self.options.fails and task.target_name == "red":
            raise ValueError("no light")
        generator = torch.Generator().manual_seed(task.seed)
        chosen = torch.randint(len(task.samples), (4,), generator=generator)
        images = task.samples.images[chosen] * self.options.light
        samples = Samples("image", images, tuple(map(str, range(4))))
        return Explanation("shine", task.target_name, "none", (Concept("<b>bright</b> | x", 1.0, samples),))


class Depth(Options):
    depth: int = 1


class Lit:
    direction = "higher"
    needs = frozenset({"samples:image"})

    def __init__(self, options):
        pass

    def score(self, runs):
        from xcore.contract import Score

        concepts = runs[0].explanation.concepts
        return [Score("lit", i, float(c.samples.images.mean()), variant="here") for i, c in enumerate(concepts)]


@hookimpl
def register_explainers(register):
    register("shine", Shine, options=Light, summary="shine")


@hookimpl
def register_metrics(register):
    register("lit", Lit, options=Depth, summary="lit")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("compare")
    (made / "shine.py").write_text(SHINE)
    return made


@pytest.fixture(scope="module")
def registry(folder):
    return load_registry([TOY, folder / "shine.py"])


@pytest.fixture(scope="module")
def run(folder, registry):
    """A function that makes a run, or gives the one that was made before."""

    def make(name, light=1.0, seeds=(0, 1), classes=("all",), methods=("shine",), metrics=("lit",), **keys):
        path = folder / name
        if not path.exists():
            settings = {"shine": {"light": light}} | keys.pop("settings", {})
            bench(
                methods,
                data="toy",
                seeds=list(seeds),
                classes=list(classes),
                metrics=list(metrics),
                controls=[],
                set=settings if "shine" in methods or keys.get("arms") else {},
                out=path,
                registry=registry,
                **keys,
            )
        return path

    return make


@pytest.fixture
def shell(capsys, monkeypatch):
    """The command line in this process: exit code, stdout, stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["xcore", "compare", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


# -- verdicts ----------------------------------------------------------------------------------------------------------
def test_a_change_is_called_by_the_direction_of_the_metric(run):
    base, dim = run("base"), run("dim", light=0.7)
    line = compare(base, dim).lines[0]
    assert (line.label, line.metric, line.variant, line.verdict) == ("shine", "lit", "here", "worse")
    assert line.difference == pytest.approx(line.after - line.before)
    assert line.low < line.difference < line.high < 0
    assert (line.n, line.unit, line.design) == (3, "classes", "paired by class and seed")
    assert compare(dim, base).lines[0].verdict == "better"
    assert any("light 1.0 and 0.7" in note for note in compare(base, dim).pairs[0].notes)


def test_a_run_made_again_shows_no_difference(run):
    line = compare(run("base"), run("again")).lines[0]
    assert (line.difference, line.p, line.verdict) == (0.0, 1.0, "no difference")


def test_runs_that_differ_in_seeds_alone_show_no_difference(run):
    found = compare(run("base"), run("others", seeds=(2, 3)))
    assert found.lines[0].verdict == "no difference"
    assert found.lines[0].design.startswith("paired by class; the seeds or samples differ")
    assert "only base has the seeds 0 and 1" in found.pairs[0].notes
    one = compare(run("one", seeds=(0,)), run("another", seeds=(1,))).lines[0]
    assert (one.verdict, one.p) == ("no test", None)
    assert "one of them" in one.reason or "no repetitions" in one.reason


def test_all_tests_of_several_runs_are_corrected_together(run):
    found = compare(run("base"), run("dim", light=0.7), run("others", seeds=(2, 3)))
    assert [pair.name for pair in found.pairs] == ["dim", "others"]
    first = found.lines[0]
    assert first.adjusted == pytest.approx(2 * first.p)


def test_a_value_that_is_gone_is_lost(run, shell):
    base = run("base")
    broken = run("broken", settings={"shine": {"fails": True}})
    line = compare(base, broken).lines[0]
    assert (line.lost, line.fails) == (2, True)
    assert "2 of 6 values are n/a in broken: failed: ValueError: no light" in line.reason
    assert "broken: 2 cell(s) failed" in compare(base, broken).pairs[0].notes
    red = run("red", classes=("red",)), run("red-broken", classes=("red",), settings={"shine": {"fails": True}})
    assert compare(*red).lines[0].verdict == "lost"
    assert shell(*red, "--fail-on", "worse")[0] == 1


# -- what is not comparable --------------------------------------------------------------------------------------------
def refused(a, b, **more):
    (line,) = compare(a, b, **more).lines
    return line.verdict, line.reason


def test_other_heldout_samples_are_refused_unless_accepted(run):
    other = run("heldout", budget={"heldout": 20})
    verdict, reason = refused(run("base"), other)
    assert verdict == "not comparable"
    assert "other held-out samples (n 60 and n 20); to compare all the same: --accept heldout" in reason
    assert refused(run("base"), other, accept=["heldout"])[0] == "no difference"


def test_other_options_of_the_metric_are_refused(run):
    verdict, reason = refused(run("base"), run("deep", settings={"lit": {"depth": 2}}))
    assert verdict == "not comparable"
    assert "other options of the metric" in reason


def edited(run, folder, name, edit):
    """A copy of the base run whose run.json is another one."""
    path = folder / name
    if not path.exists():
        shutil.copytree(run("base"), path)
        about = json.loads((path / "run.json").read_text())
        edit(about)
        about.pop("sum", None)
        about["schema"] = 1 if about.get("schema") != 99 else 99
        (path / "run.json").write_text(json.dumps(about))
    return path


def test_other_code_of_the_metric_is_refused(run, folder, registry):
    base = run("base")
    code = json.loads((base / "run.json").read_text())["code"]
    name = registry.find("metric", "lit")[0].distribution
    assert name in code
    verdict, reason = refused(base, edited(run, folder, "code", lambda about: about["code"].update({name: "0"})))
    assert verdict == "not comparable"
    assert f"other code of {name}, which measures it" in reason
    assert "--accept metric-code" in reason


def test_other_pictures_under_the_same_name_are_refused(run, folder):
    def edit(about):
        key = next(name for name in about["files"] if name.startswith("data set "))
        about["files"][key] = "other"

    verdict, reason = refused(run("base"), edited(run, folder, "pictures", edit))
    assert verdict == "not comparable"
    assert "other files of the data set toy" in reason


def test_other_numerics_and_weights_are_marked(run, folder):
    def edit(about):
        about["numerics"]["threads"] = 77
        about["files"]["classifier toy-net"] = "other"

    found = compare(run("base"), edited(run, folder, "numerics", edit))
    assert found.lines[0].verdict == "no difference"
    notes = " ".join(found.pairs[0].notes)
    assert "made with other numerics: threads" in notes
    assert "other files of the classifier toy-net" in notes
    assert "written with the run schemas 2 and 1" in notes


def test_a_newer_schema_is_refused(run, folder):
    with pytest.raises(UsageError, match="schema 99"):
        compare(run("base"), edited(run, folder, "newer", lambda about: about.update(schema=99)))


def test_methods_of_other_names_are_matched_on_request(run):
    base = run("base")
    arm = run("arm", methods=(), arms=[{"label": "shine-2", "method": "shine", "set": {"light": 0.7}}])
    with pytest.raises(UsageError, match=r"no method in common.*--match shine=shine-2"):
        compare(base, arm)
    assert compare(base, arm, match={"shine": "shine-2"}).lines[0].verdict == "worse"
    with pytest.raises(UsageError, match="did you mean 'shine-2'"):
        compare(base, arm, match={"shine": "shine-3"})


def test_a_wrong_request_says_what_to_do(run, tmp_path, shell):
    base = run("base")
    for words, said in (
        ((base,), "needs two runs"),
        ((base, tmp_path), "is not a run directory"),
        ((base, base), "named twice"),
        ((base, run("dim", light=0.7), "--accept", "heldot"), "did you mean 'heldout'"),
        ((base, run("dim", light=0.7), "--format", "mdd"), "did you mean 'md'"),
        ((base, run("dim", light=0.7), "--fail-on", "wors"), "did you mean 'worse'"),
        ((base, run("dim", light=0.7), "--match", "shine"), "OLD=NEW"),
    ):
        code, out, err = shell(*words)
        assert (code, out) == (2, ""), words
        assert said in err


# -- outputs -----------------------------------------------------------------------------------------------------------
def test_the_terminal_markdown_json_and_html_say_the_same(run, shell):
    base, dim = run("base"), run("dim", light=0.7)
    code, table, _ = shell(base, dim)
    assert code == 0
    assert re.search(r"shine +lit \[here\] ↑ .* 3 classes +worse", table)
    assert "few classes are few samples: n = 3" in table
    code, text, _ = shell(base, dim, "--format", "md")
    assert text.startswith("## xcore · base → dim: 1 worse\n")
    assert "| **worse** |" in text
    assert "![shine on red, seed 0](" in text
    code, plain, err = shell(base, dim, "--json", "--fail-on", "worse")
    line = json.loads(plain)["pairs"][0]["lines"][0]
    assert (code, line["verdict"], line["n"]) == (1, "worse", 3)
    assert "shine.lit [here] on toy-net: worse" in err
    code, html, _ = shell(base, dim, "--format", "html")
    assert html.count("<img ") == 6
    assert 'data-verdict="worse"' in html
    assert "<script" not in html


def test_names_cannot_break_out_of_markdown_or_html(run, folder):
    odd = folder / "a<img src=x>|b"
    if not odd.exists():
        shutil.copytree(run("dim", light=0.7), odd)
    found = compare(run("base"), odd)
    assert "<img src=x>" not in found.html(pictures=False)
    assert "| a\\<img src=x>\\|b |" in found.markdown()


def test_in_python_it_shows_itself(run):
    found = xcore.compare(run("base"), run("dim", light=0.7))
    assert repr(found) == "<comparison base → dim: 1 worse>"
    assert "worse" in str(found)
    assert found._repr_html_() == found.html()
    assert list(found.to_pandas().verdict) == ["worse"]
    assert [line.metric for line in found.worse] == ["lit"]


def test_a_run_is_not_changed_and_may_be_read_only(run, folder):
    base, dim = run("base"), run("dim", light=0.7)
    before = {path: path.stat().st_mtime_ns for path in (*base.rglob("*"), *dim.rglob("*"))}
    compare(base, dim).html()
    assert {path: path.stat().st_mtime_ns for path in (*base.rglob("*"), *dim.rglob("*"))} == before


def test_a_run_that_is_not_finished_is_compared_as_far_as_it_is(run, folder):
    part = folder / "part"
    if not part.exists():
        shutil.copytree(run("dim", light=0.7), part)
        for record in (part / "explanations").glob("shine.toy.red.*"):
            shutil.rmtree(record)
    found = compare(run("base"), part)
    assert "part is not finished: 2 of 6 cells are not done yet" in found.pairs[0].notes
    assert (found.lines[0].n, found.lines[0].lost) == (2, 0)
