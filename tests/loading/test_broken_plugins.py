"""Plugins that are broken on purpose: each is told by the message that is meant for it, and harms nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from xcore.cards import Card
from xcore.contract import MissingError, UsageError
from xcore.loading.rules import CHECKS, FIELDS
from xcore.registry import KINDS, Registry
from xcore.run.plan import load_suite, make_plan

HEAD = "from xcore import hookimpl\n"
MARKED = HEAD + "@hookimpl\ndef "
HOOK = HEAD + "@hookimpl\ndef register_{kind}s(register):\n    " + 'register("fine", "nowhere:It", summary="x"{role})\n'


def of_card(call: str, kind: str = "explainer") -> str:
    """A plugin with a card that is fine and another one that may not be."""
    role = ', role="segmenter"' if kind == "model" else ""
    return HOOK.format(kind=kind, role=role) + f"    {call}\n"


def field(text: str, kind: str = "explainer") -> str:
    return of_card(f'register("bad", "nowhere:Nothing", summary="x", {text})', kind)


CARDS = {
    "misspelt need": (field('needs=("gradient",)'), "unknown value of needs 'gradient' (did you mean 'gradients'?)"),
    "need as a string": (field('needs="gradient"'), "needs is the string 'gradient' (write needs=('gradients',))"),
    "modality as a string": (field('modalities="image"'), "write modalities=('image',)"),
    "unknown modality": (field('modalities=("images",)'), "did you mean 'image'?"),
    "another name of a field": (field('kinds="image"'), "unknown field 'kinds' (did you mean 'modalities'?)"),
    "misspelt field": (field('option="a:B"'), "unknown field 'option' (did you mean 'options'?)"),
    "role as a string": (field('uses="segmenter"'), "uses is the string 'segmenter' (write uses=('segmenter',))"),
    "role with a blank": (field('uses=("image text?",)'), "write 'image-text'"),
    "name with a blank": (of_card('register("my method", "a:B", summary="x")'), "write 'my-method'"),
    "name with a colon": (of_card('register("my:method", "a:B", summary="x")'), "write 'my-method'"),
    "name that is no string": (of_card('register(3, "a:B", summary="x")'), "name is 3 (write a string such as 'mine')"),
    "no factory": (of_card('register("bad", summary="x")'), "factory is missing"),
    "factory without a colon": (of_card('register("bad", "a.b.C", summary="x")'), "write factory='a.b:C'"),
    "no summary": (of_card('register("bad", "a:B")'), "summary is missing (write summary='what it does')"),
    "summary of two lines": (of_card(r'register("bad", "a:B", summary="a\nb")'), "write one line of text"),
    "summary by its place": (of_card('register("bad", "a:B", "does it")'), "write summary='...'"),
    "options without a colon": (field('options="a.options.Mine"'), "write options='a.options:Mine'"),
    "a word for a flag": (field('role="vqa", default="yes"', "model"), "write default=True"),
    "a model without a role": (field("paper=None", "model"), "role is missing"),
    "a field of another kind": (field('across=("seed",)'), "across is for metrics (leave it out)"),
    "a question that nobody asks": (field('question="name"'), "unknown question 'name' (did you mean 'named'?"),
    "a share above one": (field("measured=(90, 5)"), "measured is (90, 5) (write two shares from 0 to 1"),
    "one family as a string": (field('covers="one"'), "covers is the string 'one' (write covers=('one',))"),
    "unknown axis": (
        of_card('register("bad", "a:B", summary="", across=("seeds",))', "metric"),
        "did you mean 'seed'?",
    ),
    "a rendering that is built in": (of_card('register("crop", "a:B", summary="")', "rendering"), "is built in"),
    "api of another type": (field('api="1"'), "write api=1, or api=(1, 2) for a range"),
    "api of the future": (field("api=(2, 3)"), "was written for api 2 to 3, this is api 1 (install a newer xcore-xai)"),
    "registered twice": (of_card('register("fine", "a:B", summary="x")'), "it is registered twice by one plugin"),
}
"""What is wrong with a card -> the plugin, and what is said of the card."""
MODULES = {
    "no hooks": ("X = 1\n", "it has no hooks, so it offers nothing (write @hookimpl above def register_explainers"),
    "forgotten hookimpl": ("def register_explainers(register): ...\n", "register_explainers is not marked as a hook"),
    "misspelt hook": (
        MARKED + "register_explainer(register): ...\n",
        "did you mean 'register_explainers'?",
    ),
    "wrong argument": (MARKED + "register_metrics(reg): ...\n", "write def register_metrics(register)"),
    "two arguments": (
        MARKED + "register_metrics(register, y): ...\n",
        "register_metrics takes (register, y)",
    ),
    "raises on import": ("x = 1\nraise RuntimeError('boom')\n", "RuntimeError: boom, at {module}.py:2"),
    "raises in a hook": (of_card("1 / 0"), "ZeroDivisionError: division by zero, at {module}.py:5"),
    "syntax error": ("def f(:\n", "SyntaxError"),
    "missing library": ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
    "leaves": ("import sys; sys.exit(3)\n", "SystemExit: 3"),
    "no Exception": ("raise BaseException('odd')\n", "BaseException: odd"),
    "cannot say it": (
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute\n",
        "Mute, at {module}.py:3",
    ),
    "says nothing": ("raise ValueError\n", "ValueError, at {module}.py:1"),
    "pressed Ctrl-C": ("raise KeyboardInterrupt\n", "it raises KeyboardInterrupt"),
    "ends its process": ("import os; os._exit(7)\n", "it ended the process in which it was loaded (exit code 7)"),
    "kills its process": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n",
        "it ended the process in which it was loaded (signal SIGKILL)",
    ),
    "never comes back": (
        "import time\nopen(__file__ + '.begun', 'a').write('x')\nwhile True: time.sleep(1)\n",
        "it was still loading after 8 seconds (XCORE_LOAD_SECONDS gives it more",
    ),
}
"""What is wrong with a module -> its source, and why it failed to load."""


def install(folder: Path, name: str, source: str) -> None:
    module = f"broken_{name.replace(' ', '_').replace('-', '_')}"
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[xcore]\n{module} = {module}\n")
    (about / "RECORD").write_text(f"{module}.py,,\n")
    (folder / f"{module}.py").write_text(source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All of them, installed beside our own plugins."""
    made = tmp_path_factory.mktemp("broken")
    for name, (source, _) in {**CARDS, **MODULES}.items():
        install(made, name, source)
    return made


@pytest.fixture(scope="module")
def shell(folder, tmp_path_factory):
    """Runs `xcore` where they are installed; the cache stays between calls."""
    cache = tmp_path_factory.mktemp("cache")

    def run(*command):
        env = {**os.environ, "PYTHONPATH": str(folder), "XCORE_CACHE": str(cache), "XCORE_LOAD_SECONDS": "8"}
        env.pop("XCORE_PLUGINS", None)
        line = [sys.executable, "-m", "xcore", *command]
        return subprocess.run(line, env=env, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture(scope="module")
def told(shell):
    """Module -> what `xcore plugins --json` says of it."""
    done = shell("plugins", "--json", "--strict")
    assert done.returncode == 1
    return {plugin["plugin"]: plugin for plugin in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CARDS)
def test_a_bad_card_is_told_and_its_neighbour_stays(told, name):
    plugin = told[f"broken_{name.replace(' ', '_')}"]
    assert plugin["ok"], plugin["reason"]
    assert plugin["components"] == ["fine"]
    (text,) = plugin["left_out"]
    assert CARDS[name][1] in text


@pytest.mark.parametrize("name", MODULES)
def test_a_plugin_that_fails_is_told(told, name):
    module = f"broken_{name.replace(' ', '_').replace('-', '_')}"
    assert told[module]["components"] == []
    assert MODULES[name][1].format(module=module) in told[module]["reason"]


def test_no_two_are_told_by_the_same_message(told):
    said = [p["reason"] or p["left_out"][0] for name, p in told.items() if name.startswith("broken_")]
    assert len(set(said)) == len(said) == len(CARDS) + len(MODULES)


def test_the_list_shows_all_others_and_does_not_wait_again(told, shell, folder):
    done = shell("list", "explainers")
    assert done.returncode == 0
    assert " craft " in done.stdout
    assert f"{len(MODULES)} plugin(s) failed to load" in done.stderr
    assert f"{len(CARDS)} component(s) are left out" in done.stderr
    assert (folder / "broken_never_comes_back.py.begun").read_text() == "x"


# -- a stranger ------------------------------------------------------------------------------------------------------
STRANGER = HEAD + (
    "@hookimpl\ndef register_explainers(register):\n"
    '    register("craft", "nowhere:Nothing", summary="not ours", uses=("segmentr",))\n'
    '@hookimpl\ndef register_metrics(register):\n    register("TS", "nowhere:Nothing", summary="not ours")\n'
)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    install(tmp_path / "site", "stranger", STRANGER)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))
    return Registry().load_installed()


def test_a_stranger_of_the_same_name_does_not_stop_the_default_suite(stranger):
    with pytest.raises(UsageError, match="offered by two plugins"):
        stranger.find("explainer", "craft")
    plan = make_plan(load_suite("default"), stranger)
    methods = {cell.label: cell.method.text for cell in plan.cells}
    assert (methods["craft"], methods["rlpo"]) == ("xcore-craft/craft", "rlpo")
    assert [metric.text for metric in plan.metrics][:2] == ["xcore-tcav/TS", "CS"]


def test_its_names_are_marked_and_a_role_that_looks_misspelt_is_told(stranger):
    card, _ = stranger.find("explainer", "broken-stranger/craft")
    assert [other.distribution for other in stranger.clashes(card)] == ["xcore-craft"]
    (doubt,) = stranger.doubts(card)
    assert doubt.endswith("uses 'segmentr', a role that no model plays; did you mean 'segmenter'?")
    ours = [card for card in stranger.cards() if card.distribution.startswith("xcore-")]
    assert not [doubt for card in ours for doubt in stranger.doubts(card)]


@pytest.mark.parametrize(
    ("wanted", "there", "gone"),
    [
        ("-xcore-craft", {"xcore-rlpo", "broken-stranger"}, {"xcore-craft"}),
        ("xcore-craft, broken_stranger", {"xcore-craft", "broken-stranger"}, {"xcore-rlpo"}),
        ("craft,-craft", set(), {"xcore-craft", "xcore-rlpo"}),
    ],
)
def test_plugins_are_chosen_by_distribution_and_by_entry_point(stranger, monkeypatch, wanted, there, gone):
    monkeypatch.setenv("XCORE_PLUGINS", wanted)
    found = {plugin.distribution for plugin in Registry().load_installed().plugins}
    assert there <= found
    assert not gone & found


def test_an_unknown_plugin_is_told(stranger, monkeypatch):
    monkeypatch.setenv("XCORE_PLUGINS", "-xcore-carft")
    with pytest.raises(UsageError, match=r"unknown plugin 'xcore-carft' \(did you mean 'xcore-craft'\?"):
        Registry().load_installed()


# -- the contract ----------------------------------------------------------------------------------------------------
def test_every_field_of_a_card_is_checked():
    assert {*CHECKS} == {field.name for field in fields(Card)} - {"kind", "distribution", "version"}
    assert {*FIELDS} == {*CHECKS, "api"}


LATER = ("question", "limits", "covers", "measured")
"""Fields that cards have got since."""
OLD = Path(__file__).parent / "plugin_of_api_1.py"


def test_a_plugin_of_api_1_loads_as_it_was_written():
    made = Registry()
    made.load_file(OLD)
    cards = {(card.kind, card.name): card for card in made.cards() if card.distribution == OLD.stem}
    assert len(cards) == 12
    assert {kind for kind, _ in cards} == set(KINDS)
    card = cards["explainer", "old"]
    assert card.uses == ("segmenter", "vqa?", "generator", "palette")
    assert card.modalities == ("image", "text")
    assert cards["model", "old-two"].roles == ("vqa", "captioner")
    assert cards["metric", "Old-1"].across == ("seed", "classifier")
    text = OLD.read_text()
    assert not [field for field in FIELDS if field not in ("name", "factory", *LATER) and f"{field}=" not in text]


@pytest.mark.parametrize("api", [1, (1, 1), (1, 7)])
def test_a_range_that_holds_this_api_is_taken(api):
    from xcore import hookimpl

    class Plugin:
        @hookimpl
        def register_explainers(self, register):
            register("it", "a:B", summary="", api=api)

    made = Registry()
    made.add(Plugin(), "ranged", "2.0")
    assert made.find("explainer", "it")[0].version == "2.0"


def test_a_plugin_that_is_added_by_hand_has_to_be_whole():
    from xcore import hookimpl

    class Plugin:
        @hookimpl
        def register_explainers(self, register):
            register("good", "a:B", summary="")
            register("bad", "a:B")

    made = Registry()
    with pytest.raises(UsageError, match="plugin 'mine' failed to load: explainer 'bad': summary is missing"):
        made.add(Plugin(), "mine")
    with pytest.raises((MissingError, UsageError), match="unknown method 'good'"):
        made.find("explainer", "good")
