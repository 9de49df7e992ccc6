"""`xcore.explain` with helper models and a generator: objects stay, references are made as by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import xcore
from xcore import hookimpl
from xcore.contract import Explanation, Options, Ref, UsageError
from xcore.registry import Registry


class LouderOptions(Options):
    times: int = 1


class Asks:
    """Says who helped."""

    def __init__(self, options):
        pass

    def explain(self, task):
        return Explanation(
            f"{task.model('text-decoder')} {task.model('vqa')} {task.generator}", task.target_name, "nothing", ()
        )


class Plugin:
    @hookimpl
    def register_explainers(self, register):
        register("asks", Asks, summary="asks", uses=("text-decoder", "vqa", "generator?"))

    @hookimpl
    def register_models(self, register):
        def reads(options, argument):
            return f"reads {argument}" + "!" * options.times

        register("reads", reads, role="text-decoder", summary="", argument="DIR", options=LouderOptions)
        register("replies", lambda options: "replies", role="vqa", summary="", default=True)

    @hookimpl
    def register_generators(self, register):
        register("paints", lambda options: "paints", summary="")


def asked(**keys):
    registry = Registry()
    registry.add(Plugin(), "asks", "1")
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    names = {"target": "a", "class_names": ["a", "b"]}
    return xcore.explain("asks", net, torch.rand(2, 3, 8, 8), registry=registry, **names, **keys).method


def test_references_are_made_and_objects_stay():
    assert asked(models={"text-decoder": "reads:/x"}, generator="paints") == "reads /x! replies paints"
    assert asked(models={"text-decoder": 1, "vqa": 2}, generator=3) == "1 2 3"


def test_a_reference_may_have_options():
    assert asked(models={"text-decoder": Ref("reads:x", {"times": 2})}).startswith("reads x!! ")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"models": {"text-decoder": "read:/x"}}, "unknown model 'read' (did you mean 'reads:DIR'?)"),
        ({"models": {"text-decoder": "reads"}}, "model 'reads' needs an argument (write reads:DIR)"),
        ({"models": {"text-decoder": "replies"}}, "model 'replies' plays the role 'vqa', not 'text-decoder'"),
        ({"models": {"text-coder": "reads:x"}}, "unknown role 'text-coder' (did you mean 'text-decoder'?)"),
        ({"models": {"text-decoder": Ref("reads:x", {"time": 2})}}, "did you mean 'times'?"),
        ({"models": {"text-decoder": "reads:x"}, "generator": "paint"}, "unknown generator 'paint' (did you mean"),
    ],
)
def test_a_wrong_reference_is_the_error_of_the_command_line(keys, said):
    with pytest.raises(UsageError) as error:
        asked(**keys)
    assert said in str(error.value)


def test_samples_of_a_data_set_are_drawn_with_the_seed_unless_another_is_given():
    def drawn(**keys):
        registry = Registry()
        registry.load_file(Path(__file__).parents[1] / "plugins" / "toy_plugin.py")
        made = xcore.explain("toy", "toy-net", "toy", target="red", n=4, registry=registry, **keys)
        return made.samples.ids

    assert [drawn(**keys)[0] for keys in ({}, {"seed": 3}, {"seed": 3, "data_seed": 0}, {"data_seed": 2})] == [
        f"toy/explain/red/{seed}/0" for seed in (0, 3, 0, 2)
    ]
    with pytest.raises(UsageError, match="the seed is -1"):
        drawn(data_seed=-1)
