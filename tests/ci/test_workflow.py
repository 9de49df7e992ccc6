"""The example workflow: its shell lines run as they stand, with a toy run, a stub of `gh`, and a repository of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "docs" / "examples" / "ci" / "workflow.yml").read_text())
STEPS = WORKFLOW["jobs"]["gate"]["steps"]

SUITE = """
data = "toy"
classes = ["red", "green"]
methods = ["toy"]
metrics = ["brightness", "spread"]
seeds = [0, 1]
gates = ["toy.brightness >= 0.3"]
"""
XCORE = """#!/bin/bash
if [ "$1" = bench ]; then set -- "$@" --plugin {toy}; fi
exec {python} -m xcore "$@"
"""
GH = """#!/bin/bash
echo "$@" >> gh.log
case "$1 $2" in
  "run list") if [ -d base ]; then echo 77; fi ;;
  "run download") cp -r base "${@: -1}" ;;
  "pr comment") if [ -f forked ]; then exit 1; fi; cp "${@: -1}" commented.md ;;
esac
"""


def step(name):
    return next(step for step in STEPS if step.get("name") == name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A repository as the job sees it, with `xcore`, `gh` and `pip` in the path, and a remote with gh-pages."""
    folder = tmp_path_factory.mktemp("job")
    tools, work, origin = folder / "bin", folder / "work", folder / "origin"
    for made in (tools, work, origin):
        made.mkdir()
    toy = ROOT / "tests" / "plugins" / "toy_plugin.py"
    stubs = {"xcore": XCORE.format(toy=toy, python=sys.executable), "gh": GH, "pip": "#!/bin/bash\n"}
    for name, text in stubs.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (work / "explanations.toml").write_text(SUITE)
    (work / ".gitignore").write_text("runs/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    for call, where in (
        (["init", "--bare", "."], origin),
        (["init", "."], work),
        (["add", "."], work),
        (["commit", "-m", "all"], work),
        (["remote", "add", "origin", str(origin)], work),
        (["push", "origin", "main", "main:gh-pages"], work),
    ):
        subprocess.run([*git, *call], cwd=where, check=True, capture_output=True)
    return work


def sh(place, name, **env):
    """Run a step as GitHub does."""
    fixed = {"PATH": f"{place.parent / 'bin'}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(place / "summary.md")}
    fixed |= {"OMP_NUM_THREADS": "1", "GITHUB_BASE_REF": "main", "PULL_REQUEST": "5"}
    call = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)["run"]]
    return subprocess.run(call, cwd=place, env={**os.environ, **fixed, **env}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def judged(place):
    """The run of the job, after the baseline was written as the page says."""
    first = "xcore bench --suite explanations.toml --out runs/first --baseline explanations.json --update-baseline"
    path = f"{place.parent / 'bin'}:{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", first], cwd=place, env={**os.environ, "PATH": path}, check=True, capture_output=True)
    shutil.copytree(place / "runs" / "first", place / "base")
    return sh(place, "Explain and judge")


def test_the_run_is_judged_and_leaves_its_files(place, judged):
    assert judged.returncode == 0, judged.stderr
    assert "2 of 2 gates met" in judged.stderr
    assert ET.parse(place / "runs" / "ci.xml").getroot()[0].get("failures") == "0"
    bigger = json.loads((place / "runs" / "trends" / "bigger-is-better.json").read_text())
    assert [entry["name"] for entry in bigger] == ["toy.brightness on red", "toy.brightness on green"]
    badge = ET.parse(place / "runs" / "trends" / "badge.svg").getroot()
    assert "2 of 2 gates met" in badge.get("aria-label")
    assert "## xcore" in (place / "summary.md").read_text()


def test_a_pull_request_gets_a_comment(place, judged):
    done = sh(place, "Compare with the base branch")
    assert done.returncode == 0, done.stderr
    text = (place / "commented.md").read_text()
    assert text.startswith("## xcore · base → ci: ")
    assert "2 no difference" in text  # brightness and spread
    assert text in (place / "summary.md").read_text()
    assert (place / "gh.log").read_text().splitlines()[-1].startswith("pr comment 5 --edit-last")


def test_without_a_run_of_the_base_or_the_right_to_comment_the_job_goes_on(place, judged):
    shutil.rmtree(place / "runs" / "base", ignore_errors=True)
    (place / "forked").touch()
    done = sh(place, "Compare with the base branch")
    (place / "forked").unlink()
    assert (done.returncode, "no right to comment" in done.stdout) == (0, True), done.stderr
    (place / "base").rename(place / "kept")
    done = sh(place, "Compare with the base branch")
    (place / "kept").rename(place / "base")
    assert (done.returncode, done.stdout) == (0, "main has no run to compare with yet\n")


def test_the_badge_is_published(place, judged):
    done = sh(place, "Publish the badge")
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["git", "show", "gh-pages:explanations.svg"], cwd=place.parent / "origin", capture_output=True, text=True
    )
    assert shown.stdout == (place / "runs" / "trends" / "badge.svg").read_text()


def test_what_is_installed_has_all_that_it_requires_of_ours():
    (install,) = (step["run"] for step in STEPS if step.get("run", "").startswith("pip install"))
    folders = re.findall(r"\./xcore(\S*)", install)
    known = {}
    for file in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/*/pyproject.toml")):
        about = tomllib.loads(file.read_text())["project"]
        known[about["name"]] = {re.split(r"[<>=\[ ]", need)[0] for need in about["dependencies"]}
    named = {tomllib.loads((ROOT / f / "pyproject.toml").read_text())["project"]["name"] for f in map(_inside, folders)}
    for name in named:
        assert known[name] & known.keys() <= named, name


def _inside(folder):
    return folder.removeprefix("/")


def test_nothing_of_the_workflow_stands_in_a_shell_line_as_an_expression():
    """What a pull request brings along, such as its branch, must not be read as shell."""
    assert all("${{" not in step.get("run", "") for step in STEPS)
