"""`--batch-size` reaches the classifier and identifies no result; one line tells of a device that ran out of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xcore.base.memory import out_of_memory, peak_mb
from xcore.cli.main import main
from xcore.contract import UsageError
from xcore.models import batches

TOY = str(Path(__file__).parents[1] / "plugins" / "toy_plugin.py")
PLUGIN = """
import os
import torch
from torch import nn
from xcore import hookimpl
from xcore.models.classifiers import FunctionClassifier, TorchClassifier


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        if len(x) > int(os.environ.get("MOST", "1000")):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 1 GiB")
        with open(os.environ["SIZES"], "a") as file:
            file.write(f"{len(x)} ")
        return self.fc(self.conv(x).relu().mean((2, 3)))


def net(options):
    torch.manual_seed(0)
    return TorchClassifier(Net(), ("red", "green", "blue", "grey"))


def function(options):
    return FunctionClassifier(Net(), ("red", "green", "blue", "grey"))


class Stubborn:
    modality, classes, can, layers, default_layer = "image", ("red", "green", "blue", "grey"), frozenset(), (), ""

    def logits(self, x):
        return torch.eye(4)[torch.zeros(len(x), dtype=torch.long)]


@hookimpl
def register_classifiers(register):
    register("sized", __name__ + ":net", summary="s")
    register("function-of-size", __name__ + ":function", summary="s")
    register("stubborn", __name__ + ":stubborn", summary="s")


class Asks:
    def explain(self, task):
        from xcore.contract import Concept, Explanation

        task.classifier.logits(task.samples)
        return Explanation("asks", task.classifier.classes[task.target], "nothing", (Concept("all", 1.0),))


@hookimpl
def register_explainers(register):
    register("asks", __name__ + ":asks", summary="s")


def asks(options):
    return Asks()


def stubborn(options):
    return Stubborn()
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs xcore on the plugin, and returns the exit code, the lines of JSON and what stderr has."""
    (tmp_path / "sized_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("SIZES", str(tmp_path / "sizes"))
    monkeypatch.chdir(tmp_path)

    def run(*words, classifier="sized"):
        (tmp_path / "sizes").write_text("")
        plugins = ["--plugin", TOY, "--plugin", "sized_plugin.py"]
        about = ["--data", "toy", "--classifier", classifier, "--class", "red", "--samples", "20", "--json"]
        monkeypatch.setattr(
            "sys.argv", ["xcore", "explain", "sized_plugin/asks", *plugins, *about, "--out", "run", *words]
        )
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code or 0, [json.loads(line) for line in said.out.splitlines()], said.err

    yield run
    batches.use(None)


def sizes(tmp_path):
    return list(map(int, (tmp_path / "sizes").read_text().split()))


@pytest.mark.parametrize("classifier", ["sized", "function-of-size"])
def test_at_most_so_many_samples_pass_at_once(command, tmp_path, classifier):
    code, _, _ = command("--batch-size", "3", classifier=classifier)
    assert code == 0
    assert max(sizes(tmp_path)) == 3
    command("--out", "other", classifier=classifier)
    assert max(sizes(tmp_path)) == 20


def test_a_finished_cell_is_found_again_with_a_warning(command, tmp_path):
    command()
    code, lines, said = command("--batch-size", "3")
    assert code == 0
    assert lines[-1]["cells"]["cached"] == 1
    assert "batch_size default instead of 3; they are kept (--strict recomputes them)" in said
    assert sizes(tmp_path) == []


def test_a_classifier_without_a_batch_size_is_named(command):
    code, _, said = command("--batch-size", "3", classifier="stubborn")
    assert code == 0
    assert "stubborn has no batch size to set: --batch-size changes nothing" in said
    assert "batch size to set" not in command("--out", "other", classifier="stubborn")[2]


def test_a_device_without_memory_names_the_flag_and_less_is_enough(command, monkeypatch):
    monkeypatch.setenv("MOST", "8")
    code, lines, said = command()
    assert code == 1
    assert lines[0]["reason"].startswith("out of memory: CUDA out of memory (let fewer samples")
    assert "--batch-size N, e.g. 8" in lines[0]["reason"]
    assert "Traceback" not in said
    assert command("--batch-size", "8")[0] == 0


def test_a_command_outside_of_cells_says_the_same(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOST", "8")
    words = ["layers", "sized", "--plugin", TOY, "--plugin", "sized_plugin.py", "--data", "toy"]
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code
    assert "--batch-size N" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["xcore", *words, "--batch-size", "4"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code


def test_other_errors_are_no_lack_of_memory():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert "Unable to allocate 3 GiB" in out_of_memory(MemoryError("Unable to allocate 3 GiB"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"))
    with pytest.raises(UsageError, match="choose at least 1"):
        batches.use(0)


def test_the_memory_of_a_process_is_not_that_of_the_one_that_began_it():
    held = bytearray(300 * 2**20)
    code = "from xcore.base.memory import peak_mb; print(peak_mb())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 5 < float(found) < 200 < len(held) / 2**20 < peak_mb()
