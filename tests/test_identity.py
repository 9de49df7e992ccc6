"""Every field of a cell is on one side or the other: it changes the explanation's identity, or it does not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from xcore import identity as identities
from xcore.identity import Identity, card_digest, tree_digest
from xcore.registry import Card, Registry
from xcore.types import Budget, Cell, Ref

CHANGES = {
    "method": Ref("crash"),
    "classifier": Ref("other-net"),
    "data": Ref("other-data"),
    "cls": "green",
    "seed": 1,
    "data_seed": 1,
    "layer": "2",
    "generator": Ref("painter2"),
    "contrast": Ref("other-data"),
    "models": {"vqa": Ref("asker2")},
    "budget": Budget(samples=7),
}
KEEPS = {"label": "another"}
BUDGET_CHANGES = {"samples": 7, "steps": 5}
BUDGET_KEEPS = {"heldout": 7}


@pytest.fixture
def registry():
    reg = Registry()
    reg.load_file(Path(__file__).parent / "toy_plugin.py")
    for kind, name in (
        ("classifier", "other-net"),
        ("dataset", "other-data"),
        ("generator", "painter"),
        ("generator", "painter2"),
        ("model", "asker"),
        ("model", "asker2"),
    ):
        reg._cards[kind, name] = [Card(kind, name, "toy_plugin:x", "", "toy", "1", role="vqa")]
    card = reg._cards["explainer", "toy"][0]
    for name in ("toy", "crash"):
        reg._cards["explainer", name] = [replace(card, name=name, needs=("generator",), uses=("vqa",))]
    return reg


@pytest.fixture
def cell():
    models = {"vqa": Ref("asker")}
    return Cell("toy", Ref("toy"), Ref("toy-net"), Ref("toy"), "red", 0, generator=Ref("painter"), models=models)


def test_every_field_is_classified():
    assert {f.name for f in fields(Cell)} == {*CHANGES, *KEEPS}
    assert {f.name for f in fields(Budget)} == {*BUDGET_CHANGES, *BUDGET_KEEPS}


@pytest.mark.parametrize("name", CHANGES)
def test_fields_that_change_the_explanation(registry, cell, name):
    identity = Identity(registry)
    assert identity.explanation(replace(cell, **{name: CHANGES[name]})) != identity.explanation(cell)


@pytest.mark.parametrize("name", KEEPS)
def test_fields_that_do_not(registry, cell, name):
    identity = Identity(registry)
    assert identity.explanation(replace(cell, **{name: KEEPS[name]})) == identity.explanation(cell)


def test_budget_fields(registry, cell):
    identity = Identity(registry)
    for name, value in BUDGET_CHANGES.items():
        changed = replace(cell, budget=replace(cell.budget, **{name: value}))
        assert identity.explanation(changed) != identity.explanation(cell)
    for name, value in BUDGET_KEEPS.items():
        changed = replace(cell, budget=replace(cell.budget, **{name: value}))
        assert identity.explanation(changed) == identity.explanation(cell)
        metric = Ref("brightness")
        assert identity.score(metric, ["a"], changed) != identity.score(metric, ["a"], cell)


def test_what_a_method_does_not_use_does_not_identify_it(registry, cell):
    card = registry._cards["explainer", "toy"][0]
    registry._cards["explainer", "toy"] = [replace(card, needs=(), uses=())]
    identity = Identity(registry)
    for name in ("generator", "models"):
        assert identity.explanation(replace(cell, **{name: CHANGES[name]})) == identity.explanation(cell)


def test_tree_digest_sees_names_and_contents(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = tree_digest(tmp_path)
    (tmp_path / "a.py").write_text("22")
    second = tree_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, tree_digest(tmp_path)}) == 3


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("method.py", True),
        ("late.py", True),  # imported inside a function
        ("deep/leaf.py", True),  # by a relative import of an imported module
        ("deep/__init__.py", True),
        ("options.py", True),
        ("named.py", True),  # in a string, as cards name components
        ("loaded.py", True),  # by importlib
        ("table.json", True),
        ("stranger.py", False),
        ("notes.txt", False),
    ],
)
def test_code_that_a_card_imports_identifies_it(tmp_path, monkeypatch, edited, counts):
    package = f"closure_{edited.translate(str.maketrans('/.', '__'))}"
    root = tmp_path / package
    (root / "deep").mkdir(parents=True)
    sources = {
        "__init__.py": "",
        "method.py": f"from {package} import deep\ndef run():\n    import {package}.late\n"
        f"    return resolve('{package}.named:Thing'), import_module('.loaded', __package__)\n",
        "late.py": "import math\n",
        "deep/__init__.py": "from .leaf import x\n",
        "deep/leaf.py": "x = 1\n",
        "options.py": "y = 1\n",
        "named.py": "class Thing: ...\n",
        "loaded.py": "",
        "stranger.py": "z = 1\n",
        "table.json": "{}",
        "notes.txt": "",
    }
    for name, text in sources.items():
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    card = Card("explainer", "m", f"{package}.method:Run", "", "d", "1", options=f"{package}.options:Options")
    before = card_digest(card)
    (root / edited).write_text(sources[edited] + "\n# edited")
    identities._code_digest.cache_clear()
    assert (card_digest(card) != before) is counts


PLUGIN = """
from functools import partial
import {name}_beside
from xcore import hookimpl

class Method:
    def __init__(self, options, k=0): ...

@hookimpl
def register_explainers(register):
    register("plain", Method, summary="")
    register("partial", partial(Method, k=1), summary="")
"""


@pytest.mark.parametrize("method", ["plain", "partial"])
@pytest.mark.parametrize("edited", ["my-{name}.v2.py", "{name}_beside.py", "{name}_deep/leaf.py", None])
def test_a_plugin_file_and_what_it_imports_from_its_folder_identify_it(tmp_path, monkeypatch, method, edited):
    name = f"file_{method}_{len(edited or '')}"
    plugin = tmp_path / f"my-{name}.v2.py"
    plugin.write_text(PLUGIN.format(name=name))
    (tmp_path / f"{name}_beside.py").write_text(f"import {name}_deep.leaf")
    (tmp_path / f"{name}_deep").mkdir()
    (tmp_path / f"{name}_deep" / "leaf.py").write_text("")
    (tmp_path / "stranger.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def now() -> str:
        identities._code_digest.cache_clear()
        registry = Registry()
        registry.load_file(plugin)
        return card_digest(registry.find("explainer", method)[0])

    before = now()
    changed = tmp_path / (edited or "stranger.py").format(name=name)
    changed.write_text(changed.read_text() + "\n# edited")
    assert (now() != before) is bool(edited)


def test_a_module_of_a_namespace_package_is_found_in_each_of_its_folders(tmp_path, monkeypatch):
    for part in ("one", "two"):
        (tmp_path / part / "spaced" / part).mkdir(parents=True)
        (tmp_path / part / "spaced" / part / "method.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / part)
    for part in ("one", "two"):
        card = Card("explainer", "m", f"spaced.{part}.method:Run", "", "d", "1")
        before = card_digest(card)
        (tmp_path / part / "spaced" / part / "method.py").write_text("# edited")
        identities._code_digest.cache_clear()
        assert card_digest(card) != before
