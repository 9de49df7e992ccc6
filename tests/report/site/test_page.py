"""The page as a document: what it says of a run, how large it may be, and what becomes of damage."""

from __future__ import annotations

import html
import json
import re

import pytest
from PIL import Image

from xcore.api import report
from xcore.cli.main import main
from xcore.contract import Cell, Outcome, Ref
from xcore.report import PAGE, build
from xcore.report.site import run_page
from xcore.report.site.classes import PageCell
from xcore.report.site.found import findings
from xcore.report.site.run_page import LEVELS, page
from xcore.report.small_pictures import GALLERY_FILE, read_gallery


@pytest.fixture(scope="module")
def said(run):
    """The text of the page, without tags."""
    text = (run.path / PAGE).read_text("utf-8")
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text[text.index("<main") :])).split())


def test_the_page_answers_in_one_sentence_a_method(said):
    assert "Which concepts do full, crash and skip find behind red and green in toy-net" in said
    assert "full of its 6 first concepts, 2 raise their class more than random concepts do in every seed" in said
    assert "2 lower it and 2 are not shown to matter" in said
    assert "skip found no concept; 4 of its 4 cells gave no explanation." in said
    assert "raises the class" in said
    assert "lowers the class" in said
    assert "not shown to matter" in said


def test_the_page_tells_failures_with_their_tracebacks(said):
    assert "crash, red in toy-net, seed 1 : failed: ValueError: seed 1 is unlucky" in said
    assert 'raise ValueError("seed 1 is unlucky\\nand this line is not shown")' in said
    assert "skip, green in toy-net, seed 0 : skipped: not for this model" in said


def test_the_page_tells_where_the_run_comes_from(said, run):
    about = json.loads((run.path / "run.json").read_text("utf-8"))
    for text in (about["python"], about["numerics"]["versions"]["torch"], *about["code"].values()):
        assert text in said
    records = [path.name for path in (run.path / "explanations").iterdir()]
    assert len(records) == 12
    assert all(name in said for name in records)


def test_the_page_has_trajectories_clouds_and_curves(run):
    text = (run.path / PAGE).read_text("utf-8")
    assert text.count("data:image/svg+xml;base64,") == 4
    assert "predicted at step 0: red," in text
    assert text.count('<svg class="curve"') == 8, "for each of 4 explanations the drawings, and the steps of the search"
    assert text.count('class="changed"') == 4


def test_a_report_writes_the_same_page(run):
    before = (run.path / PAGE).read_bytes()
    report(run.path)
    assert (run.path / PAGE).read_bytes() == before


def test_a_run_that_is_not_finished_says_so(row):
    cell = Cell("rlpo", Ref("rlpo"), Ref("minizoo/clean"), Ref("minizoo"), "zebra", 1)
    waits = PageCell(Outcome(cell, "pending", "", "not done yet"), {}, None)
    assert "1 of 1 cells is not done yet" in page(build([row()], {}), [row()], [waits])


def test_a_page_of_many_pictures_shows_fewer_and_says_so(run, monkeypatch):
    whole = (run.path / PAGE).read_text("utf-8")
    assert "stays below 20 MB" not in whole
    monkeypatch.setattr(run_page, "LIMIT", 60_000)
    report(run.path)
    small = (run.path / PAGE).read_text("utf-8")
    pictures = sum(map(len, re.findall(r'data:image/[^")]*', small)))
    assert pictures < 60_000
    assert "So that this file stays below 20 MB, it has" in small
    monkeypatch.undo()
    report(run.path)
    assert (run.path / PAGE).read_text("utf-8") == whole


def test_levels_grow_smaller():
    sizes = [(level.all_seeds, level.concepts * level.tiles * (3 if level.all_seeds else 1)) for level in LEVELS]
    assert LEVELS[-1].concepts == 0
    assert [seeds for seeds, _ in sizes] == sorted((seeds for seeds, _ in sizes), reverse=True)


def test_a_record_without_small_pictures_shows_those_of_its_tensors(run):
    (folder,) = (run.path / "explanations").glob("full.toy.red.0.*")
    concepts = json.loads((folder / "record.json").read_text("utf-8"))["explanation"]["concepts"]
    kept = read_gallery(folder, concepts)
    assert len(kept.images) == len(kept.of(0).maps) == 6
    moved = folder / GALLERY_FILE
    text = moved.read_text("utf-8")
    moved.unlink()
    try:
        other = read_gallery(folder, concepts)
        assert [len(other.of(i).tiles) for i in range(3)] == [4, 4, 4]
        assert other.images == ()
    finally:
        moved.write_text(text, encoding="utf-8")


def test_findings_below_a_run_are_on_its_page_and_damaged_ones_are_named(tmp_path):
    good, bad = tmp_path / "findings" / "shift.abc", tmp_path / "shift" / "findings" / "shift.def"
    good.mkdir(parents=True)
    bad.mkdir(parents=True)
    Image.new("RGB", (2000, 100)).save(good / "a.png")
    column = {"name": "x", "head": "X", "says": "what it is", "places": 2, "shown": True}
    plain = {"command": "shift", "title": "<b>Found</b>", "columns": [column], "rows": [{"x": 1.234}, {"x": None}]}
    plain |= {"notes": ["a note"], "pictures": {"a.png": "a chart", "../../../secret.png": "no"}}
    (good / "record.json").write_text(json.dumps(plain))
    (bad / "record.json").write_text('{"command": 3}')
    found, unread = findings(tmp_path)
    assert [(f.title, f.rows) for f in found] == [("<b>Found</b>", (("1.23",), ("",)))]
    assert [alt for _, alt in found[0].pictures] == ["a chart"]
    assert len(unread) == 1
    assert unread[0].startswith("shift/findings/shift.def is not shown")
    text = page(build([], {}), found=(found, unread))
    assert "&lt;b&gt;Found&lt;/b&gt;" in text
    assert "a note" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["report", "RUN", "--html", "--json"], "--html cannot be combined"),
        (["view", "NONE"], "is no run directory and holds none"),
        (["view", "RUN", "--out", "RUN"], "is one of the runs"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, tmp_path, monkeypatch, capsys, words, reason):
    names = {"RUN": str(run.path), "NONE": str(tmp_path)}
    monkeypatch.setattr("sys.argv", ["xcore", *(names.get(word, word) for word in words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert reason in capsys.readouterr().err


def test_report_html_says_where_the_page_is(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["xcore", "report", str(run.path), "--html"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == f"saved {run.path / PAGE}\n"
