"""A helper that a method needs and that nobody names is told before anything is loaded."""

from __future__ import annotations

import pytest
import torch

import xcore
from xcore import hookimpl
from xcore.contract import MissingError, Options
from xcore.registry import Registry
from xcore.run.plan import Suite, make_plan


class Many(Options):
    asks: bool = False


class Loaded:
    """Whatever is made here is made too early."""

    def __init__(self, *args):
        raise AssertionError("loaded")


class Pictures:
    """A data set of two classes, which is opened to make a plan."""

    modality = "image"
    classes = ("a", "b")
    concepts = vocabulary = skipped = notes = ()

    def __init__(self, options, argument=None):
        self.defaults = {"classifier": "net"}


class Texts(Pictures):
    modality = "text"


class Plugin:
    @hookimpl
    def register_explainers(self, register):
        both = ("image", "text")
        needs = {"needs": ("generator",), "uses": f"{__name__}:uses"}
        register("many", Loaded, summary="", options=f"{__name__}:Many", modalities=both, **needs)

    @hookimpl
    def register_models(self, register):
        register("near", Loaded, role="image-text", summary="", argument="ID")
        register("answers", Loaded, role="vqa", summary="", argument="DIR")
        register("fixed", Loaded, role="vqa", summary="")

    @hookimpl
    def register_generators(self, register):
        register("draws", Loaded, summary="", argument="DIR")
        register("writes", Loaded, summary="", argument="FILE", modalities=("text",))

    @hookimpl
    def register_classifiers(self, register):
        register("net", Loaded, summary="")

    @hookimpl
    def register_datasets(self, register):
        register("pictures", Pictures, summary="")
        register("texts", Texts, summary="", modalities=("text",))


def uses(options):
    return ("image-text", "text-embedder", "vqa" if options.asks else "vqa?")


@pytest.fixture
def registry():
    made = Registry()
    made.add(Plugin(), "many", "1")
    return made


PICTURES = {"data": "pictures", "methods": ["many"], "classes": ["a"]}
DRAWN = {"generator": "draws:x"}
NEAR = {"image-text": "near:x"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "method many needs a generator (name one with --generator draws:DIR)"),
        (DRAWN, "method many needs a model of the role 'image-text' (name one with --model image-text=near:ID)"),
        (
            {**DRAWN, "models": NEAR, "set": {"many": {"asks": True}}},
            "method many needs a model of the role 'vqa' (name one with --model vqa=answers:DIR or fixed)",
        ),
        ({"data": "texts"}, "method many needs a generator (name one with --generator writes:FILE)"),
        (
            {"data": "texts", "generator": "writes:x"},
            "method many needs a model of the role 'text-embedder' (name one with --model text-embedder=REF)",
        ),
        ({"classes": ["no such class"]}, "method many needs a generator (name one with --generator draws:DIR)"),
    ],
)
def test_the_line_names_the_flag_and_what_may_follow_it(registry, keys, said):
    with pytest.raises(MissingError) as error:
        make_plan(Suite(**{**PICTURES, **keys}), registry)
    assert str(error.value) == said


def test_a_role_that_it_can_do_without_is_not_demanded(registry):
    (cell,) = make_plan(Suite(**PICTURES, **DRAWN, models=NEAR), registry).cells
    assert cell.models.keys() == NEAR.keys()
    assert registry.roles(cell.method) == ("image-text", "text-embedder", "vqa")


def test_a_notebook_is_told_what_to_pass(registry):
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    registry._cards["explainer", "many"][0].__dict__["factory"] = lambda options: None

    def explain(**keys):
        return xcore.explain(
            "many", net, torch.rand(2, 3, 8, 8), target="a", class_names=["a", "b", "c"], registry=registry, **keys
        )

    with pytest.raises(MissingError, match=r"needs a generator \(pass generator='draws:DIR'\)"):
        explain()
    with pytest.raises(MissingError, match=r"'image-text' \(pass models=\{'image-text': 'near:ID'\}\)"):
        explain(generator="draws:x")
