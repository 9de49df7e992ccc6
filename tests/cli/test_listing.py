"""`xcore show`: the helpers that a component asks for, and what its options are if nobody sets them."""

from __future__ import annotations

import json

import pytest

from xcore.cli.listing import show_component

PLUGIN = """
from pydantic import Field
from xcore import hookimpl
from xcore.contract import Options


class Some(Options):
    draw: bool = False
    drop: list[str] = Field(default_factory=lambda: ["a"], description="words")


class Needs(Options):
    k: int


def uses(options):
    return ("text-decoder", "generator", "vqa") if not options.draw else ()


def none(options):
    return ()


@hookimpl
def register_explainers(register):
    register("asks", "x:y", summary="s", options=Some, uses=__name__ + ":uses")
    register("alone", "x:y", summary="s", options=Some, uses=__name__ + ":none")
    register("needs", "x:y", summary="s", options=Needs, uses=__name__ + ":uses")


@hookimpl
def register_models(register):
    register("replies", "x:y", summary="s", role="vqa", default=True)
    register("both", "x:y", summary="s", role=("looker", "reader"), options=Some)
    register("alone-model", "x:y", summary="s", role="looker", options=Some)


@hookimpl
def register_classifiers(register):
    register("both", "x:y", summary="s", options=Some)
"""


@pytest.fixture
def shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XCORE_PLUGINS", "")
    file = tmp_path / "listed.py"
    file.write_text(PLUGIN)

    def show(name, as_json=False):
        show_component(name, [str(file)], as_json)
        return capsys.readouterr().out

    return show


def test_helpers_are_those_of_the_default_options(shown):
    said = (
        "uses text-decoder (--model text-decoder=REF), generator (--generator REF), vqa (--model vqa=REF, else replies)"
    )
    assert f"  {said}, with the default options\n" in shown("asks")
    assert "  uses no helper, with the default options\n" in shown("alone")
    assert "  uses what its options ask for\n" in shown("needs")
    assert json.loads(shown("asks", True))["uses"] == ["text-decoder", "generator", "vqa"]


def test_the_default_of_a_factory_is_shown_and_only_what_is_required_is_called_so(shown):
    assert '--set asks.drop=["a"] (array)  words\n' in shown("asks")
    assert "--set needs.k=required (integer)\n" in shown("needs")
    assert json.loads(shown("asks", True))["options"]["drop"]["default"] == ["a"]


def test_a_helper_of_a_classifiers_name_shows_its_options_by_its_role(shown):
    said = shown("both")
    assert "--set both.draw=false (boolean)" in said
    assert "--set looker.draw=false (boolean)" in said
    assert "  role looker, reader\n" in said
    assert "--set alone-model.draw=false (boolean)" in shown("alone-model")
