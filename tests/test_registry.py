"""Plugins in their guards: each broken one harms only itself, and says so where a person looks."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from xcore import registry as module
from xcore.errors import MissingError, UsageError
from xcore.registry import Registry
from xcore.types import Ref

GOOD = """
from xcore import hookimpl

@hookimpl
def register_explainers(register):
    register("{name}", "nowhere:Nothing", summary="a method")
"""


class Point(EntryPoint):
    """An entry point with a distribution of our choice."""

    def __new__(cls, name, value, dist):
        self = super().__new__(cls)
        EntryPoint.__init__(self, name, value, "xcore")
        vars(self)["dist"] = SimpleNamespace(name=dist, version="1.0")
        return self

    def __init__(self, *_):
        pass


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install plugins made of source text; returns the loaded registry."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(*plugins):
        points = []
        for i, (entry, dist, source) in enumerate(plugins):
            name = f"plug_{tmp_path.name}_{i}".replace("-", "_")
            (tmp_path / f"{name}.py").write_text(source)
            points.append(Point(entry, name, dist))
        monkeypatch.setattr(module, "entry_points", lambda group: points)
        return Registry().load_installed()

    return install


def test_a_plugin_that_crashes_on_import_harms_only_itself(installed):
    reg = installed(
        ("bad", "xcore-bad", "raise RuntimeError('boom')"), ("good", "xcore-good", GOOD.format(name="good"))
    )
    assert [c.name for c in reg.cards()] == ["good"]
    assert {p.name: p.reason for p in reg.plugins} == {"bad": "RuntimeError: boom", "good": ""}
    with pytest.raises(
        MissingError, match=r"unknown method 'bad': plugin xcore-bad failed to load: RuntimeError: boom"
    ):
        reg.find("explainer", "bad")


def test_a_plugin_that_exits_on_import_harms_only_itself(installed):
    reg = installed(("bad", "xcore-bad", "import sys; sys.exit(3)"), ("good", "xcore-good", GOOD.format(name="good")))
    assert [c.name for c in reg.cards()] == ["good"]


def test_a_misspelt_hook_is_found(installed):
    source = GOOD.format(name="x").replace("register_explainers", "register_explainer")
    reg = installed(("bad", "xcore-bad", source))
    assert "did you mean 'register_explainers'?" in reg.plugins[0].reason
    assert not list(reg.cards())


def test_half_a_plugin_registers_nothing(installed):
    source = GOOD.format(name="x") + "\n    register('y', 'a:b', summary='', colour='red')\n"
    reg = installed(("bad", "xcore-bad", source))
    assert not reg.plugins[0].ok
    assert not list(reg.cards())


def test_two_plugins_of_one_name_name_both_and_the_full_name_works(installed):
    reg = installed(("one", "xcore-one", GOOD.format(name="same")), ("two", "xcore-two", GOOD.format(name="same")))
    with pytest.raises(UsageError, match=r"xcore-one/same and xcore-two/same"):
        reg.find("explainer", "same")
    assert reg.find("explainer", "xcore-two/same")[0].distribution == "xcore-two"


def test_two_distributions_with_one_entry_point_name_are_both_there(installed):
    reg = installed(("same", "xcore-one", GOOD.format(name="a")), ("same", "xcore-two", GOOD.format(name="b")))
    assert {c.name for c in reg.cards()} == {"a", "b"}


def test_what_a_plugin_prints_stays_off_stdout(installed, capsys):
    installed(("loud", "xcore-loud", "print('hello')" + GOOD.format(name="a")))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_environment_chooses_plugins(installed, monkeypatch):
    monkeypatch.setenv("XCORE_PLUGINS", "b")
    reg = installed(("a", "xcore-a", GOOD.format(name="a")), ("b", "xcore-b", GOOD.format(name="b")))
    assert [c.name for c in reg.cards()] == ["b"]


def test_another_api_is_refused(installed):
    reg = installed(("old", "xcore-old", GOOD.format(name="a").replace("summary=", "api=99, summary=")))
    assert "api 99" in reg.plugins[0].reason


@pytest.fixture
def toy():
    reg = Registry()
    reg.load_file(Path(__file__).parent / "toy_plugin.py")
    return reg


def test_unknown_name_gives_the_nearest(toy):
    with pytest.raises(UsageError, match=r"unknown method 'carsh' \(did you mean 'crash'\?\)"):
        toy.find("explainer", "carsh")


def test_arguments_are_asked_for_and_refused(toy):
    toy._cards["classifier", "from"] = [module.Card("classifier", "from", "a:b", "", "d", "1", argument="FILE")]
    with pytest.raises(UsageError, match="write from:FILE"):
        toy.find("classifier", "from")
    assert toy.find("classifier", "from:x:y")[1] == "x:y"
    with pytest.raises(UsageError, match="takes no argument"):
        toy.find("classifier", "toy-net:x")


def test_a_missing_library_is_named(toy):
    toy._cards["explainer", "lost"] = [module.Card("explainer", "lost", "no_such_package.x:Y", "", "d", "1")]
    with pytest.raises(MissingError, match="pip install no_such_package"):
        toy.create("explainer", Ref("lost"))


MODEL = """
from xcore import hookimpl

@hookimpl
def register_models(register):
    register("{name}", "nowhere:Nothing", role="segmenter", default={default}, summary="a model", argument={argument})
"""


def test_a_default_model_plays_its_role_where_nobody_names_one(installed):
    reg = installed(
        ("a", "xcore-a", MODEL.format(name="one", default=True, argument=None)),
        ("b", "xcore-b", MODEL.format(name="two", default=False, argument=None)),
    )
    assert {role: str(ref) for role, ref in reg.fallbacks(["segmenter", "vqa", "segmenter"]).items()} == {
        "segmenter": "one"
    }
    assert reg.fallbacks([]) == {}


def test_a_default_model_whose_name_two_plugins_offer_is_named_in_full(installed):
    reg = installed(
        ("a", "xcore-a", MODEL.format(name="one", default=True, argument=None)),
        ("b", "xcore-b", MODEL.format(name="one", default=False, argument=None)),
    )
    assert str(reg.fallbacks(["segmenter"])["segmenter"]) == "xcore-a/one"


def test_two_default_models_of_one_role_are_an_error_that_names_both(installed):
    reg = installed(
        ("a", "xcore-a", MODEL.format(name="one", default=True, argument=None)),
        ("b", "xcore-b", MODEL.format(name="two", default=True, argument=None)),
    )
    with pytest.raises(UsageError, match=r"xcore-a/one and xcore-b/two.*--model segmenter=REF"):
        reg.fallbacks(["segmenter"])
    assert reg.fallbacks(["vqa"]) == {}


def test_an_argument_in_brackets_may_be_left_out(installed):
    reg = installed(("a", "xcore-a", MODEL.format(name="one", default=False, argument="'[DIR]'")))
    assert reg.find("model", "one")[1] is None
    assert reg.find("model", "one:here")[1] == "here"
    assert reg.find("model", "one")[0].shown == "one[:DIR]"
