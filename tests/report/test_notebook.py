"""What a notebook shows: HTML that is safe, small and self-contained, and data frames that equal the fields."""

from __future__ import annotations

import base64
import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import xcore
from xcore.contract import Concept, Explanation, Samples
from xcore.explained import Applied, Explained, column_names
from xcore.report import build
from xcore.report.concepts import interval
from xcore.report.notebook import LIMIT, NEW, SHOWN, table_html

HOSTILE = "</div></style><script>alert(\"1\")</script> {{ 7 * 7 }} & 'a' \x1b[2J"


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.said = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are closed in order"

    def handle_data(self, data):
        if "style" not in self.open:
            self.said += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def noise(n, side=64, seed=0):
    pixels = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return Samples("image", pixels, tuple(f"<{i}>" for i in range(n)))


def explained(*concepts, samples=None, **more):
    return Explained("craft", "zebra", "drop of the logit", concepts, samples=samples, **more)


def stripes(n=4, maps=True, **more):
    heat = torch.zeros(n, 64, 64)
    heat[:, :32] = 1
    return Concept(
        "stripes", 0.5, samples=noise(3), source=torch.tensor([2, 0, 1]), maps=heat if maps else None, **more
    )


def test_names_texts_and_notes_are_escaped():
    concept = Concept(HOSTILE, 0.5, words=(HOSTILE, "x<y>"), samples=noise(1), evidence={"p": 0.0499})
    made = Explained(HOSTILE, HOSTILE, HOSTILE, (concept,), notes=(HOSTILE,), samples=noise(1))
    read = Reader(made._repr_html_())
    assert {tag for tag, _ in read.tags} == {"div", "style", "p", "span", "img", "b", "ul", "li"}
    assert {name for _, attrs in read.tags for name in attrs} <= {
        "class",
        "style",
        "src",
        "alt",
        "title",
        "aria-hidden",
    }
    shown = HOSTILE.replace("\x1b", "")
    assert read.said.count(shown) == 5, "target, method, unit, name and note"
    assert "x<y>" in read.said
    assert "p 0.0499" in read.said, "not rounded to the threshold that people look for"


def test_it_needs_nothing_from_elsewhere_and_styles_nothing_else():
    html = explained(stripes(), samples=noise(4))._repr_html_()
    assert all(attrs["src"].startswith("data:image/") for attrs in Reader(html).all("img"))
    assert all(attrs["alt"] for attrs in Reader(html).all("img"))
    assert "script" not in html
    assert "http" not in html
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    selectors = re.findall(r"(?:^|})\s*([^{}]+){", style)
    assert selectors
    assert all(one.strip().startswith(".xcore") for rule in selectors for one in rule.split(","))


def test_colours_are_those_of_the_notebook():
    html = explained(stripes(), samples=noise(4))._repr_html_()
    assert "prefers-color-scheme" not in html, "notebooks are light or dark by their own setting"
    assert not re.search(r"(?<!border-)color: *(black|white|#)|background: *(black|white|#)", html)
    assert "color: inherit" in html


def test_it_stays_small_whatever_the_pictures_are():
    pictures = noise(10, 224)
    many = [Concept(f"C{i + 1}", 1.0 / (i + 1), samples=pictures, maps=torch.rand(10, 224, 224)) for i in range(12)]
    html = explained(*many, samples=pictures)._repr_html_()
    assert len(html) < LIMIT
    read = Reader(html)
    assert len([a for a in read.all("img") if "sample" in a["alt"]]) == 8 * SHOWN
    assert "2 other concepts" in read.said


def test_small_pictures_without_noise_are_kept_exactly():
    flat = Samples("image", torch.full((1, 3, 8, 8), 51 / 255), ("a",))
    (shown,) = Reader(explained(Concept("grey", 1.0, samples=flat))._repr_html_()).all("img")
    kind, data = shown["src"].split(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/png"
    assert np.array(picture).tolist() == [[[51] * 3] * 8] * 8


def test_bars_show_the_size_and_sign_of_importances():
    html = explained(Concept("a", 0.5), Concept("b", -1.0), Concept("c", 0.0))._repr_html_()
    bars = [a for a in Reader(html).all("span") if a.get("class", "").startswith("xcore-bar")]
    assert [(bar["style"], bar["class"]) for bar in bars] == [
        ("width: 50.0%", "xcore-bar"),
        ("width: 100.0%", "xcore-bar against"),
        ("width: 0.0%", "xcore-bar"),
    ]


def test_maps_stand_below_the_explained_images():
    read = Reader(explained(stripes(), samples=noise(4))._repr_html_())
    titles = [a["title"] for a in read.all("img") if a["alt"].startswith("explained image")]
    assert titles == ["<2>", "<0>", "<1>", "<3>"], "first those that the samples were cut from"
    assert "one scale for all images" in read.said
    assert "one scale for all images" not in Reader(explained(stripes())._repr_html_()).said, "the images were not kept"


def test_without_concepts_the_notes_say_why():
    read = Reader(explained(notes=("too few images",), samples=noise(2))._repr_html_())
    assert "No concept was found" in read.said
    assert "too few images" in read.said
    assert "drop of the logit" not in read.said


def test_parts_of_single_images_are_pictures_and_parts_of_groups_are_lists():
    mask = torch.ones(1, 64, 64)
    parts = tuple(
        Explanation("eac", "zebra", "u", (Concept("s", v, source=torch.tensor([i]), maps=mask),))
        for i, v in enumerate([0.5, -0.5, 0.1, 0.2, 0.3, 0.4, 0.5])
    )
    read = Reader(explained(stripes(7), samples=noise(7), parts=parts)._repr_html_())
    assert len([a for a in read.all("img") if a["alt"].startswith("importance of the regions")]) == 6
    assert "the first 6 of 7" in read.said
    words = (Explanation("texplain", "zebra, group 1", "share", (Concept("stripe", 0.5),)),)
    read = Reader(explained(stripes(), samples=noise(4), parts=words)._repr_html_())
    assert "zebra, group 1" in read.said
    assert "stripe 0.500" in read.said


def test_words_without_pictures_show_the_images_where_they_are_strongest():
    word = Concept("stripe", 0.5, local=torch.tensor([0.0, 0.2, 0.9]))
    assert [a["title"] for a in Reader(explained(word, samples=noise(3))._repr_html_()).all("img")] == ["<2>", "<1>"]


def test_texts_are_highlighted(texts):
    said = texts("A dull plot.", "<b>dull</b>", probability=[0.75, 0.5])
    concept = Concept("dull", 0.5, words=("dull", "bland"), samples=texts("a dull film"))
    read = Reader(explained(concept, samples=said, explained=said)._repr_html_())
    assert [attrs["title"] for attrs in read.all("mark")] == ["dull: bland"] * 2
    assert "<b>dull</b>" in read.said
    assert "zebra 0.75" in read.said
    assert "bland" in read.said


@pytest.mark.parametrize(
    ("importance", "evidence", "expected"),
    [
        (0.2, {"effect": 0.2, "lo": 0.1, "hi": 0.3}, (0.1, 0.3)),
        (0.2, {"over": 0.2, "freq": 0.2, "lo": 0.1, "hi": 0.3, "over_lo": 0.15, "over_hi": 0.25}, (0.15, 0.25)),
        (0.2, {"over": 0.2, "freq": 0.9, "lo": 0.1, "hi": 0.95}, None),
        (0.2, {"lo": 0.1, "hi": 0.3}, (0.1, 0.3)),
        (0.2, {"lo": 0.3, "hi": 0.4}, None),
        (0.2, {"p": 0.01}, None),
    ],
)
def test_only_an_interval_of_the_importance_is_taken_for_it(importance, evidence, expected):
    assert interval(Concept("a", importance, evidence=evidence)) == expected


def test_the_frame_equals_the_fields():
    made = explained(
        Concept("a", 0.5, words=("a", "b, c"), evidence={"p": 0.01, "importance": 7}),
        Concept("a", -0.25, evidence={"n": 3}),
    )
    frame = made.to_pandas()
    assert list(frame.columns) == ["rank", "concept", "words", "importance", "p", "evidence importance", "n"]
    assert {str(kind) for kind in frame.dtypes} == {"int64", "string", "float64"}
    assert frame["importance"].tolist() == [0.5, -0.25]
    assert frame["concept"].tolist() == ["a", "a"]
    assert frame["words"].tolist() == ["b, c", ""]
    assert frame["p"].isna().tolist() == [False, True]
    assert frame.attrs["importance_is"] == "drop of the logit"
    assert explained().to_pandas().empty


def applied(n=10, k=2, maps=True, **more):
    strength = torch.arange(float(n * k)).view(n, k) - 1
    return Applied(strength, "mean code", torch.rand(n, k, 64, 64) if maps else None, **more)


def test_the_frame_of_new_samples_keeps_every_column():
    frame = applied(3, 4, samples=noise(3), names=("a", "a", "b", "a (2)")).to_pandas()
    assert frame.shape == (3, 4)
    assert frame.columns.is_unique
    assert frame.index.tolist() == ["<0>", "<1>", "<2>"]
    assert frame.to_numpy().tolist() == (torch.arange(12.0).view(3, 4) - 1).tolist()
    assert column_names(["a", "a", "b"]) == ["a (1)", "a (2)", "b"]


def test_new_samples_stand_beside_their_maps_and_strengths():
    made = applied(samples=noise(10), names=(HOSTILE, "C2"), notes=("<note>",))
    read = Reader(made._repr_html_())
    assert len(read.all("img")) == NEW * 3
    assert f"the first {NEW} of 10 samples" in read.said
    assert HOSTILE.replace("\x1b", "") in read.said
    assert "<note>" in read.said


def test_a_concept_that_is_not_found_again_has_no_number(texts, capsys):
    made = applied(2, samples=texts("one", "<two>"), names=("a", "b"), maps=False)
    made.strength[0, 1] = torch.nan
    read = Reader(made._repr_html_())
    assert "not found again" in read.said
    assert "nan" not in read.said
    assert "<two>" in read.said
    made.show()
    assert re.search(r"1 +one +-1.00 +not found again", capsys.readouterr().out)


def test_show_prints_outside_a_notebook_and_displays_inside(capsys, monkeypatch):
    made, new = explained(stripes(), samples=noise(4)), applied(2, samples=noise(2), names=("a", "b"))
    made.show()
    new.show()
    said = capsys.readouterr().out
    assert "zebra explained by craft" in said
    assert re.search(r"1 +stripes +0.500", said)
    assert re.search(r"2 +<1> +1.00 +2.00", said)
    shown = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    display = SimpleNamespace(HTML=str, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    made.show()
    assert shown == [made._repr_html_()]
    assert capsys.readouterr().out == ""


def test_a_table_is_safe_and_has_its_notes(row, metrics, score):
    names = {"label": "<m>", "classifier": HOSTILE, "concept": "<i>"}
    failed = row(label="bad", rank=None, status="failed", reason="<b>", concept="")
    table = build([row(scores={"TS": score(0.5)}, **names), failed], metrics, notes=("<note>",))
    read = Reader(table_html(replace(table, notes=("<note>",))))
    assert {tag for tag, _ in read.tags} <= {
        "div",
        "style",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
    }
    for text in ("<m>", "<i>", "<note>", "0.50", "failed (seed 0): <b>"):
        assert text in read.said
    assert "alert" in read.said


def test_what_a_notebook_gets_to_see_is_one_short_line(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "cat" / "1.png")
    (tmp_path / "said.csv").write_text("text,label\nbad,no\ngood,yes\n")
    seen = {
        "network": xcore.open(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)), class_names=["a", "b"], size=8
        ),
        "pictures": xcore.data(f"folder:{tmp_path / 'photos'}"),
        "texts": xcore.data(f"table:{tmp_path / 'said.csv'}"),
        "painted": xcore.data("minizoo"),
        "written": xcore.data("reviews"),
        "images": noise(4),
        "words": Samples("text", ("a",), ("0",)),
    }
    said = {name: repr(value) for name, value in seen.items()}
    assert all(len(line) < 150 and "\n" not in line and " at 0x" not in line for line in said.values()), said
    assert said["network"] == "<TorchClassifier of Sequential, reads images, 2 classes (a, b)>"
    assert "1 class (cat)" in said["pictures"]
    assert "2 classes (no, yes)" in said["texts"]
    assert "9 classes (zebra" in said["painted"]
    assert said["images"] == "<4 images of 64x64 pixels: '<0>', '<1>', '<2>', ...>"
    assert said["words"] == "<1 texts: '0'>"


def test_a_run_is_one_line_and_in_a_notebook_its_table(tmp_path):
    run = xcore.bench(["noise"], controls=[], metrics=["RCS"], seeds=[0], budget={"samples": 8}, out=tmp_path / "run")
    assert repr(run).startswith("<bench 'default': 1 method")
    assert "1 of 1 cells done" in repr(run)
    assert len(repr(run)) < 200 + len(str(tmp_path))
    read = Reader(run._repr_html_())
    assert len(read.all("tr")) == 1 + 3
    assert "noise 1" in read.said
    assert "higher" not in read.said
    assert set(run.table.notes) <= set(read.said.splitlines())
