"""Findings of commands: kept once, found again, shown as a table with pictures, and called from Python."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

import xcore
from xcore import findings
from xcore.cli.main import main
from xcore.contract import UsageError
from xcore.session import Column, Found, open_session, publish, write_tables

ABOUT = {
    "plugins": [Path(__file__).parent / "plugins" / "toy_plugin.py"],
    "data": "toy",
    "classes": ["red"],
    "set": {},
}
FOUND = Found(
    title="two words",
    columns=(
        Column("word", "Word", ""),
        Column("class", "Class", ""),
        Column("share", "Share", "of the images, in [0, 1]", 2),
        Column("used", "Used", "whether the class uses it"),
        Column("p", "p", "", shown=False),
    ),
    rows=(
        {"word": "stripes | bars", "class": "zebra", "share": 0.126, "used": True, "p": 1e-9},
        {"word": "sand", "class": "zebra", "share": None, "used": False, "p": float("nan")},
    ),
    notes=("a note",),
)


def keep(tmp_path, found=FOUND, about=None, identity=None, made=None):
    def make(folder):
        (folder / "bars.png").write_bytes(b"picture")
        if made is not None:
            made.append(folder)
        return found

    return findings.keep(tmp_path, "words", about or {"class": "zebra"}, identity or {"code": "1"}, make)


def test_a_question_is_answered_once_and_a_change_of_what_it_depends_on_asks_again(tmp_path):
    made: list[object] = []
    first, again = keep(tmp_path, made=made), keep(tmp_path, made=made)
    assert (len(made), first.cached, again.cached) == (1, False, True)
    assert replace(again, cached=False) == first
    keep(tmp_path, made=made, about={"class": "horse"})
    keep(tmp_path, made=made, identity={"code": "2"})
    assert len(made) == 3


def test_a_finding_that_failed_leaves_nothing(tmp_path):
    def broken(folder):
        (folder / "bars.png").write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        findings.keep(tmp_path, "words", {}, {}, broken)
    assert not [p for p in (tmp_path / "findings").iterdir() if p.is_dir()]
    with pytest.raises(UsageError, match=r"a picture that it did not draw: 'gone\.png'"):
        keep(tmp_path, replace(FOUND, pictures={"gone.png": "nothing"}))


def test_the_table_shows_what_is_meant_for_people_and_the_file_everything(tmp_path, capsys):
    finding = keep(tmp_path, replace(FOUND, pictures={"bars.png": "a bar for each word"}))
    text = finding.to_markdown()
    assert "| stripes \\| bars | zebra | 0.13 | yes |" in text
    assert "| sand | zebra |  | no |" in text
    assert "Share: of the images, in [0, 1]" in text.replace("\\", "")
    assert "- a note" in text
    assert (finding.folder / "table.md").read_text() == text
    rows = list(csv.DictReader((finding.folder / "table.csv").open()))
    assert rows[0] == {"word": "stripes | bars", "class": "zebra", "share": "0.126", "used": "True", "p": "1e-09"}
    assert finding.to_pandas()["share"].tolist()[0] == 0.126
    finding.show()
    assert "0.13" in capsys.readouterr().out
    html = finding._repr_html_()
    assert 'alt="a bar for each word"' in html
    assert "stripes | bars" in html
    paths = write_tables(tmp_path, [finding, finding])
    assert [p.name for p in paths] == ["words.md", "words.csv"]
    assert paths[0].read_text().count("![a bar for each word](findings/words.") == 2
    assert len(paths[1].read_text().splitlines()) == 5


@pytest.mark.parametrize("as_json", [False, True])
def test_with_json_only_the_rows_are_on_stdout(tmp_path, capsys, as_json):
    finding = keep(tmp_path, replace(FOUND, pictures={"bars.png": "a bar for each word"}))
    publish([finding], tmp_path, as_json)
    out, err = capsys.readouterr()
    saved = [f"saved {p}" for p in (tmp_path / "words.md", tmp_path / "words.csv", finding.folder / "bars.png")]
    if as_json:
        assert [json.loads(line) for line in out.splitlines()] == [dict(row) for row in finding.rows]
        assert err.splitlines() == ["a note", *saved]
    else:
        assert out.splitlines()[-3:] == saved
        assert not err


def test_a_damaged_finding_is_told_and_found_again(tmp_path, capsys):
    first = keep(tmp_path)
    (first.folder / "record.json").write_text(json.dumps({"command": "words"}))
    again = keep(tmp_path)
    assert "record.json is damaged: its checksum is wrong" in capsys.readouterr().err
    assert not again.cached
    assert again.rows == first.rows
    (first.folder / "sums.json").unlink()  # as of an older version
    (first.folder / "record.json").write_text(json.dumps({"command": "words"}))
    with pytest.raises(UsageError, match=r"record\.json"):
        keep(tmp_path)


PLUGIN = '''
from xcore import hookimpl

@hookimpl
def register_commands(register):
    register("count", app, summary="counts", call=f"{__name__}:count")

def count(cls, n=1):
    return [cls] * n

import typer
app = typer.Typer()

@app.command()
def command(cls: str, n: int = 1) -> None:
    """Counts."""
    print(count(cls, n))
'''


def test_a_typer_app_with_one_command_is_that_command_and_a_function_of_xcore(tmp_path, monkeypatch, capsys):
    (tmp_path / "counting.py").write_text(PLUGIN.replace('f"{__name__}:count"', '"counting:count"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    from xcore.cards import Card
    from xcore.registry import Registry

    card = Card("command", "count", "counting:app", "counts", "x", "1", call="counting:count")
    monkeypatch.setattr(Registry, "cards", lambda self, kind=None: iter([card]))
    monkeypatch.setattr(sys, "argv", ["xcore", "count", "zebra", "--n", "2"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().out == "['zebra', 'zebra']\n"
    assert xcore.count("red", 3) == ["red"] * 3
    del xcore.count
    with pytest.raises(AttributeError, match="no attribute 'cuont'"):
        xcore.cuont  # noqa: B018


def test_a_session_keeps_findings_by_cell_components_and_code(tmp_path):
    made = []

    def find(session, cell, out):
        def make(folder):
            made.append(cell.cls)
            return FOUND

        return session.finding("texplain", {"n": 1}, cell, make, out=out)

    for _ in range(2):
        with open_session(["toy"], ABOUT, tmp_path / "work") as session:
            finding = find(session, session.cells[0], tmp_path)
    assert (made, finding.cached) == (["red"], True)
    assert finding.about["class"] == "red"


def test_one_class_that_fails_loses_no_other_and_its_reason_is_told_at_the_end(tmp_path, capsys):
    kept, warned = keep(tmp_path), []

    def fails(error):
        raise error

    asked = [("horse", lambda: fails(UsageError("no image", "add\nsome"))), ("zebra", lambda: kept)]
    found = findings.each([*asked, ("cow", lambda: fails(KeyError("x")))], warned.append)
    assert list(found) == [kept]
    assert [f.what for f in found.failed] == ["horse", "cow"]
    assert warned == [str(f) for f in found.failed]
    assert warned[1] == "cow failed: KeyError: 'x'"
    with pytest.raises(typer.Exit) as left:
        publish(found, tmp_path, as_json=True)
    assert left.value.exit_code == 1
    told = capsys.readouterr()
    assert [json.loads(line)["word"] for line in told.out.splitlines()] == ["stripes | bars", "sand"]
    assert told.err.splitlines()[-3:] == [*warned, "2 failed; the same command tries what failed again"]
    with pytest.raises(UsageError, match="no image"):
        findings.each(asked[:1], warned.append)
    with pytest.raises(KeyboardInterrupt):
        findings.each([("zebra", lambda: kept), ("cow", lambda: fails(KeyboardInterrupt()))], warned.append)
    both = findings.Findings([kept])
    both.add(found)
    assert (len(both), len(both.failed)) == (2, 2)
