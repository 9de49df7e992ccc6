"""Recovery on truths made by hand, chance by enumeration, and the AUC against scikit-learn."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from xcore_metrics.cost import cost
from xcore_metrics.recovery import PhraseTable, auc, judge, ranking_auc, recovery

from xcore.contract import Concept, Cost, Explanation, Samples, Truth

TRUTH = Truth(
    effects={
        "zebra": {
            "pattern=striped": (5.0, 4.0, 6.0),
            "colours=white": (2.0, 1.0, 3.0),
            "shape=horse": (1.0, 0.9, 1.1),
            "background=grass": (0.2, -0.1, 0.5),
        },
        "blank": {"pattern=plain": (0.0, 0.0, 0.0)},
    },
    gaps={"zebra": 10.0, "blank": 10.0},
    phrases={
        "stripes": frozenset({"pattern=striped"}),
        "white stripes": frozenset({"pattern=striped", "colours=white"}),
        "striped on grass": frozenset({"pattern=striped", "background=grass"}),
        "grass": frozenset({"background=grass"}),
        "horse shape": frozenset({"shape=horse"}),
        "a nice day": frozenset(),
    },
)
VALUES = {
    "pattern": ("none", "striped", "plain"),
    "colours": ("white", "black"),
    "shape": ("none", "horse"),
    "background": ("none", "grass"),
}
NOTHING = "the truth lists no word of the concepts, and none of them has images"


class Oracle:
    """Reads the probabilities of values off the pixels: pixel k of the first row is that of the k-th value."""

    name = "reader"
    keys = tuple((f, v) for f, values in VALUES.items() for v in values)

    def factors(self, images: Samples) -> dict[str, dict[str, torch.Tensor]]:
        read: dict[str, dict[str, torch.Tensor]] = {}
        for k, (factor, value) in enumerate(self.keys):
            read.setdefault(factor, {})[value] = images.images[:, 0, 0, k]
        return read


def showing(*values: str, share: float = 1.0) -> Samples:
    """10 pictures that show these values in this share of them."""
    data = torch.zeros(10, 3, 1, len(Oracle.keys))
    for k, (factor, value) in enumerate(Oracle.keys):
        if f"{factor}={value}" in values:
            data[: round(10 * share), :, 0, k] = 1.0
    return Samples("image", data, tuple(str(i) for i in range(10)))


def run_of(*concepts: Concept, cls: str = "zebra", truth: Truth | None = TRUTH, oracle: Any = None) -> Any:
    oracle = oracle or Oracle()
    vocabulary = tuple(TRUTH.phrases)
    return SimpleNamespace(
        explanation=Explanation("m", cls, "unit", concepts, cost=Cost(seconds=2.5, forwards=7, peak_mb=12.0)),
        truth=truth,
        heldout=showing(),
        task=SimpleNamespace(model=lambda role: oracle, vocabulary=vocabulary),
    )


def concepts_named(*names: str) -> list[Concept]:
    return [Concept(n, 1.0 - i / 10) for i, n in enumerate(names)]


def test_by_phrases() -> None:
    whole, *each = recovery().score([run_of(*concepts_named("white stripes", "striped on grass", "grass", "stripes"))])
    assert whole.variant == "phrases"
    assert whole.value == pytest.approx(1 / 3)
    assert whole.details == pytest.approx(
        {
            "chance": 3 / 6,
            "auc": (1 + 0 + 1 + 0) / 4,  # correct at .1 and .7 apart: ranks 1 and 4 against 2 and 3
            "auc_chance": 0.5,
            "coverage": 2 / 3,
            "decoys": 1 / 3,
            "lenient": 2 / 3,
            "lenient_chance": 4 / 6,
            "n_candidates": 6,
            "unread": 0,
        }
    )
    assert [(s.concept, s.value) for s in each] == [(0, 1.0), (1, 0.0), (2, 0.0), (3, 1.0)]
    assert each[1].details == {"named": 2.0, "used": 1.0, "lenient": 1.0}


def test_words_speak_for_a_concept_and_several_words_are_joined() -> None:
    concepts = (Concept("C1", 1.0, words=("stripes", "horse shape")), Concept("C2", 0.5, words=("stripes", "grass")))
    j = judge(run_of(*concepts))
    assert j.variant == "phrases"
    assert j.named == ({"pattern=striped", "shape=horse"}, {"pattern=striped", "background=grass"})
    assert [j.correct(v) for v in j.named] == [True, False]


def test_a_phrase_that_names_nothing_is_not_correct() -> None:
    whole, only = recovery().score([run_of(*concepts_named("a nice day"))])
    assert (whole.value, only.value, whole.details["decoys"]) == (0.0, 0.0, 1.0)


def test_chance_is_the_mean_over_all_draws() -> None:
    run = run_of(*concepts_named("grass", "a nice day", "stripes"))
    j = judge(run)
    draws = [sum(j.correct(v) for v in three) / 3 for three in combinations(j.candidates, 3)]
    assert recovery().score([run])[0].details["chance"] == pytest.approx(np.mean(draws))


def test_by_pictures_when_a_name_is_no_phrase() -> None:
    concepts = (
        Concept("crop 1", 0.9, showing("pattern=striped", "colours=white", "shape=none")),
        Concept("crop 2", 0.8, showing("pattern=striped", share=0.5)),  # half of the pictures is not more than half
        Concept("crop 3", 0.7, showing("background=grass", "pattern=striped", share=0.6)),
        Concept("stripes", 0.6, showing("shape=horse")),
        Concept("crop 5", 0.5, None),
    )
    run = run_of(*concepts)
    whole, *each = recovery().score([run])
    assert whole.variant == "oracle"
    assert judge(run).named[:2] == ({"pattern=striped", "colours=white"}, frozenset())
    assert [s.value for s in each] == [1.0, 0.0, 0.0, 1.0, None]
    assert each[4].reason == "the concept has no images to read"
    assert whole.value == pytest.approx(1 / 3)
    assert whole.details["chance"] == pytest.approx(2 / 5)
    assert whole.details["unread"] == 1


def worded(*words: str, samples: Samples | None = None) -> list[Concept]:
    """Concepts that are words, as lemmas, most important first."""
    return [Concept(w, 1.0 - i / 10, samples, words=(w,)) for i, w in enumerate(words)]


def test_words_of_a_methods_own_are_read_by_their_lemmas_and_unknown_ones_name_nothing() -> None:
    run = run_of(*worded("stripe", "stand", "grass", "striped", "nice"))
    j = judge(run)
    assert j.variant == "phrases"
    assert j.named == ({"pattern=striped"}, set(), {"background=grass"}, {"pattern=striped"}, set())
    assert j.candidates == j.named  # not the vocabulary, which does not hold these words
    whole, *each = recovery().score([run])
    assert (whole.value, whole.variant) == (pytest.approx(1 / 3), "phrases")
    assert whole.details == pytest.approx(
        {
            "chance": 2 / 5,
            "auc": 4 / 6,  # of six pairs the first correct concept wins three, the fourth one
            "auc_chance": 0.5,
            "coverage": 1 / 3,
            "decoys": 2 / 3,
            "lenient": 1 / 3,
            "lenient_chance": 2 / 5,
            "n_candidates": 5,
            "unread": 0,
        }
    )
    assert [s.value for s in each] == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_a_lemma_that_stands_for_two_values_names_nothing() -> None:
    phrases = {"stripes": frozenset({"a=1"}), "striped": frozenset({"a=2"}), "grass": frozenset({"b=1"})}
    table = PhraseTable(Truth({}, {}, phrases))
    assert table.values(("Stripe",)) == table.values(("stone",)) == frozenset()
    assert (table.values(("stripes",)), table.values(("striped",))) == ({"a=1"}, {"a=2"})  # as they stand
    assert table.values(("Grasses", "the stripes")) == {"b=1"}  # a phrase of two words has no lemma
    assert table.listed_values(("Grasses",)) == frozenset()


def test_without_a_word_that_is_known_the_pictures_are_read_if_there_are_any() -> None:
    (none,) = recovery().score([run_of(*worded("stand", "nice"))])
    assert (none.value, none.reason) == (None, NOTHING)
    shown = judge(run_of(*worded("stand", "nice", samples=showing("pattern=striped"))))
    assert (shown.variant, shown.named) == ("oracle", ({"pattern=striped"}, {"pattern=striped"}))


def test_pictures_with_a_known_word_among_unknown_ones_are_read_by_words() -> None:
    j = judge(run_of(*worded("stand", "stripe", samples=showing("shape=horse"))))
    assert (j.variant, j.named) == ("phrases", (set(), {"pattern=striped"}))


@pytest.mark.parametrize("other", [Concept("crop 1", 0.1, showing()), *worded("stripes, grass", samples=showing())])
def test_one_concept_without_words_or_with_an_unknown_phrase_leaves_all_to_the_pictures(other: Concept) -> None:
    j = judge(run_of(Concept("stripes", 0.9, showing("shape=horse"), words=("stripes",)), other))
    assert (j.variant, j.named) == ("oracle", ({"shape=horse"}, set()))


def test_phrases_that_the_table_lists_have_the_vocabulary_as_chance_whatever_it_holds() -> None:
    run = run_of(*concepts_named("stripes", "grass"))
    run.task.vocabulary = ("stripes", "a nice day", "horse shape", "mane")
    assert judge(run).candidates == ({"pattern=striped"}, set(), {"shape=horse"}, set())
    run.explanation = run_of(*worded("stripes", "mane")).explanation
    assert len(judge(run).candidates) == 4  # all names are of the vocabulary
    run.explanation = run_of(*worded("stripe", "mane")).explanation
    assert len(judge(run).candidates) == 2


def test_an_oracle_that_speaks_of_other_factors_is_no_judge() -> None:
    blind = SimpleNamespace(name="blind", factors=lambda x: {"pattern": {"striped": torch.zeros(10)}})
    (only,) = recovery().score([run_of(Concept("x", 1.0, showing()), oracle=blind)])
    assert only.reason == "factor oracle 'blind' cannot read colours=white, shape=horse"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"truth": None}, "it is not known what the classifier uses for class 'zebra'"),
        ({"cls": "cow"}, "it is not known what the classifier uses for class 'cow'"),
        ({"cls": "blank"}, "the classifier is known to use no factor value for class 'blank'"),
    ],
)
def test_without_a_truth_there_is_a_reason(fields: dict[str, Any], reason: str) -> None:
    truth = Truth(TRUTH.effects, TRUTH.gaps, TRUTH.phrases, share=0.1)
    run = run_of(*concepts_named("stripes"), **{"truth": truth, **fields})
    for metric in (recovery(), ranking_auc()):
        (only,) = metric.score([run])
        assert (only.value, only.reason) == (None, reason)


def test_a_class_that_the_classifier_takes_for_another_uses_nothing() -> None:
    truth = Truth(
        {"zebra": {"pattern=striped": (3.0, 2.0, 4.0), "background=grass": (-0.1, -0.2, 0.0)}}, {"zebra": -2.0}, {}
    )
    assert truth.used("zebra") == frozenset()


def test_no_concepts_and_nothing_to_read() -> None:
    assert recovery().score([run_of()])[0].reason == "the explanation has no concepts"
    nothing = run_of(Concept("?", 1.0), Concept("stripes", 0.5))
    assert recovery().score([nothing])[0].reason == NOTHING


def test_auc_by_hand() -> None:
    assert auc([3, 2, 1], [True, True, False]) == 1.0
    assert auc([3, 2, 1], [False, True, True]) == 0.0
    assert auc([1, 1, 1], [True, False, True]) == 0.5
    assert auc([2, 1, 1, 0], [True, True, False, False]) == pytest.approx((2 + 1.5) / 4)
    assert auc([1, 2], [True, True]) is None
    assert auc([1, float("nan")], [True, False]) is None


@pytest.mark.parametrize("seed", range(10))
def test_auc_agrees_with_scikit_learn(seed: int) -> None:
    peer = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    correct = rng.permutation([True, False] * 6)
    importance = rng.integers(0, 4, 12).astype(float)  # few levels, so many ties
    assert auc(list(importance), list(correct)) == pytest.approx(peer.roc_auc_score(correct, importance))


def test_auc_as_a_metric() -> None:
    (score,) = ranking_auc().score([run_of(*concepts_named("stripes", "grass"))])
    assert (score.value, score.variant, score.details["chance"]) == (1.0, "phrases", 0.5)
    (all_right,) = ranking_auc().score([run_of(*concepts_named("stripes", "horse shape"))])
    assert all_right.reason == "all of the 2 concepts are correct, so there is no order to judge"
    (none,) = ranking_auc().score([run_of(*concepts_named("grass"))])
    assert none.reason == "none of the 1 concepts are correct, so there is no order to judge"


def test_cost_is_reported_as_it_was_counted() -> None:
    (score,) = cost().score([run_of()])
    assert (score.concept, score.value, cost().direction) == (None, 2.5, "lower")
    assert score.details == {"shared_seconds": 0.0, "forwards": 7, "backwards": 0, "generated": 0, "peak_mb": 12.0}
