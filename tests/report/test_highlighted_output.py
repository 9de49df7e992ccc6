"""Highlighted texts as people get them: from the command line in the terminal, as JSON, and as a page."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from xcore.api import bench, report
from xcore.cli.main import main
from xcore.contract import Concept, Explanation, Ref, Samples
from xcore.interactive import explain
from xcore.registry import load_registry
from xcore.report import PAGE, build, gallery, render
from xcore.report.highlighted import as_plain, from_plain, highlight
from xcore.report.site.run_page import page
from xcore.report.terminal import print_highlighted

WORLD = Path(__file__).parents[1] / "plugins" / "text_plugin.py"
COMMON = {"plugins": [WORLD], "data": "said", "classes": ["negative"], "metrics": ["cost"], "controls": []}
HOSTILE = "</p><script>alert(1)</script> [bold red]dull[/] \x1b[2J & \"dull\" 'a'"


@pytest.fixture
def table(row):
    """A function that makes a table of one text and one concept, all with names that want to break what shows them."""

    def make(text=HOSTILE, name="dull", words=("dull", "<i>bland</i>", '"flat"')):
        explained = Samples("text", (text,), ("said/<0>",))
        concepts = (Concept(name, -0.5, words=words),)
        made = highlight(Explanation("m", "<neg>", "<effect>", concepts, explained=explained))
        names = {"label": "<m>", "classifier": "<net>", "data": "<said>", "class": "<neg>"}
        return build([row(concept=name, words=list(words[1:]), marked=as_plain(made), **names)], {})

    return make


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bench(["finds"], out=tmp_path_factory.mktemp("text") / "run", seeds=[0, 1], **COMMON)


def test_the_terminal_without_colour_has_brackets_and_lists(table, printed):
    lines = printed(table(text="A dull plot. DULL!"), texts=3).splitlines()
    assert "   A [-dull] plot. [-DULL]!" in lines
    assert '     - dull: <i>bland</i>, "flat"' in lines


def test_texts_are_no_markup_and_no_escapes_in_a_terminal(table, printed):
    said = printed(table(), texts=3)
    assert "[bold red][-dull][/] [2J" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(("colour", "bracketed"), [("standard", False), (None, True)])
def test_colour_stands_for_brackets(table, colour, bracketed):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=colour, width=60, no_color=not colour)
    (section,) = table(text="a dull plot").sections
    print_highlighted(section.highlighted[0], 1, console)
    said = console.file.getvalue()
    assert ("[-dull]" in said) == bracketed
    assert ("\x1b[1;4;33mdull\x1b[0m" in said) != bracketed


def test_wide_letters_fit_the_width(table):
    console = Console(file=io.StringIO(), width=40, color_system=None)
    (section,) = table(text="映画は dull です。" * 30).sections
    print_highlighted(section.highlighted[0], 1, console)
    body = [line.rstrip() for line in console.file.getvalue().splitlines() if "映" in line]
    assert len(body) > 3
    assert all(len(line) + sum(ord(c) > 0x2E80 for c in line) <= 40 for line in body)


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.said = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are closed in order"

    def handle_data(self, data):
        self.said += data


def test_a_page_escapes_what_others_wrote(table):
    html = page(table())
    assert html.startswith("<!DOCTYPE html>\n")
    read = Reader(html)
    assert read.open == []
    assert [tag for tag, _ in read.tags if tag in {"script", "i", "link"}] == ["script"], "the one that is ours"
    assert "</p><script>alert(1)</script> [bold red]dull[/] [2J & \"dull\" 'a'" in read.said
    marks = [attrs for tag, attrs in read.tags if tag == "mark" and "title" in attrs]
    assert [m["title"] for m in marks] == ['dull: <i>bland</i>, "flat"'] * 2
    assert all(m["class"] == "w10 against" for m in marks)


def test_a_page_allows_no_other_scripts_and_no_requests(table):
    words = ("dull", '" onmouseover="alert(1)', "{{ 7 * 7 }}", "</style><link href='//a.b'>")
    read = Reader(page(table(text="{% raw %} </title> dull &amp; {{ 7 * 7 }}", words=words)))
    policy = [attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    (rules,) = policy
    digest = "'sha256-[A-Za-z0-9+/]{43}='"
    ours = f"style-src {digest}; script-src {digest}"
    allowed = f"default-src 'none'; img-src data:; {ours}; base-uri 'none'; form-action 'none'"
    assert re.fullmatch(allowed, rules)
    given = {name for _, attrs in read.tags for name in attrs}
    assert not {name for name in given if name.startswith("on") or name in ("style", "srcset", "srcdoc", "action")}
    addresses = [attrs[name] for _, attrs in read.tags for name in ("src", "href") if name in attrs]
    assert all(address.startswith(("#", "data:image/")) for address in addresses)
    titles = {attrs["title"] for tag, attrs in read.tags if tag == "mark" and "title" in attrs}
    assert titles == {f"dull: {', '.join(words[1:])}"}
    for shown in (
        "{% raw %} </title> dull &amp; {{ 7 * 7 }}",
        "<m>, seed 0",
        "<neg> · <net> · data <said>",
        "said/<0>",
    ):
        assert shown in read.said
    assert "(<effect>)" in read.said


def test_concepts_show_their_words_where_they_fit(table, printed):
    assert 'C1 dull: <i>bland</i>, "flat"' in printed(table(), texts=3)
    assert "| C1 dull: bland, flat, slow |" in render(table(words=("dull", "bland", "flat", "slow", "grey")), "md")
    long = tuple("abcdefghij" * 4 for _ in range(2))
    assert "| C1 dull |" in render(table(words=("dull", *long)), "md")
    fits = render(table(words=("dull", "bland", "abcdefghij" * 4)), "md")
    assert "| C1 dull: bland |" in fits


def test_the_run_has_the_highlighted_texts_as_data(run):
    first, second = run.rows[0], run.rows[1]
    assert first["words"] == ["bland", "dull", "uninspired", "flat"]
    assert "marked" not in second
    texts = {t["id"]: t for t in first["marked"]["texts"]}
    one = texts["said/explain/0"]
    assert one["text"] == "A lackluster plot; LACKLUSTER acting."
    assert [(m["start"], m["end"], m["concept"], m["strength"]) for m in one["marks"]] == [
        (2, 12, 0, 2.0),
        (19, 29, 0, 2.0),
    ]
    assert one["probability"] == pytest.approx(1 / (1 + 2.718281828 ** (-8)), abs=1e-6)
    assert [entry["name"] for entry in one["lists"]] == ["lackluster"]
    plain = json.loads((run.path / "table.json").read_text("utf-8"))
    (section,) = plain["sections"]
    assert [s["seed"] for s in section["marked"]] == [0, 1]
    assert from_plain({k: v for k, v in section["marked"][0].items() if k not in ("label", "seed")}).of == 5
    assert section["rows"][0]["words"] == {"lackluster": ["bland", "dull", "uninspired", "flat"]}


def test_the_run_has_a_page_and_pictures(run):
    html = (run.path / PAGE).read_text("utf-8")
    assert html.count('<article class="text">') == 10
    assert Reader(html).open == []
    assert len(list(run.path.glob("explanations/*/marked.png"))) == 2
    assert len(list(run.path.glob("explanations/*/marked.json"))) == 2


def test_tables_name_lists_and_combine_by_name(run):
    (section,) = run.table.sections
    assert section.rows[0].names == {"lackluster": 2}
    assert "C1 lackluster: bland, dull, uninspired" in (run.path / "table.md").read_text("utf-8")
    with open(run.path / "table.csv", newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert (first["concept"], first["words"]) == ("lackluster", "bland, dull, uninspired, flat")
    assert "held-out texts 5" in render(run.table, "md")


def test_a_report_shows_the_same(run):
    before = {name: (run.path / name).read_bytes() for name in (PAGE, "table.md", "table.json")}
    report(run.path)
    assert {name: (run.path / name).read_bytes() for name in before} == before


def command(tmp_path, monkeypatch, *more: str) -> None:
    words = ["explain", "finds", "--plugin", str(WORLD), "--data", "said", "--class", "negative"]
    monkeypatch.setattr("sys.argv", ["xcore", *words, "--out", str(tmp_path / "run"), *more])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code


def test_explain_prints_highlighted_texts_and_lists(tmp_path, monkeypatch, capsys):
    command(tmp_path, monkeypatch)
    said = capsys.readouterr().out
    assert "   A [+lackluster] plot; [+LACKLUSTER] acting." in said
    assert "   It is [-brilliant], not [+tedious]." in said
    assert "     + lackluster: bland, dull, uninspired, flat" in said
    assert re.search(r"^\d+ +brilliant +-1.50$", said, re.M)
    assert f"page      {tmp_path / 'run' / PAGE}\n" in said
    assert len(re.findall(r"^ said/explain/", said, re.M)) == 3


def test_explain_prints_as_many_texts_as_asked(tmp_path, monkeypatch, capsys):
    command(tmp_path, monkeypatch, "--texts", "0")
    assert "said/explain/" not in capsys.readouterr().out


def test_explain_as_json(tmp_path, monkeypatch, capsys):
    command(tmp_path, monkeypatch, "--json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert from_plain(rows[0]["marked"]).found == 3
    assert rows[1]["words"] == []


def test_a_live_explanation_shows_itself():
    registry = load_registry([WORLD])
    texts = registry.create("dataset", Ref("said")).samples("negative", "explain", 5, 0)
    classifier = registry.create("classifier", Ref("counting"))
    made = explain("finds", classifier, texts, target="negative", registry=registry)
    assert made.explained is not None
    assert made.explained.texts == texts.texts
    assert (gallery(made) or b"").startswith(b"\x89PNG")
