"""Every field of a cell is on one side or the other: it changes the explanation's identity, or it does not."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

import xcore
from xcore.cards import Card
from xcore.contract import Budget, Cell, Ref, tree_digest
from xcore.registry import Registry
from xcore.store import identity as identities
from xcore.store.identity import Identity, code_digest, core_digest

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
    "split": "train",
    "group": "on water",
}
KEEPS = {"label": "another", "heldout": Ref("other-data")}
BUDGET_CHANGES = {"samples": 7, "steps": 5}
BUDGET_KEEPS = {"heldout": 7}


@pytest.fixture
def registry():
    reg = Registry()
    reg.load_file(Path(__file__).parents[1] / "plugins" / "toy_plugin.py")
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


def test_the_data_that_is_held_out_changes_scores_only(registry, cell):
    identity, changed = Identity(registry), replace(cell, heldout=KEEPS["heldout"])
    assert identity.score(Ref("brightness"), ["a"], changed) != identity.score(Ref("brightness"), ["a"], cell)


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


CORE = Path(xcore.__file__).parent
ROOMS = sorted(path.parent.name for path in CORE.glob("*/__init__.py"))


@pytest.fixture
def core(tmp_path):
    """A copy of the core that may be edited."""
    return Path(shutil.copytree(CORE, tmp_path / "xcore", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_that_results_pass_through_identifies_them(core, room):
    before = core_digest(core)
    for module in sorted((core / room).rglob("*.py")):
        text = module.read_text()
        module.write_text(f"{text}\n# edited")
        assert (core_digest.__wrapped__(core) != before) is (
            room not in ("loading", "report", "ci", "cli", "testing")
        ), module
        module.write_text(text)


def test_a_new_room_counts_without_being_named_anywhere(core):
    before = core_digest(core)
    (core / "loft").mkdir()
    (core / "loft" / "__init__.py").write_text("")
    assert core_digest.__wrapped__(core) != before


def test_what_only_calls_the_rooms_does_not_count(core):
    before = core_digest(core)
    for name in ("api.py", "cards.py", "registry.py", "session.py", "run/suites/default.toml"):
        (core / name).write_text((core / name).read_text() + "\n# edited")
    assert core_digest.__wrapped__(core) == before


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Three plugins: `own` requires `needed`, and `extra` for an extra only. Their names are new for every test."""
    mark = f"{abs(hash(str(tmp_path)))}"
    for name in ("own", "needed", "extra"):
        root = tmp_path / f"{name}_{mark}"
        (root / "deep").mkdir(parents=True)
        (root / "__init__.py").write_text("")
        (root / "method.py").write_text("class Method: ...\n")
        (root / "deep" / "leaf.py").write_text("")
        (root / "table.json").write_text("{}")
        (root / "notes.txt").write_text("")
    asked = {f"own-{mark}": [f"needed_{mark}>=1", f"extra-{mark}; extra == 'more'", "numpy"], f"needed-{mark}": []}
    monkeypatch.setattr(identities, "requires", lambda name: asked.get(name, []))
    monkeypatch.syspath_prepend(tmp_path)
    installed = {f"{name}-{mark}": frozenset([f"{name}_{mark}"]) for name in ("own", "needed", "extra")}
    monkeypatch.setattr(identities, "plugin_packages", lambda: installed)
    card = Card("explainer", "m", f"own_{mark}.method:Method", "", f"own-{mark}", "1")

    def now() -> str:
        identities._package_digest.cache_clear()
        return code_digest(card)

    return tmp_path, mark, now


@pytest.mark.parametrize(
    ("package", "edited", "counts"),
    [
        ("own", "method.py", True),
        ("own", "deep/leaf.py", True),  # imported or not: no closure of imports has to be right
        ("own", "table.json", True),
        ("own", "notes.txt", False),
        ("own", "audit.json", False),
        ("needed", "deep/leaf.py", True),
        ("extra", "method.py", False),
    ],
)
def test_the_tree_of_a_plugin_and_of_those_that_it_requires_identify_it(packages, package, edited, counts):
    root, mark, now = packages
    before = now()
    (root / f"{package}_{mark}" / edited).write_text("# edited")
    assert (now() != before) is counts


def test_the_identity_of_the_core_is_in_that_of_every_component(registry, cell, monkeypatch):
    before = Identity(registry).explanation(cell), Identity(registry).score(Ref("brightness"), ["a"], cell)
    monkeypatch.setattr(identities, "core_digest", lambda: "another core")
    after = Identity(registry).explanation(cell), Identity(registry).score(Ref("brightness"), ["a"], cell)
    assert before[0] != after[0]
    assert before[1] != after[1]


PLUGIN = """
from functools import partial
from xcore import hookimpl

class Method:
    def __init__(self, options, k=0): ...

@hookimpl
def register_explainers(register):
    register("plain", Method, summary="")
    register("partial", partial(Method, k=1), summary="")
"""


@pytest.mark.parametrize("method", ["plain", "partial"])
@pytest.mark.parametrize(
    ("edited", "counts"), [("my-file.v2.py", True), ("beside.py", True), ("deep/leaf.py", True), ("loose/x.py", False)]
)
def test_a_plugin_file_and_the_code_of_its_folder_identify_it(tmp_path, method, edited, counts):
    plugin = tmp_path / "my-file.v2.py"
    plugin.write_text(PLUGIN)
    for name in ("beside.py", "deep/__init__.py", "deep/leaf.py", "loose/x.py"):  # loose is no package
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    def now() -> str:
        identities._folder_digest.cache_clear()
        registry = Registry()
        registry.load_file(plugin)
        return code_digest(registry.find("explainer", method)[0])

    before = now()
    (tmp_path / edited).write_text((tmp_path / edited).read_text() + "\n# edited")
    assert (now() != before) is counts


def test_a_plugin_file_that_names_an_installed_plugin_is_identified_by_its_code_too(tmp_path, packages):
    root, mark, _ = packages
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "mine.py").write_text(f"import own_{mark}\n{PLUGIN}")
    registry = Registry()
    registry.load_file(folder / "mine.py")

    def of_file() -> str:
        identities._package_digest.cache_clear()
        return code_digest(registry.find("explainer", "plain")[0])

    for name in ("own", "needed"):  # `own` requires `needed`
        before = of_file()
        (root / f"{name}_{mark}" / "method.py").write_text(f"# edited {name}")
        assert of_file() != before
