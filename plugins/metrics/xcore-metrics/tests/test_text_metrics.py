"""The metrics and controls on texts, in a world whose classifier adds up known word weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from xcore_metrics.controls import class_crops, noise, other_class
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity
from xcore_metrics.faithfulness.words import occurrences, phrases_of, word_games
from xcore_metrics.options import ControlOptions, RecoveryOptions, RemovalOptions
from xcore_metrics.pairs import cs, ed, rcs
from xcore_metrics.recovery import judge, ranking_auc, recovery

from xcore.api import bench, load_registry
from xcore.contract import Cell, Concept, Explanation, Ref, Run, Samples, Score, Task
from xcore.inputs.words import content_words, words
from xcore.report.write import render
from xcore.testing import ExplainerTests, MetricTests, xfail

Only = Callable[[Any, Run], Score]

WORLD = Path(__file__).parent / "text_world.py"
REGISTRY = load_registry([WORLD])


def texts(*strings: str) -> Samples:
    return Samples("text", strings, tuple(map(str, range(len(strings)))))


def run_of(concepts: list[Concept], *reviews: str, heldout: Samples | None = None, target: str = "positive") -> Run:
    data, net = (REGISTRY.create(*of) for of in (("dataset", Ref("tiny-reviews")), ("classifier", Ref("bag"))))
    samples = texts(*reviews) if reviews else data.samples(target, "explain", 12, 0)
    models = {"text-embedder": REGISTRY.create("model", Ref("letters"))}
    other = next(c for c in data.classes if c != target)
    task = Task(
        classifier=net,
        layer="bag",
        target=net.classes.index(target),
        samples=samples,
        random_set=lambda n, index, render="as-is", purpose="negative": data.samples(other, "train", n, index),
        data=data,
        seed=0,
        vocabulary=content_words(samples.texts),
        model=lambda role: models[role],
    )
    cell = Cell("made", Ref("made"), Ref("bag"), Ref("tiny-reviews"), target, 0)
    ordered = tuple(sorted(concepts, key=lambda c: -c.importance))
    explanation = Explanation("made", target, "made up", ordered)
    return Run(
        cell, explanation, task, heldout or data.samples(target, "heldout", 9, 0), task.random_set, data.truth("")
    )


GOOD = [Concept("good", 3.0), Concept("film", 2.0), Concept("plot", 1.0)]


# -- removal ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("review", ["good film plot", "A GOOD film; the plot, the plot", "Plot. Film! Good?"])
def test_the_planted_word_first_beats_random_order_by_the_exact_amount(review: str, only: Only) -> None:
    """With it at place p of 3 the area is (p + 1/2) / 3 of the logit 1, 1/2 on average, and 1/6 or 5/6 at place 0."""
    run = run_of(GOOD, review)
    gone, put = only(deletion(), run), only(insertion(), run)
    assert (gone.variant, put.variant) == ("words", "words")
    assert gone.details["full_logit"] == pytest.approx(1)
    assert gone.details["empty_logit"] == pytest.approx(0)
    assert gone.value == pytest.approx(1 / 6 - 1 / 2)
    assert put.value == pytest.approx(5 / 6 - 1 / 2)
    last = run_of([replace(c, importance=-c.importance) for c in GOOD], review)
    assert only(deletion(), last).value == pytest.approx(5 / 6 - 1 / 2)


def test_importance_in_proportion_to_the_effect_has_fidelity_one(only: Only) -> None:
    run = run_of([Concept("good", 2.0), Concept("great", 1.5), Concept("film", 0.0)], "great, good film")
    score = only(mu_fidelity(), run)
    assert score.details["own"] == pytest.approx(1)
    assert score.value == pytest.approx(1)  # shuffled importances have a mean of 0 over all orders


def test_the_order_of_each_review_is_its_own_where_it_is_known(only: Only) -> None:
    local = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    concepts = [Concept("film", 2.0, local=local[1]), Concept("good", 1.0, local=local[0])]
    reviews = ("good film", "film good")
    first, second = word_games(run_of(concepts, *reviews), "", 60, True)
    assert [g.order.tolist() for g in (first, second)] == [[[1, 0]], [[0, 1]]]
    assert only(deletion(), run_of(concepts, *reviews)).details["local_order"] == 1
    whole = only(deletion(RemovalOptions(order="global")), run_of(concepts, *reviews))
    assert (whole.details["local_order"], whole.variant) == (0, "words global order")
    assert only(deletion(), run_of(GOOD, *reviews)).details["local_order"] == 0


def test_reviews_without_two_concepts_are_counted(only: Only) -> None:
    run = run_of(GOOD, "good film", "good evening", "an evening", "the plot of a good film")
    details = only(deletion(), run).details
    assert (details["texts"], details["left_out"], details["concepts"]) == (2, 2, 2.5)
    none = run_of(GOOD, "good evening", "film")
    assert only(deletion(), none).reason == "no explained text contains two concepts, so there is no order to judge"
    assert only(deletion(), run_of(GOOD, "an evening")).reason == ("no word of a concept occurs in the explained texts")
    equal = run_of([replace(c, importance=0.0) for c in GOOD], "good film")
    assert only(deletion(), equal).reason == "all importances are equal, so there is no order to judge"


def test_a_review_of_which_nothing_is_left_is_answered() -> None:
    run = run_of([Concept("good", 1.0), Concept("bad", 0.5)], "Good BAD")
    (game,) = word_games(run, "", 60, True)
    sets = np.array([[False, False], [True, False], [True, True]])
    assert [game.without(s @ game.taken) for s in sets] == ["Good BAD", "BAD", "."]
    assert game.removed(sets)[0, :, 0] == pytest.approx([0, -1, 0])
    assert game.inserted(sets)[0, :, 0] == pytest.approx([0, 1, 0])


def test_a_shared_word_goes_with_the_first_concept_that_has_it() -> None:
    run = run_of([Concept("good", 1.0, words=("good", "great")), Concept("great", 0.5)], "good great film")
    (game,) = word_games(run, "", 60, True)
    sets = np.array([[True, False], [False, True]])
    assert game.removed(sets)[0, :, 0] == pytest.approx([0, 1])
    assert game.inserted(sets)[0, :, 0] == pytest.approx([1.75, 0.75])


def test_words_and_phrases_that_occur() -> None:
    phrases = [{("not", "good")}, {("good",)}, {("it's",)}, {("go",)}]
    found = occurrences(words("It’s good, not GOOD: goodness"), phrases)
    assert found.tolist() == [
        [False, False, True, True, False],
        [False, True, False, True, False],
        [True, False, False, False, False],
        [False] * 5,
    ]
    assert phrases_of(Concept("noise 1", 0.0)) == set()
    assert phrases_of(Concept("Bland", 0.0, words=("bland", "not good"))) == {("bland",), ("not", "good")}


def test_a_filler_takes_the_place_of_a_word(only: Only) -> None:
    run = run_of(GOOD, "a good film")
    (game,) = word_games(run, "bad", 60, True)
    assert game.without(np.array([False, True, False])) == "a bad film"
    score = only(deletion(RemovalOptions(filler="bad")), run)
    assert score.variant == "words bad"
    assert score.details["empty_logit"] == pytest.approx(-2)


def test_a_variant_of_the_other_kind_says_so(only: Only) -> None:
    region = only(deletion(RemovalOptions(variant="region", fills=("blur",))), run_of(GOOD, "good film"))
    assert region.reason == "the variant region is for images only"


def test_directions_have_a_column_of_their_own() -> None:
    eye = torch.eye(12)
    concepts = [Concept("good", 2.0, directions={"bag": eye[0]}), Concept("film", 1.0, directions={"bag": eye[6]})]
    one, two = deletion().score([run_of(concepts, "good film")])
    assert (one.variant, two.variant) == ("direction", "words")
    assert one.value < 0
    assert one.details["texts"] == 9


# -- recovery ---------------------------------------------------------------------------------------------------------
def test_precision_at_five_beside_chance(only: Only) -> None:
    """By their names where the table has them, else by all their words; chance over the words of the reviews."""
    words_of = {"good": ("good", "bad", "fine"), "film": ("film", "great", "movie"), "plot": ("plot",), "dull": ()}
    concepts = [Concept(n, 1.0 - i / 10, words=w) for i, (n, w) in enumerate(words_of.items())]
    concepts += [Concept("evening", 0.5), Concept("lovely", 0.1)]
    run = run_of(concepts, "good lovely bad film", "a lovely plot, a good evening")
    assert judge(run).named == tuple(
        map(frozenset, ({"word=good"}, {"word=great"}, (), {"word=dull"}, (), {"word=lovely"}))
    )
    whole, *each = recovery(RecoveryOptions(top=5)).score([run])
    assert (whole.value, whole.n, whole.variant) == (pytest.approx(2 / 5), 5, "phrases, precision@5")
    assert whole.details["chance"] == pytest.approx(2 / 6)  # good, lovely of good, lovely, bad, film, plot, evening
    assert whole.details["coverage"] == pytest.approx(2 / 3)
    assert [s.value for s in each] == [1, 1, 0, 0, 0, 1]
    plain = recovery().score([run])[0]
    assert (plain.value, plain.variant) == (pytest.approx(2 / 3), "phrases")
    assert only(ranking_auc(), run).value == pytest.approx((3 + 3 + 0) / 9)


def test_what_cannot_be_read_says_why(only: Only) -> None:
    unread = [Concept("texts of negative", 0.0, texts("bad")), Concept("noise 2", 0.0)]
    assert only(recovery(), run_of(unread)).reason == "no concept is a word of the vocabulary or has words"
    whole, first, second = recovery().score([run_of([*unread[:1], Concept("good", 1.0)])])
    assert (whole.value, whole.details["unread"], first.value) == (0.5, 1, 1)
    assert second.reason == "the concept has no words to read"


# -- nearness ---------------------------------------------------------------------------------------------------------
def test_identical_texts_have_cosine_one_and_distance_zero(only: Only) -> None:
    same = texts("abc", "abc", "abc")
    run = run_of([Concept("c", 1.0, same)], heldout=texts("abc", "abc"))
    near, far = only(cs(), run), only(ed(), run)
    assert (near.value, far.value) == (pytest.approx(1), 0)
    assert (near.variant, near.over, near.n) == ("letters", "concept samples", 3)
    assert (near.details["class_texts"], near.details["concept_texts"]) == (2, 3)
    apart = run_of([Concept("c", 1.0, texts("b", "bb"))], heldout=texts("aa"))
    assert only(cs(), apart).value == 0
    assert only(ed(), apart).value == pytest.approx((5**0.5 + 8**0.5) / 2)


def test_texts_are_called_texts(only: Only) -> None:
    none, zero = cs().score([run_of([Concept("none", 1.0), Concept("zero", 0.5, texts("1", "a"))])])
    assert none.reason == "the concept has no texts"
    assert zero.reason == "an embedding is zero, so its cosine is undefined"
    assert only(rcs(), run_of([Concept("c", 1.0, texts("a"))])).reason == "text"


# -- controls --------------------------------------------------------------------------------------------------------
def test_noise_is_five_made_up_words() -> None:
    concepts = noise(ControlOptions(concepts=4, samples=50)).explain(run_of([]).task).concepts
    rows = [text.split() for c in concepts for text in c.samples.texts]
    assert {len(row) for row in rows} == {5}
    assert {len(word) for row in rows for word in row} == set(range(2, 8))
    assert {letter for row in rows for word in row for letter in word} == set("abcdefghijklmnopqrstuvwxyz")


def test_spans_are_half_of_the_words_of_an_explained_text() -> None:
    task = run_of([]).task
    for concept in class_crops().explain(task).concepts:
        assert concept.render == "span:half"
        for i, span in zip(concept.source.tolist(), concept.samples.texts, strict=True):
            assert span in task.samples.texts[i]
            assert len(words(span)) == len(words(task.samples.texts[i])) // 2
    odd = replace(task, samples=texts("one", "", "1 2"))
    assert {t for c in class_crops().explain(odd).concepts for t in c.samples.texts} == {"one", "", "1 2"}


def test_other_class_shows_texts_of_other_classes() -> None:
    for concept in other_class().explain(run_of([]).task).concepts:
        assert concept.name == "texts of negative"
        assert all({"bad", "awful", "dull"} & set(words(t)) for t in concept.samples.texts)


class TextTask:
    """The conformance classes on this world."""

    @pytest.fixture
    def run(self) -> Run:
        run = run_of([])
        explanation = REGISTRY.create("explainer", Ref("planted")).explain(run.task)
        return replace(run, explanation=explanation)

    @pytest.fixture
    def task(self, run: Run, tmp_path: Path) -> Task:
        return replace(run.task, workdir=tmp_path)

    @pytest.fixture
    def module(self, task: Task) -> Any:
        return task.classifier.model.module


class TestTextControls(TextTask, ExplainerTests):
    @pytest.fixture(params=[class_crops, other_class, noise])
    def explainer(self, request: Any) -> Any:
        return request.param(ControlOptions())

    test_renderings_are_known = xfail(reason="random sets are not cut to spans of texts: TS is n/a for class-crops")


class TestTextMetrics(TextTask, MetricTests):
    @pytest.fixture(params=[cs, ed, recovery, ranking_auc, deletion, insertion, mu_fidelity])
    def metric(self, request: Any) -> Any:
        return request.param()


# -- the whole bench --------------------------------------------------------------------------------------------------
def test_a_bench_on_texts(tmp_path: Path) -> None:
    metrics = ["CS", "ED", "RCS", "RED", "recovery", "AUC", "C-insertion", "C-deletion", "C-muFidelity", "completeness"]
    made = bench(
        ["planted", "class-crops", "other-class", "noise"],
        plugins=[WORLD],
        data="tiny-reviews",
        classes=["positive"],
        metrics=[*metrics, "localisation", "pointing", "cost"],
        set={"recovery": {"top": 5}},
        budget={"samples": 12, "heldout": 8},
        out=tmp_path / "run",
    )
    assert not made.broken
    first = {row["label"]: row for row in made.rows if row["rank"] == 1}
    for name in ("RCS", "RED", "completeness", "localisation", "pointing"):
        for row in first.values():
            score = row["scores"].get(name) or row["overall"][name]
            assert (score["value"], score["reason"]) == (None, "text")
    overall = first["planted"]["overall"]
    assert overall["recovery"]["variant"] == "phrases, precision@5"
    assert overall["recovery"]["value"] >= 3 / 5 > overall["recovery"]["details"]["chance"]
    assert overall["C-deletion"]["value"] < 0 < overall["C-insertion"]["value"]
    assert first["noise"]["scores"]["CS"]["value"] < first["class-crops"]["scores"]["CS"]["value"]
    assert first["noise"]["overall"]["recovery"]["reason"] == "no concept is a word of the vocabulary or has words"
    table = render(made.table, "md")
    lines = [line for line in table.splitlines() if "noise" in line and line.startswith("|")]
    assert lines
    assert "n/a (text)" in lines[0]
    assert "n/a: text" in table
    assert (tmp_path / "run" / "table.json").read_text().count('"text"') > 5
