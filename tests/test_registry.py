"""Plugins in their guards: each broken one harms only itself, and says so where a person looks."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from xcore import cards
from xcore import registry as module
from xcore.base.errors import PluginError
from xcore.contract import MissingError, Ref, UsageError
from xcore.registry import Registry

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


@pytest.fixture(autouse=True)
def no_engines_of_the_core(monkeypatch):
    """So that what is found is what plugins offer."""
    monkeypatch.setattr(module, "ENGINES", ())


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
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
        monkeypatch.setattr(module, "kept_cards", lambda: None)
        monkeypatch.setattr(module, "keep_cards", lambda *given: None)
        return Registry().load_installed()

    return install


def test_a_plugin_that_crashes_on_import_harms_only_itself(installed):
    reg = installed(
        ("bad", "xcore-bad", "raise RuntimeError('boom')"), ("good", "xcore-good", GOOD.format(name="good"))
    )
    assert [c.name for c in reg.cards()] == ["good"]
    where = f"RuntimeError: boom, at {reg.plugins[0].package}.py:1"
    assert {p.name: p.reason for p in reg.plugins} == {"bad": where, "good": ""}
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
    reg = installed(("bad", "xcore-bad", GOOD.format(name="x") + "\n    1 / 0\n"))
    assert reg.plugins[0].reason.startswith("ZeroDivisionError: division by zero, at ")
    assert not list(reg.cards())


def test_a_bad_card_leaves_its_neighbours(installed):
    reg = installed(
        ("half", "xcore-half", GOOD.format(name="x") + "\n    register('y', 'a:b', summary='', sumary='')\n")
    )
    assert [c.name for c in reg.cards()] == ["x"]
    assert reg.plugins[0].ok
    with pytest.raises(
        MissingError, match=r"method 'y' of xcore-half is left out: unknown field 'sumary' \(did you mean 'summary'\?\)"
    ):
        reg.find("explainer", "y")


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
    reg.load_file(Path(__file__).parent / "plugins" / "toy_plugin.py")
    return reg


def test_unknown_name_gives_the_nearest(toy):
    with pytest.raises(UsageError, match=r"unknown method 'carsh' \(did you mean 'crash'\?\)"):
        toy.find("explainer", "carsh")


def test_arguments_are_asked_for_and_refused(toy):
    toy._cards["classifier", "from"] = [cards.Card("classifier", "from", "a:b", "", "d", "1", argument="FILE")]
    with pytest.raises(UsageError, match="write from:FILE"):
        toy.find("classifier", "from")
    assert toy.find("classifier", "from:x:y")[1] == "x:y"
    with pytest.raises(UsageError, match="takes no argument"):
        toy.find("classifier", "toy-net:x")


def test_a_missing_library_is_named(toy):
    toy._cards["explainer", "lost"] = [cards.Card("explainer", "lost", "no_such_package.x:Y", "", "d", "1")]
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
    assert {role: str(ref) for role, ref in reg.fallbacks(["segmenter", "vqa", "segmenter"], "image").items()} == {
        "segmenter": "one"
    }
    assert reg.fallbacks([], "image") == {}


def test_a_default_model_whose_name_two_plugins_offer_is_named_in_full(installed):
    reg = installed(
        ("a", "xcore-a", MODEL.format(name="one", default=True, argument=None)),
        ("b", "xcore-b", MODEL.format(name="one", default=False, argument=None)),
    )
    assert str(reg.fallbacks(["segmenter"], "image")["segmenter"]) == "xcore-a/one"


def test_two_default_models_of_one_role_are_an_error_that_names_both(installed):
    reg = installed(
        ("a", "xcore-a", MODEL.format(name="one", default=True, argument=None)),
        ("b", "xcore-b", MODEL.format(name="two", default=True, argument=None)),
    )
    with pytest.raises(UsageError, match=r"xcore-a/one and xcore-b/two.*--model segmenter=REF"):
        reg.fallbacks(["segmenter"], "image")
    assert reg.fallbacks(["vqa"], "image") == {}


def test_an_argument_in_brackets_may_be_left_out(installed):
    reg = installed(("a", "xcore-a", MODEL.format(name="one", default=False, argument="'[DIR]'")))
    assert reg.find("model", "one")[1] is None
    assert reg.find("model", "one:here")[1] == "here"
    assert reg.find("model", "one")[0].shown == "one[:DIR]"


# -- cards that are kept between runs --------------------------------------------------------------------------------
LOUD = """
from xcore import hookimpl
print("imported")

@hookimpl
def register_explainers(register):
    register("{name}", {factory}, summary="{summary}")
"""


class Site:
    """A folder with distributions, the only one on `sys.path` that holds any."""

    def __init__(self, root, monkeypatch):
        self.root = root
        holders = set(cards.distribution_folders())
        monkeypatch.setattr("sys.path", [str(root), *(path for path in sys.path if path not in holders)])
        monkeypatch.setenv("XCORE_CACHE", str(root.parent / "cache"))
        # pip compiles what it installs; here bytecode would come later, and change the folder or be out of date
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        monkeypatch.setattr("sys.dont_write_bytecode", True)

    def add(self, name, summary="first", factory="'nowhere:Nothing'", editable=False):
        info = self.root / f"xcore_{name}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: xcore-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[xcore]\n{name} = loud_{name}\n")
        if editable:
            (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
        self.edit(name, summary, factory)
        source = self.root / f"loud_{name}.py"
        (info / "RECORD").write_text(f"loud_{name}.py,sha256={hash(source.read_text())},\n{info.name}/RECORD,,\n")

    def edit(self, name, summary, factory="'nowhere:Nothing'"):
        (self.root / f"loud_{name}.py").write_text(LOUD.format(name=name, summary=summary, factory=factory))

    def load(self, capsys):
        """Summaries of the cards, and how many plugins were imported for them."""
        for name in [name for name in sys.modules if name.startswith("loud_")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        capsys.readouterr()
        found = {card.name: card.summary for card in Registry().load_installed().cards()}
        return found, capsys.readouterr().err.count("imported")


def test_a_factory_that_leaves_as_a_script_does_is_one_line(installed):
    left = GOOD.format(name="leaves").replace('"nowhere:Nothing"', "lambda options: exit(3)")
    with pytest.raises(PluginError, match="'leaves' of xcore-a cannot be made: SystemExit: 3"):
        installed(("a", "xcore-a", left)).create("explainer", Ref("leaves"))


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site", monkeypatch)


def test_kept_cards_are_the_same_and_import_nothing(site, capsys):
    site.add("one")
    site.add("two")
    fresh, imported = site.load(capsys)
    assert (imported, fresh) == (2, {"one": "first", "two": "first"})
    assert site.load(capsys) == (fresh, 0)


def test_an_edit_of_an_editable_plugin_is_seen(site, capsys):
    site.add("one", editable=True)
    site.load(capsys)
    site.edit("one", "second, which is longer")
    assert site.load(capsys) == ({"one": "second, which is longer"}, 1)


def test_a_plugin_that_was_replaced_in_place_is_seen(site, capsys):
    site.add("one")
    site.load(capsys)
    before = (site.root / "loud_one.py").stat()
    site.add("one", summary="other")  # as many bytes, and the same time: only its RECORD tells
    os.utime(site.root / "loud_one.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert site.load(capsys) == ({"one": "other"}, 1)


def test_plugins_that_come_and_go_are_seen(site, capsys):
    site.add("one")
    site.load(capsys)
    site.add("two")
    assert site.load(capsys)[0] == {"one": "first", "two": "first"}
    shutil.rmtree(site.root / "xcore_one-1.0.dist-info")
    assert site.load(capsys)[0] == {"two": "first"}


def test_a_plugin_that_fails_is_tried_again(site, capsys):
    site.add("one")
    site.add("two", factory="1 / 0")
    assert site.load(capsys) == ({"one": "first"}, 2)
    site.edit("two", "mended")
    assert site.load(capsys) == ({"one": "first", "two": "mended"}, 2)


def test_a_plugin_that_fails_leaves_the_cards_of_the_others_kept(site, capsys):
    site.add("one")
    site.add("two", factory="1 / 0")
    site.load(capsys)
    assert site.load(capsys) == ({"one": "first"}, 1)
    (failed,) = (plugin for plugin in Registry().load_installed().plugins if not plugin.ok)
    assert (failed.name, "ZeroDivisionError" in failed.reason) == ("two", True)


def test_a_card_that_holds_a_function_is_not_kept(site, capsys):
    site.add("one", factory="lambda options: None")
    site.load(capsys)
    assert site.load(capsys) == ({"one": "first"}, 1)
    assert Registry().load_installed().create("explainer", Ref("one")) is None


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"environment": 1}'])
def test_a_damaged_file_of_cards_is_made_anew(site, capsys, spoilt):
    site.add("one")
    site.load(capsys)
    cards.environment_file("cards").write_text(spoilt)
    assert site.load(capsys) == ({"one": "first"}, 1)
    assert site.load(capsys) == ({"one": "first"}, 0)


def test_a_cache_that_cannot_be_written_harms_nothing(site, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "file"))
    site.add("one")
    assert site.load(capsys) == ({"one": "first"}, 1)
    assert site.load(capsys) == ({"one": "first"}, 1)


def test_an_editable_plugin_is_known_however_its_url_is_spaced(site, capsys):
    site.add("one", editable=True)
    url = site.root / "xcore_one-1.0.dist-info" / "direct_url.json"
    url.write_text('{"url":"file:///x","dir_info":{"editable":true}}')  # as uv writes it
    (site.root / "xcore_one-1.0.dist-info" / "entry_points.txt").write_text("[xcore]\none = pack_one.plugin\n")
    (site.root / "pack_one").mkdir()
    (site.root / "pack_one" / "__init__.py").write_text("")
    (site.root / "pack_one" / "names.py").write_text("SUMMARY = 'first'\n")
    source = LOUD.format(name="one", summary="{}", factory="'nowhere:Nothing'").replace('"{}"', "SUMMARY")
    (site.root / "pack_one" / "plugin.py").write_text(f"from pack_one.names import SUMMARY\n{source}")
    assert site.load(capsys)[0] == {"one": "first"}
    (site.root / "pack_one" / "names.py").write_text("SUMMARY = 'second one'\n")
    for name in [name for name in sys.modules if name.startswith("pack_one")]:
        del sys.modules[name]
    assert site.load(capsys)[0] == {"one": "second one"}


def test_what_changes_while_plugins_load_is_not_kept_as_seen(site, capsys, monkeypatch):
    site.add("one")
    real = module.keep_cards

    def late(*given):
        site.add("two")  # installed between the reading of the entry points and the keeping of the cards
        real(*given)

    monkeypatch.setattr(module, "keep_cards", late)
    site.load(capsys)
    monkeypatch.setattr(module, "keep_cards", real)
    assert site.load(capsys)[0] == {"one": "first", "two": "first"}


def test_sets_and_lists_on_a_card_become_tuples(installed):
    source = GOOD.format(name="one").replace('summary="a method"', 'summary="a method", modalities=["image", "text"]')
    assert installed(("a", "xcore-a", source)).find("explainer", "one")[0].modalities == ("image", "text")


RENDERING = """
from xcore import hookimpl

@hookimpl
def register_renderings(register):
    register("{name}", "nowhere:make", summary="", options={options})
"""


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [("crop", None, "the rendering 'crop' is built in"), ("blur", "'a:B'", "the rendering 'blur' has options")],
)
def test_a_rendering_that_would_never_be_used_as_written_is_refused(installed, name, options, reason):
    reg = installed(("a", "xcore-a", RENDERING.format(name=name, options=options)))
    assert reason in reg.plugins[0].reason
