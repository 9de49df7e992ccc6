"""What `xcore new` writes is built, installed in a folder of its own, listed, tested, and has rows in a bench.

So are the example plugins, which began like that; no other test has them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from xcore.cli.new import KINDS, write

EXAMPLES = Path(__file__).parents[2] / "plugins" / "examples"
BUILD = """
import os, sys
from setuptools import build_meta
out, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    build_meta.build_wheel(out)
"""
CHECKS = ["E", "F", "W", "I", "UP", "B", "SIM", "RUF", "PT", "C4"]


def call(words: list[str], where: Path, path: Path | None = None) -> str:
    """What a process prints; it sees the packages of one more folder."""
    quiet = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000", "XCORE_CACHE": str(where / "cache")}
    env = {**os.environ, **quiet, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(words, cwd=where, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(folders: list[Path], place: Path) -> None:
    """Build distributions and put what their wheels hold into a folder `installed`."""
    call([sys.executable, "-c", BUILD, str(place), *map(str, folders)], place)
    for wheel in place.glob("*.whl"):
        with ZipFile(wheel) as archive:
            archive.extractall(place / "installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distribution of each kind in `made`, the examples beside them, and all in `installed`."""
    place = tmp_path_factory.mktemp("started")
    (place / "installed").mkdir()
    made = [write(kind, f"started-{kind}", str(place / "made" / kind))[0] for kind in KINDS]
    shutil.copytree(EXAMPLES, place / "examples")
    install([*made, *sorted(path.parent for path in (place / "examples").glob("*/pyproject.toml"))], place)
    return place


def test_each_kind_is_listed(place: Path) -> None:
    listed = call([sys.executable, "-m", "xcore", "list", "--json"], place, place / "installed")
    rows = [json.loads(line) for line in listed.splitlines()]
    found = {row["kind"]: row["name"] for row in rows if row["distribution"].startswith("xcore-started-")}
    assert found == {kind: f"started-{kind}" for kind in KINDS}


def test_the_tests_of_each_kind_and_of_the_examples_pass(place: Path) -> None:
    """One process for all of them."""
    folders = [*(place / "made" / kind for kind in KINDS), *(path for path in (place / "examples").glob("*/tests"))]
    options = ["-q", "-rp", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={place}"]
    said = call([sys.executable, "-m", "pytest", *options, *map(str, folders)], place, place / "installed")
    passed = [line for line in said.splitlines() if line.startswith("PASSED ")]
    for folder in folders:
        assert any(line.startswith(f"PASSED {folder.relative_to(place)}/") for line in passed), f"{folder.name}: {said}"


def test_a_started_method_and_metric_are_in_one_table(place: Path) -> None:
    words = "bench --methods started-explainer --metrics started-metric,TS --controls noise --seeds 1 --samples 12"
    small = "--set TS.null=20 --set TS.n=4 --set TS.negatives=4 --engine local --json"
    said = call([sys.executable, "-m", "xcore", *words.split(), *small.split()], place, place / "installed")
    *rows, last = [json.loads(line) for line in said.splitlines()]
    assert last["cells"]["ok"] == 2
    (first,) = [row for row in rows if row["label"] == "started-explainer" and row["rank"] == 1]
    (noise,) = [row for row in rows if row["label"] == "noise" and row["rank"] == 1]
    assert first["scores"]["started-metric"]["value"] > 0.9  # images of the class, which the classifier knows
    assert noise["scores"]["started-metric"]["value"] < 0.1


def test_what_is_written_needs_no_tidying(place: Path) -> None:
    settings = ["--isolated", "--config", "line-length=120", "--config", "src = ['*', '*/src']"]
    parts = [f"{kind}/{part}" for kind in KINDS for part in ("src", "tests")]
    rules = ["--select", ",".join(CHECKS), "--target-version", "py311"]
    call([sys.executable, "-m", "ruff", "check", *settings, *rules, *parts], place / "made")
    call([sys.executable, "-m", "ruff", "format", "--check", *settings, *parts], place / "made")
