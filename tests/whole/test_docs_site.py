"""The pages as a whole: all are on the site, links lead somewhere, commands exist, and nothing public goes unsaid."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import xcore.contract
from xcore.ci.verdict import Verdict
from xcore.contract import hooks
from xcore.explained import Applied, Explained
from xcore.findings import Column, Finding, Found
from xcore.report.bench_result import BenchResult
from xcore.report.highlighted import HighlightedText, HighlightedTexts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def loaded(name: str, path: Path) -> Any:
    """A file of Python that no package holds."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


docs_blocks = loaded("docs_blocks", Path(__file__).parent / "docs_blocks.py")
stage = loaded("docs_stage", DOCS / "tools" / "stage.py")
PAGES: list[str] = docs_blocks.pages()
WRITTEN = [page for page in PAGES if not page.startswith("reference/cli/")]
"""By hand."""


def in_nav(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for below in entry.values():
            yield from in_nav(below)
    else:
        for below in entry:
            yield from in_nav(below)


def test_the_site_offers_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(in_nav(nav)) == PAGES


def slug(title: str) -> str:
    """The anchor of a heading, as Markdown makes it where the repository is browsed and on the site."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain))


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for link in stage.links((DOCS / page).read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = ((DOCS / page).parent / path).resolve() if path else DOCS / page
        assert target.exists(), f"{page} links to {link}"
        if anchor and target.suffix == ".md":
            text = re.sub(r"^```.*?^```$", "", target.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
            assert anchor in {slug(t) for t in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}, f"{page} links to {link}"


def test_the_site_has_a_page_for_each_file_that_is_linked(tmp_path: Path) -> None:
    """Whatever a staged page links to lies beside it, so that no link leads out of the site."""
    stage.stage(tmp_path / "pages")
    staged = sorted((tmp_path / "pages").rglob("*.md"))
    assert len(staged) > len(PAGES)
    for page in staged:
        for link in stage.links(page.read_text(encoding="utf-8")):
            path = link.partition("#")[0]
            assert (page.parent / path).resolve().is_relative_to(tmp_path), f"{page} links to {link}"
            assert (page.parent / path).is_file() or not path, f"{page} links to {link}"


@pytest.mark.parametrize("file", ["llms.txt", "SKILL.md"])
def test_what_assistants_read_links_to_pages(file: str) -> None:
    links = stage.links((DOCS / file).read_text(encoding="utf-8"))
    assert len(links) >= 3
    assert [link for link in links if not (DOCS / link).is_file()] == []


def test_the_pages_of_commands_say_what_help_says() -> None:
    commands = loaded("docs_commands", DOCS / "tools" / "commands.py")
    assert commands.stale(commands.pages()) == [], "write them anew: make docs-commands"


def shell_lines(page: str) -> list[str]:
    """The commands of a page, or those after `$` in a session; variables that the page sets are filled in."""
    lines, known = [], {}
    for block in docs_blocks.blocks(page):
        if block.kind not in ("", "console"):
            continue
        for line in block.commands:
            if block.kind == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:].partition(";")[0]
            if set_here := re.match(r"([A-Z]+)=(.*)$", line):
                known[set_here[1]] = set_here[2].strip('"')
            for name, value in known.items():
                line = line.replace(f"${name}", value)
            lines.append(line)
    return lines


PROGRAMS = ("xcore", "python", "pip", "make", "pytest", "git", "hf", "apt-get", "dpkg-deb", "trackio", ".", "echo")


@cache
def all_commands() -> Any:
    """Every command, as `--help` reads it; to build them takes longer than to read a page."""
    return loaded("docs_commands", DOCS / "tools" / "commands.py").all_commands()


@pytest.mark.parametrize("page", [page for page in WRITTEN if any(shell_lines(page))])
def test_commands_are_understood(page: str) -> None:
    """Every line is a command; each of xcore exists and has the flags; scripts and targets that are named are there.

    Nothing is run: what runs is in the other tests of the docs, and real models and hours are not at hand here.
    """
    commands = all_commands()
    script = "\n".join(b.text for b in docs_blocks.blocks(page) if b.kind == "")
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for line in shell_lines(page):
        try:
            words = shlex.split(line)
        except ValueError:
            continue  # one line of a text in quotes, which bash has read above
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if not words or words[0].endswith(":"):  # a line of a text in quotes
            continue
        assert words[0] in PROGRAMS, f"{page}: {line!r} is no command: mark the block as text"
        if words[0] == "xcore" and words[1:]:
            parse(commands, words[1:], line)
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), line
        elif words[0] == "make" and len(words) > 1:
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), line


def parse(commands: dict[str, Any], words: list[str], line: str) -> None:
    """Raise if the command line would refuse these words."""
    import click

    if words[0].startswith("-"):
        return
    assert words[0] in commands, f"there is no such command: {line}"
    command, name, rest = commands[words[0]], words[0], words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, name, rest = command.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
    rest = rest[: next((i for i, word in enumerate(rest) if word in (">", "|", "&&", ";")), len(rest))]
    try:
        command.make_context(name, rest)
    except click.exceptions.Exit:
        pass
    except click.ClickException as error:
        pytest.fail(f"{line}: {error.message}")


# ---- the contract ------------------------------------------------------------------------------------------------


def public_types() -> list[type]:
    """The classes that `xcore.contract` exports, data and protocols, and those that calls from a notebook return."""
    names = [n for n in dir(xcore.contract) if not n.startswith("_")]
    found = [getattr(xcore.contract, n) for n in names]
    returned = [BenchResult, Verdict, Explained, Applied, HighlightedTexts, HighlightedText, Finding, Found, Column]
    return [t for t in found if isinstance(t, type) and t.__module__.startswith("xcore.contract.")] + returned


def documented(kind: type) -> dict[str, bool]:
    """Field or method of a public class -> whether its text says what it is.

    Either the docstring of the class, which `help()` shows, says what the field is, or a docstring or a comment beside
    a method what it gives.
    """
    path = Path(str(sys.modules[kind.__module__].__file__))
    text = path.read_text(encoding="utf-8")
    (node,) = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and n.name == kind.__name__]
    about, found = ast.get_docstring(node) or "", {}
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            found[line.target.id] = bool(re.search(rf"^(\w+, )*{line.target.id}(, \w+)*\n    \S", about, re.MULTILINE))
        elif isinstance(line, ast.FunctionDef):
            beside = "#" in "".join(text.splitlines()[line.lineno - 1 : line.end_lineno])
            found[line.name] = bool(ast.get_docstring(line)) or beside
    return {name: said for name, said in found.items() if not name.startswith("_")}


def used_in_tests() -> set[str]:
    """Attributes, keywords and names of functions in tests, conformance tests, and plugins that tests write."""
    found: set[str] = set()
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("plugins/*/*/tests/**/*.py"), *ROOT.glob("xcore/testing/*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "register(" in node.value:
                found |= set(re.findall(r"(\w+)=", node.value))  # a plugin that a test writes
    return found


@pytest.fixture(scope="module")
def tested() -> set[str]:
    return used_in_tests()


@pytest.mark.parametrize("kind", public_types(), ids=lambda t: t.__name__)
def test_every_field_of_a_public_type_is_documented_and_tested(kind: type, tested: set[str]) -> None:
    said = documented(kind)
    if is_dataclass(kind):
        inherited = {name for base in kind.__mro__[1:] for name in getattr(base, "__annotations__", {})}
        assert {f.name for f in fields(kind)} <= set(said) | inherited
    assert [name for name, about in said.items() if not about] == [], "name it under Attributes or Parameters"
    assert sorted(set(said) - tested) == [], "no test uses these"


def test_every_hook_is_documented_and_tested(tested: set[str]) -> None:
    specified = {n for n in vars(hooks) if n.startswith("register_")}
    assert len(specified) >= 10
    for page in ("contract.md", "plugins.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        assert [n for n in sorted(specified) if f"`{n}`" not in text] == [], page
    assert sorted(specified - tested) == []


def test_every_field_of_a_card_is_documented_and_tested(tested: set[str]) -> None:
    text = (DOCS / "plugins.md").read_text(encoding="utf-8") + (DOCS / "contract.md").read_text(encoding="utf-8")
    card = [n for n in hooks.Register.__call__.__annotations__ if n not in ("name", "factory", "return")]
    assert len(card) > 10
    assert [n for n in card if f"`{n}`" not in text] == []
    assert [n for n in card if n not in tested] == []


def test_the_contract_lists_the_public_modules() -> None:
    """Those that plugins may import: what the import rules do not forbid to them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (named,) = re.findall(r"public rooms: xcore itself, (.*)", " ".join(str(rule["name"]) for rule in rules))
    public = re.findall(r"contract|inputs|models|pretrained|session|testing", named.split("Plugins know")[0])
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    assert {f"xcore.{room}" for room in public} | {"xcore"} == set(re.findall(r"^\| `(xcore[.\w]*)` \|", text, re.M))


@pytest.mark.parametrize("room", ["inputs", "models", "pretrained", "testing"])
def test_the_reference_has_every_public_module(room: str) -> None:
    text = (DOCS / "reference" / "api" / f"{room}.md").read_text(encoding="utf-8")
    modules = sorted(p.stem for p in (ROOT / "xcore" / room).glob("*.py") if p.stem != "__init__")
    assert sorted(re.findall(rf"^::: xcore\.{room}\.(\w+)$", text, re.M)) == modules


# ---- blocks of Python ----------------------------------------------------------------------------------------------

RUN_ELSEWHERE = {
    "first-session.md": "test_first_session.py",
    "networks.md": "test_kinds_of_networks.py",
    "trackers.md": "test_tracking.py",
    "tutorial.md": "test_docs_guides.py",
}
"""Page -> the tests that run all of its blocks; those of the guides are in test_docs_guides.py, too."""
PYTHON = [
    block
    for page in WRITTEN
    for block in docs_blocks.blocks(page)
    if block.kind == "python" and page not in RUN_ELSEWHERE and not page.startswith("guides/")
]


@pytest.mark.parametrize("block", PYTHON, ids=lambda b: f"{b.page}:{' '.join(b.text.split()[:3])}")
def test_python_runs_or_says_why_not(block: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a marker is read by Python alone; all other blocks run, in a folder with the first file of the page."""
    code = compile(block.text, block.page, "exec")
    if block.why:
        return
    (first, *_) = [b for b in docs_blocks.blocks("plugins.md") if b.file == "typical.py"]
    (tmp_path / "typical.py").write_text(first.text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "block", type(sys)("block"))
    space: dict[str, Any] = {"__name__": "block", "hookimpl": xcore.contract.hookimpl}
    exec(code, space)
    assert len(space) > 2, "it defines nothing"


def test_the_tests_that_run_blocks_are_there() -> None:
    for test in RUN_ELSEWHERE.values():
        assert list(ROOT.glob(f"tests/**/{test}")), test


@pytest.mark.parametrize("page", sorted({b.page for b in PYTHON if b.why}))
def test_a_reason_names_tests_that_are_there(page: str) -> None:
    for block in docs_blocks.blocks(page):
        for named in re.findall(r"\S+/test\w*\.py", block.why):
            assert (ROOT / named).is_file(), block.why
