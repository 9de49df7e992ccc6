"""`xcore advise`: the best method that can be used stands first, and what the others lack is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xcore.cli.advise import show_advice
from xcore.contract import UsageError
from xcore.contract.hooks import QUESTIONS
from xcore.registry import load_registry

PLUGIN = """
import torch
from torch import nn
from xcore import hookimpl
from xcore.models.classifiers import FunctionClassifier, TorchClassifier


def network(options):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return TorchClassifier(net, ("a", "b"), input_size=16)


def black_box(options):
    return FunctionClassifier(lambda x: x.mean((2, 3))[:, :2], ("a", "b"))


class Data:
    modality, classes, concepts, vocabulary, skipped, notes = "image", ("a", "b"), (), ("grass",), (), ()
    defaults = {"classifier": "box"}

    def __init__(self, options):
        pass


class Method:
    def explain(self, task):
        raise AssertionError


class Choosy(Method):
    def check(self, data):
        from xcore.contract import MissingError
        raise MissingError("there is no list of birds", "pass one with --set choosy.birds=FILE")


@hookimpl
def register_classifiers(register):
    register("net", __name__ + ":network", summary="a network")
    register("box", __name__ + ":black_box", summary="a black box")


@hookimpl
def register_datasets(register):
    register("few", lambda options: Data(options), summary="a data set")


@hookimpl
def register_explainers(register):
    make, choosy = (lambda options: Method()), (lambda options: Choosy())
    best = {"measured": (0.9, 0.1), "covers": ("one", "or")}
    register("good", make, summary="", question="named", limits="nothing", **best, needs=("gradients",))
    register("fair", make, summary="", question="named", limits="colours", measured=(0.6, 0.1), covers=("one",))
    register("unknown", make, summary="", question="named")
    register("drawing", make, summary="", question="named", needs=("generator",))
    register("choosy", choosy, summary="", question="words")
    register("noise-like", make, summary="", limits="all")
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What the command prints with the methods of the plugin above only."""
    path = tmp_path / "advised.py"
    path.write_text(PLUGIN)
    monkeypatch.setenv("XCORE_PLUGINS", "vision")  # which has no method

    def tell(classifier: str = "", generator: str = "", as_json: bool = False) -> str:
        show_advice(classifier, "few", generator, {}, {}, [str(path)], as_json)
        return capsys.readouterr().out

    return tell


def test_the_best_method_that_can_be_used_stands_first(told):
    of_a_network, of_a_black_box = told("net"), told()
    said = "good, which names 90% of what made classifiers of the kinds that it claims (one, or) use and 10% of what"
    assert f"does it use? {said}" in of_a_network
    assert "It gets wrong: nothing. Beside it: fair, unknown." in of_a_network
    assert "does it use? fair, which names 60%" in of_a_black_box
    assert "box on few: 2 classes of images, the classifier is a black box: it gives logits only" in of_a_black_box
    assert "xcore explain fair --classifier box --data few --class NAME" in of_a_black_box


def test_what_is_missing_is_told_with_what_to_do(told):
    text = told()
    assert "good: needs the gradients of the classifier, which gives none" in text
    assert "drawing: needs a generator: --generator " in text
    assert "choosy would tell, but not here: there is no list of birds (pass one" in text
    assert "noise-like" not in text


def test_json_has_one_line_a_method(told):
    rows = [json.loads(line) for line in told("net", as_json=True).splitlines()]
    assert [row["method"] for row in rows] == ["good", "fair", "unknown", "drawing", "choosy"]
    assert [row["can"] for row in rows] == [True, True, True, False, False]
    assert rows[1]["found"] == 0.6
    assert rows[1]["covers"] == ["one"]
    assert rows[1]["asks"] == QUESTIONS["named"]


def test_a_generator_that_is_not_there_is_refused(told):
    with pytest.raises(UsageError, match="unknown generator 'nobody'"):
        told(generator="nobody")


def test_every_shipped_method_says_what_it_answers_and_gets_wrong():
    ours = [c for c in load_registry().cards("explainer") if c.distribution.startswith("xcore-") and c.needs]
    assert ours
    silent = [c.full_name for c in ours if not (c.question and c.limits) and "example" not in c.distribution]
    assert not silent
