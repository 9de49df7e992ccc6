"""A request that is refused before anything ran leaves nothing behind, and a run that is there as it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from xcore.cli.main import main

TOY = str(Path(__file__).parents[1] / "plugins" / "toy_plugin.py")
ABOUT = ["--plugin", TOY, "--data", "toy", "--classifier", "toy-net", "--class", "red"]


@pytest.fixture
def nothing_new(tmp_path, monkeypatch):
    """The current folder and the temporary one, in which nothing may be left."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path
    left = {path.name for path in tmp_path.rglob("*") if not path.name.startswith("torchinductor")}  # torch's own
    assert left == {"here", "temporary"}


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--methods", "to", *ABOUT],
        ["bench", "--methods", "toy", *ABOUT, "--metrics", "brightnes"],
        ["bench", "--methods", "toy", *ABOUT, "--layer", "nowhere"],
        ["bench", "--methods", "toy", *ABOUT, "--layer", "nowhere", "--out", "a/b/c"],
        ["bench", "--methods", "toy", *ABOUT, "--heldout", "folder:nowhere"],
        ["bench", "--methods", "toy", *ABOUT, "--gate", "nonsense"],
        ["explain", "toy", *ABOUT[:-1], "blue-green"],
        ["explain", "toy", *ABOUT, "--classifier", "minizoo/nothing"],
        ["explain", "toy", *ABOUT, "--layer", "nowhere"],
        ["explain", "craft", "--data", "minizoo", "--class", "zebra", "--classifier", "file:nowhere.safetensors"],
        ["layers", "file:nowhere.safetensors"],
        ["report", "nowhere"],
        ["texplain", "explain", "--class", "nothing"],
        ["texplain", "explain", "--class", "zebra", "--layer", "nowhere"],
        ["texplain", "train", "--class", "zebra", "--classifier", "reviews/textcnn"],
    ],
)
def test_nothing_is_left_behind(words, monkeypatch, nothing_new, capsys):
    assert run(monkeypatch, *words) in (2, 3)
    assert "xcore: " in capsys.readouterr().err


def test_tcav_without_concepts_is_refused_by_the_flag_to_give(monkeypatch, nothing_new, capsys):
    assert run(monkeypatch, "explain", "tcav", *ABOUT, "--layer", "conv") == 3
    said = capsys.readouterr().err
    assert "this data set has none" in said
    assert "--set tcav.folders=DIR" in said
    assert run(monkeypatch, "explain", "tcav", *ABOUT, "--layer", "conv", "--set", "tcav.source=folders") == 3
    assert "--set tcav.folders=NAME=DIR" in capsys.readouterr().err


def test_a_run_that_is_there_stays_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "--methods", "toy", *ABOUT, "--metrics", "brightness", "--seeds", "1", "--out", "run"]
    assert not run(monkeypatch, *words)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(monkeypatch, *words, "--layer", "nowhere") == 2
    assert run(monkeypatch, *words, "--class", "red,nothing") == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_of_the_user_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert run(monkeypatch, "explain", "toy", *ABOUT, "--layer", "nowhere", "--out", "mine") == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
