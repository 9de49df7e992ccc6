"""`xcore doctor`: what is here, what is missing, the line that fetches it, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from xcore.cli.main import main

PLUGINS = Path(__file__).parents[1] / "plugins"
FILES = ["--plugin", str(PLUGINS / "toy_plugin.py"), "--plugin", str(PLUGINS / "growing_plugin.py")]


@pytest.fixture
def doctor(monkeypatch, tmp_path, capsys):
    """(text of a suite, flags) -> exit code and what was printed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *a, **k: pytest.fail("the hub was asked"))

    def call(text, *flags):
        suite = tmp_path / "mine.toml"
        suite.write_text(text)
        monkeypatch.setattr("sys.argv", ["xcore", "doctor", "--suite", str(suite), *FILES, *flags])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, capsys.readouterr().out

    return call


def test_a_suite_whose_parts_are_all_here(doctor):
    code, printed = doctor('data = "toy"\nclasses = ["red"]\nmethods = ["toy"]\n')
    assert code == 0
    assert f"python     {sys.version.split()[0]}" in printed
    assert "here     classifier  toy-net" in printed
    assert "All of it is here" in printed


def test_what_is_missing_stands_with_the_line_that_fetches_it(doctor):
    suite = 'data = "toy"\nclasses = ["red"]\nmethods = ["toy", "stepping", "teleport"]\nmetrics = ["CS"]\n'
    suite += 'classifiers = ["far-net:someone/net@abc", "toy-net"]\ngenerator = "diffusion:nowhere/at/all"\n'
    suite += '[models]\nimage-text = "clip:openai/no-such-clip"\n'
    code, printed = doctor(suite)
    assert code == 1
    assert "  hf download someone/net --revision abc\n  hf download openai/no-such-clip\n" in printed
    assert "missing  method" in printed  # teleport
    assert "no pipeline directory" in printed or "nowhere/at/all" in printed
    assert "4 of these are missing." in printed
    code, printed = doctor(suite, "--json")
    assert code == 1
    about = json.loads(printed)
    assert about["fetch"] == ["hf download someone/net --revision abc", "hf download openai/no-such-clip"]
    missing = {need["reference"] for need in about["needs"] if need["problem"]}
    assert missing == {"far-net:someone/net@abc", "diffusion:nowhere/at/all", "clip:openai/no-such-clip", "teleport"}
    assert about["devices"]["cores"] >= 1


def test_published_weights_of_a_classifier_are_looked_for(doctor, monkeypatch, tmp_path):
    """A classifier of torchvision was said to be here before its weights were."""
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    suite = 'data = "toy"\nclasses = ["red"]\nmethods = ["toy"]\nclassifiers = ["torchvision:googlenet"]\n'
    code, printed = doctor(suite)
    assert code == 1
    assert f"  curl --create-dirs -Lo {tmp_path}/checkpoints/googlenet-1378be20.pth https://" in printed
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "googlenet-1378be20.pth").touch()
    assert doctor(suite)[0] == 0
    assert doctor(suite + "[set.torchvision]\npretrained = false\n")[0] == 0


def test_data_that_is_missing(doctor):
    code, printed = doctor('data = "folder:nowhere"\nclasses = ["red"]\nmethods = ["toy"]\nclassifiers = ["toy-net"]\n')
    assert code == 1
    assert "no image folder 'nowhere'" in printed


def test_a_request_of_flags_is_looked_for_as_a_suite_is(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--methods", "craft", "--classifier", "file:nowhere.safetensors", "--data", "minizoo", "--class", "zebra"]
    monkeypatch.setattr("sys.argv", ["xcore", "doctor", *words])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr().out
    assert left.value.code == 1
    assert "What you ask for needs:" in printed
    assert "missing  classifier" in printed
    assert "nowhere.safetensors" in printed
    assert list(tmp_path.iterdir()) == []


def test_options_are_read_as_the_run_reads_them(doctor, monkeypatch, capsys):
    """A wrong option was dropped, and everything was said to be here."""
    suite = 'data = "toy"\nclasses = ["red"]\nmethods = ["toy", "sampling"]\n'
    code, printed = doctor(suite + "[set.sampling]\neech = 1\n")
    assert code == 1
    assert "missing  method      sampling" in printed
    assert "eech" in printed
    code, printed = doctor(suite + "[set.toy-net]\nnosuch = 1\n")
    assert code == 1
    assert "missing  classifier  toy-net" in printed
    assert doctor(suite + "[set.samplingg]\neach = 1\n") == (2, "")
