"""`xcore layers`: shapes, signs, heads and cuts agree with the network, and the defaults are those of the methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xcore.cli.layers import show_layers
from xcore.contract import NotApplicable, UsageError

PLUGIN = """
import torch
from torch import nn
from xcore import hookimpl
from xcore.models.classifiers import FunctionClassifier, TorchClassifier


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return (x + self.inner(x)).relu()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second, self.fc = nn.Conv2d(3, 6, 3, 2), Block(), Block(), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.second(self.first(self.stem(x))).mean((2, 3)))


def small(options):
    torch.manual_seed(0)
    return TorchClassifier(Net(), ("a", "b"), input_size=17)


def black_box(options):
    return FunctionClassifier(lambda x: x.mean((2, 3))[:, :2], ("a", "b"))


class Plain:
    def explain(self, task):
        raise AssertionError


class Later(Plain):
    def default_layer(self, classifier, samples):
        return "second" if len(samples) == 2 else ""


@hookimpl
def register_classifiers(register):
    register("small", __name__ + ":small", summary="s")
    register("black-box", __name__ + ":black_box", summary="s")


@hookimpl
def register_explainers(register):
    register("plain-method", __name__ + ":plain", summary="s", needs=("activations",))
    register("later-method", __name__ + ":later", summary="s")
    register("no-layer", __name__ + ":plain", summary="s")


def plain(options):
    return Plain()


def later(options):
    return Later()
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "small_layers.py").write_text(PLUGIN)
    return str(tmp_path / "small_layers.py")


def listed(capsys: pytest.CaptureFixture[str], plugin: str, **settings: Any) -> dict[str, dict[str, Any]]:
    show_layers("small", "", settings, [plugin], False, True)
    return {row["layer"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def test_every_layer_is_described(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, plugin)
    assert list(rows) == ["stem", "first.inner", "first", "second.inner", "second", "fc"]
    assert [row["shape"] for row in rows.values()] == [[6, 8, 8]] * 5 + [[2]]
    assert [row["cut"] for row in rows.values()] == [True, False, True, False, True, True]
    assert [row["affine"] for row in rows.values()] == [False, False, False, False, True, True]
    assert [row["nonnegative"] for row in rows.values()][:5] == [False, False, True, False, True]
    assert "plain-method" in rows["first"]["default_for"]
    assert "later-method" in rows["second"]["default_for"]
    assert not any("no-layer" in row["default_for"] for row in rows.values())
    assert rows["stem"]["measured_on"].startswith("2 artificial images")


def test_the_list_hides_what_a_skip_goes_around(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_layers("small", "", {}, [plugin], False, False)
    out = capsys.readouterr().out
    assert "first.inner" not in out
    assert "2 more layers are no cut" in out
    show_layers("small", "", {}, [plugin], True, False)
    assert "first.inner   6 x 8 x 8  both  not affine  no" in capsys.readouterr().out


def test_a_black_box_and_wrong_options_are_one_line(plugin: str) -> None:
    with pytest.raises(NotApplicable, match="black-box is a black box: it has no layers"):
        show_layers("black-box", "", {}, [plugin], False, False)
    with pytest.raises(UsageError, match=r"unknown component in --set 'smal' .*'small'"):
        show_layers("small", "", {"smal": {"x": 1}}, [plugin], False, False)
    with pytest.raises(UsageError, match="did you mean 'small'"):
        show_layers("smal", "", {}, [plugin], False, False)
