"""`xcore new`: which names and folders it takes, and what it says of the others."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from xcore.cli.main import app
from xcore.cli.new import KINDS, LONGEST, check_free, check_name, write
from xcore.contract import UsageError


@pytest.mark.parametrize("name", ["a", "my-method", "xcore-my-method", "v2", "none", "class-means-2"])
def test_a_name_is_taken_with_or_without_the_prefix(name: str) -> None:
    assert check_name(name) == name.removeprefix("xcore-")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("My Method", "my-method"),
        ("my_method", "my-method"),
        ("2nd", "nd"),
        ("a--b", "a-b"),
        ("-a", "a"),
        ("../up", "up"),
        ("a" * 41, "a" * 40),
        ("a.b", "a-b"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_one_that_can(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    assert str(caught.value).endswith(f"(for example {near!r})")
    assert "\n" not in str(caught.value)
    assert check_name(near) == near


@pytest.mark.parametrize("name", ["", "-", "???", "123", "xcore-"])
def test_a_name_without_letters_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a letter first"):
        check_name(name)


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("explainer", "craft", "the method 'craft' is installed, from xcore-craft"),
        ("metric", "cost", "the metric 'cost' is installed, from xcore-metrics"),
        ("dataset", "minizoo", "the data set 'minizoo' is installed, from xcore-minizoo"),
        ("engine", "processes", "the engine 'processes' is installed, from xcore-xai"),
        ("command", "shift", "the command 'shift' is installed, from xcore-acting"),
        ("command", "bench", "xcore has a command 'bench' of its own"),
        ("command", "runs", "xcore has a command 'runs' of its own"),
        ("metric", "craft", "the distribution xcore-craft is installed"),
    ],
)
def test_what_is_installed_is_not_made_again(kind: str, name: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_free(kind, name, {"bench", "runs"})
    assert str(caught.value) == f"{says} (choose another name)"


def test_a_command_of_xcore_is_known_to_the_command_line(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["new", "command", "report", "--out", str(tmp_path / "made")])
    assert str(said.exception) == "xcore has a command 'report' of its own (choose another name)"
    assert not (tmp_path / "made").exists()


def test_an_unknown_kind_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown kind 'metrik' \(did you mean 'metric'\?\)"):
        write("metrik", "mine")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write("metric", "mine", str(tmp_path))
    with pytest.raises(UsageError, match="is there already"):
        write("metric", "mine", str(tmp_path / "kept.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_empty_folder_is_filled_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    write("metric", "mine", str(tmp_path / "given"))
    assert (tmp_path / "given" / "pyproject.toml").is_file()
    write("metric", "mine", str(tmp_path / "deep" / "er"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "given"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]


def test_the_last_line_is_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["new", "metric", "mine", "--out", "with space"])
    assert said.exit_code == 0, said.output
    last = said.output.splitlines()[-1]
    assert shlex.split(last) == [
        *("pip", "install", "-e", "./with space[test]", "&&", "pytest", "with space", "&&"),
        *("xcore", "bench", "--methods", "craft", "--metrics", "mine", "--seeds", "1"),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "none", "concept", "a-very-long-name-that-somebody-may-pick"])
def test_every_file_is_what_its_name_says(kind: str, name: str, tmp_path: Path) -> None:
    folder, _ = write(kind, name, str(tmp_path / "made"))
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"xcore-{name}"
    package = f"xcore_{name.replace('-', '_')}"
    assert project["entry-points"]["xcore"] == {name: f"{package}.plugin"}
    sources = sorted((folder / "src" / package).glob("*.py"))
    for path in (*sources, *folder.glob("tests/*.py")):
        ast.parse(path.read_text(encoding="utf-8"))
    jobs = yaml.safe_load((folder / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert "{{" not in path.read_text(encoding="utf-8").replace("${{", ""), path


@pytest.mark.parametrize("name", ["a", "some-name", "a-name-of-medium-length", "q" * LONGEST])
def test_what_is_written_is_clean_whatever_the_name(name: str, tmp_path: Path) -> None:
    """By ruff with lines of 120 characters, imports sorted and formatted."""
    for kind in KINDS:
        write(kind, name, str(tmp_path / kind))
    alone = (sys.executable, "-m", "ruff")
    sources = ("--config", "src = ['*', '*/src']")  # as ruff sees the packages of each from within its folder
    for asked in (("check", "--select", "E,F,W,I,UP,B,SIM,RUF"), ("format", "--diff")):
        command = [*alone, *asked, "--isolated", "--line-length", "120", *sources, "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
