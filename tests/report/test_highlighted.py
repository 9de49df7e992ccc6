"""Highlighted words of texts: where they are, how strong, with which lists, and as pictures and records."""

from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from xcore.contract import Concept, UsageError
from xcore.report.highlighted import HighlightedTexts, as_plain, from_plain, highlight, named, synonyms
from xcore.report.pictures import draw, gallery
from xcore.report.typeset import AGAINST, FOR, WIDTH, typeset
from xcore.store.run_directory import Store

LACKLUSTER = Concept("lackluster", 0.4, words=("lackluster", "bland", "dull", "uninspired"))
BRILLIANT = Concept("brilliant", -0.3, words=("brilliant", "splendid"))


@pytest.fixture
def found(explanation, texts):
    """A function that returns the highlighted places of a text with the names of their concepts."""

    def places(text, *concepts):
        (only,) = highlight(explanation(*concepts), texts(text)).texts
        return [(only.text[m.start : m.end], concepts[m.concept].name) for m in only.marks]

    return places


def test_case_punctuation_and_repetition(found):
    text = "A LackLuster plot (lackluster!), lackluster's heir: lacklusterly, lackluster-ish. «Lackluster»"
    assert [place for place, _ in found(text, LACKLUSTER)] == ["LackLuster", "lackluster", "Lackluster"]
    assert found("don’t don't DON'T", Concept("don't", 1.0)) == [("don’t", "don't"), ("don't",) * 2, ("DON'T", "don't")]


def test_phrases_want_their_words_in_a_row(found):
    phrase = Concept("not good", 1.0)
    assert [place for place, _ in found("Not  good. Not. Good; not so good, not\ngood", phrase)] == [
        "Not  good",
        "not\ngood",
    ]


def test_of_overlapping_phrases_the_first_and_of_those_the_longest_wins(found):
    concepts = Concept("good movie", 3.0), Concept("not good", 1.0), Concept("not", 2.0), Concept("movie", 0.1)
    assert found("not good movie", *concepts) == [("not good", "not good"), ("movie", "movie")]
    assert found("good movie, not", *concepts) == [("good movie", "good movie"), ("not", "not")]


def test_of_two_concepts_of_one_name_the_more_important_one_is_highlighted(explanation, texts):
    (only,) = highlight(explanation(Concept("plot", 0.1), Concept("Plot", -0.5)), texts("the plot")).texts
    assert [(m.concept, m.strength) for m in only.marks] == [(1, -0.5)]


@pytest.mark.parametrize("name", ["C1", "3d", "", "--", "!"])
def test_names_that_are_no_words_highlight_nothing(found, name):
    assert found("C 1, a C, a d -- !", Concept(name, 1.0)) == []


def test_nothing_to_highlight(explanation, texts):
    none = highlight(explanation(), texts("some text", ""))
    assert (none.found, none.of, none.concepts) == (0, 2, ())
    assert [text.marks for text in none.texts] == [(), ()]
    assert [text.pieces() for text in none.texts] == [[("some text", None)], []]
    assert highlight(explanation(LACKLUSTER), texts()).texts == ()
    with pytest.raises(UsageError, match="no texts to highlight"):
        highlight(explanation(LACKLUSTER))


def test_strength_is_the_local_value_else_the_importance(explanation, texts):
    local = Concept("dull", 0.2, local=torch.tensor([0.5, -2.0]))
    one, two = highlight(explanation(LACKLUSTER, local, BRILLIANT), texts("dull, lackluster", "brilliant, dull")).texts
    assert [(m.strength, m.weight) for m in one.marks] == [(0.5, 0.25), (0.4, 1.0)]
    assert [(m.strength, m.weight) for m in two.marks] == [(-0.3, pytest.approx(0.75)), (-2.0, 1.0)]


@pytest.mark.parametrize("local", [[1.0], [1.0, float("nan")]])
def test_local_values_of_other_samples_are_refused(explanation, texts, local):
    with pytest.raises(UsageError, match="'dull' has local values"):
        highlight(explanation(Concept("dull", 1.0, local=torch.tensor(local))), texts("dull", "dull"))


def test_lists_are_of_the_highlighted_concepts_strongest_first(explanation, texts):
    concepts = BRILLIANT, Concept("unseen", 2.0), LACKLUSTER
    (only,) = highlight(explanation(*concepts), texts("brilliant, lackluster")).texts
    assert [entry.line for entry in only.lists] == ["lackluster: bland, dull, uninspired", "brilliant: splendid"]
    many = [Concept(chr(97 + i) * 2, 1.0 - i / 100) for i in range(10)]
    (only,) = highlight(explanation(*many), texts(" ".join(c.name for c in many))).texts
    assert [entry.name for entry in only.lists] == ["aa", "bb", "cc", "dd", "ee", "ff"]


def test_only_the_most_important_concepts_are_looked_for(explanation, texts):
    concepts = [Concept(name, importance) for name, importance in [("a", 0.1), ("b", -0.9), ("c", 0.5)]]
    shown = highlight(explanation(*concepts), texts("a b c"), concepts=2)
    assert [entry.name for entry in shown.concepts] == ["b", "c"]
    assert [m.concept for m in shown.texts[0].marks] == [1, 2]
    unsaid = highlight(explanation(*concepts), texts("a c"), concepts=2)
    assert [entry.name for entry in unsaid.concepts] == ["c", "a"], "b is more important, and no text names it"
    none = highlight(explanation(*concepts), texts("nothing"), concepts=2)
    assert [entry.name for entry in none.concepts] == ["b", "c"]


def test_each_concept_has_its_text_among_the_first(explanation, texts):
    given = texts("none", "lackluster", "lackluster", "brilliant")
    shown = highlight(explanation(LACKLUSTER, BRILLIANT), given)
    assert [text.id for text in shown.texts] == ["said/1", "said/3", "said/2", "said/0"]
    assert (shown.found, shown.of) == (3, 4)
    few = highlight(explanation(LACKLUSTER, BRILLIANT), given, texts=2)
    assert [text.id for text in few.texts] == ["said/1", "said/3"]
    assert (few.found, few.of) == (3, 4), "counted over all texts"


def test_words_of_a_list():
    assert synonyms("Dull", ("dull", "bland", "bland", "", "so\x1b so")) == ("bland", "so so")
    assert named("dull", ("bland", "flat")) == "dull: bland, flat"
    assert named("dull", ()) == "dull"


def test_pieces_are_the_text_without_control_characters(explanation, texts):
    text = "a\tlackluster\n\x1b[31mplot\x07"
    (only,) = highlight(explanation(LACKLUSTER), texts(text)).texts
    assert [piece for piece, _ in only.pieces()] == ["a ", "lackluster", " [31mplot"]
    assert only.text == text


def test_long_texts_are_cut_far_from_highlights(explanation, texts):
    (only,) = highlight(explanation(LACKLUSTER), texts("x" * 500 + " lackluster " + "y" * 500)).texts
    pieces = only.pieces(120)
    assert [piece for piece, mark in pieces if mark] == ["lackluster"]
    assert sum(len(piece) for piece, _ in pieces) < 120
    assert all("…" in piece for piece, mark in pieces if mark is None)
    (only,) = highlight(explanation(LACKLUSTER), texts("lackluster " * 500)).texts
    assert sum(len(piece) for piece, _ in only.pieces(120)) < 150
    assert "".join(piece for piece, _ in only.pieces()) == only.text
    (only,) = highlight(explanation(), texts("z" * 500)).texts
    assert only.pieces(100) == [("z" * 100 + " …", None)]


def test_json_round_trip(explanation, texts):
    shown = highlight(
        explanation(LACKLUSTER, BRILLIANT), texts("lackluster 映画", "brilliant", "", probability=(0.9, None, 0.1))
    )
    back = from_plain(json.loads(json.dumps(as_plain(shown), ensure_ascii=False)))
    assert back == shown
    assert isinstance(back, HighlightedTexts)
    assert {text.id: text.probability for text in back.texts} == {"said/0": 0.9, "said/1": None, "said/2": 0.1}


def test_a_record_of_text_is_read_back_as_it_was(explanation, texts, tmp_path):
    concept = Concept(
        "lackluster",
        0.4,
        texts("bland, dull", "dull, \u201cflat\u201d, 映画"),
        words=("lackluster", "bland", "dull"),
        render="generated:abc",
        directions={"pool": torch.arange(3.0)},
        local=torch.tensor([0.5, -0.25]),
    )
    given = texts("lackluster\nplot", "", probability=(0.75, None))
    made = explanation(concept, explained=given)
    store = Store(tmp_path)
    where = store.write("m.abc", {"status": "ok"}, made, lambda directory: draw(made, given, directory))
    back = store.load("abc")
    one = back.concepts[0]
    assert back.explained is not None
    assert (back.explained.texts, back.explained.ids) == (given.texts, given.ids)
    assert back.explained.meta["probability"] == (0.75, None)
    assert (one.name, one.words, one.render) == (concept.name, concept.words, concept.render)
    assert one.samples is not None
    assert one.samples.texts == ("bland, dull", "dull, \u201cflat\u201d, 映画")
    assert torch.equal(one.local, concept.local)
    assert torch.equal(one.directions["pool"], concept.directions["pool"])
    assert highlight(back) == highlight(made) == from_plain(json.loads((where / "marked.json").read_text("utf-8")))
    assert Image.open(where / "marked.png").width == WIDTH
    assert not (where / "concepts").exists()


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in picture.getcolors(1 << 24)}


def test_a_picture_shows_signs_and_stays_inside_its_margins(explanation, texts):
    hostile = "lackluster, " * 40 + "x" * 400 + " 映画 \x1b[31m brilliant"
    picture = typeset(highlight(explanation(LACKLUSTER, BRILLIANT), texts(hostile, "")))
    assert picture.width == WIDTH
    assert {FOR, AGAINST} <= colours(picture)
    assert colours(picture.crop((WIDTH - 11, 0, WIDTH, picture.height))) == {(255, 255, 255)}
    assert colours(picture.crop((0, picture.height - 12, WIDTH, picture.height))) == {(255, 255, 255)}


def test_a_picture_is_as_high_as_its_lines(explanation, texts):
    heights = [typeset(highlight(explanation(), texts("word " * n))).height for n in (1, 10, 30, 60)]
    assert heights[0] == heights[1] < heights[2] < heights[3]


def test_a_notebook_shows_the_picture_of_text_and_of_nothing_none(explanation, texts):
    png = gallery(explanation(LACKLUSTER, explained=texts("lackluster")))
    assert png is not None
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert gallery(explanation(LACKLUSTER)) is None
