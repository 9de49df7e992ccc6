"""The metrics TS and alpha-TCAV on a made classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_evidence.statistics import signed_marks
from xcore_tcav.metric import TS, AlphaTcav, Scorers, scale_of, smooth
from xcore_tcav.options import AlphaTcavOptions, TSOptions

from xcore.contract import (
    Cell,
    Concept,
    Dictionary,
    Explanation,
    NotApplicable,
    Ref,
    Run,
    Samples,
    Score,
    Task,
    XcoreError,
)

SIZE = 4
UP = torch.randn(3 * SIZE * SIZE, generator=torch.Generator().manual_seed(1)) / 7


class Probe:
    layout = "NCHW"

    def __init__(self, owner: Classifier, layer: str) -> None:
        self.owner, self.layer = owner, layer

    def activations(self, x: Samples) -> Tensor:
        self.owner.calls += 1
        return x.images * (2.0 if self.layer == "late" else 1.0)

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        along = a.flatten(1) @ UP
        bend = 0 if self.layer == "affine" else 1
        return (self.owner.gain * (along + bend * torch.tanh(a.flatten(1)[:, :5]).sum(1)))[:, None]

    def gradients(self, x: Samples, target: int) -> Tensor:
        a = self.activations(x).clone().requires_grad_()
        return torch.autograd.grad(self.head(a)[:, target].sum(), a)[0]


class Classifier:
    modality = "image"
    classes = ("zebra",)
    layers = ("early", "late", "affine")
    default_layer = "early"
    can = frozenset({"activations", "gradients"})

    def __init__(self, gain: float = 1.0) -> None:
        self.gain, self.calls = gain, 0

    def logits(self, x: Samples) -> Tensor:
        return self.open("early").head(x.images)

    def open(self, layer: str) -> Probe:
        return Probe(self, layer)


def draw(n: int, *seed: int, along: float = 0.0) -> Samples:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32))
    ids = tuple(f"{seed}/{i}" for i in range(n))
    return Samples("image", x + along * (UP / UP.norm()).view(3, SIZE, SIZE), ids)


def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
    return draw(n, 9, index + 1000 * (purpose == "null"), int(render != "as-is"))


def run(concepts: Sequence[Concept], classifier: Any = None, layer: str = "early", **kw: Any) -> Run:
    cell = Cell("m", Ref("m"), Ref("c"), Ref("d"), "zebra", 0)
    explanation = Explanation("m", "zebra", "any", tuple(concepts))
    task: Any = Task(classifier or Classifier(), layer, 0, draw(8, 2), random_set, None, 0)  # type: ignore[arg-type]
    return Run(cell, explanation, task, kw.pop("heldout", draw(12, 3)), kw.pop("heldout_random_set", random_set))


PLANTED = Concept("planted", 1.0, draw(10, 4, along=5.0))
OPPOSED = Concept("opposed", 0.5, draw(10, 5, along=-5.0))
RANDOM = Concept("random", 0.1, draw(10, 6))
OPTIONS = TSOptions(negatives=5)


def test_planted_opposed_and_random_concepts() -> None:
    planted, opposed, random = TS(OPTIONS).score([run([PLANTED, OPPOSED, RANDOM])])
    assert (planted.value, opposed.value) == (1.0, 0.0)
    assert [s.details["mark"] for s in (planted, opposed, random)] == [1.0, -1.0, 0.0]
    assert [s.details["outside"] for s in (planted, opposed, random)] == [1.0, 1.0, 0.0]
    assert planted.details["p"] <= 0.01 < random.details["p"]
    assert opposed.details["p_against"] <= 0.05 / 3 < min(random.details["p_against"], opposed.details["p"])
    up, down, corrected = ([s.details[k] for s in (planted, opposed, random)] for k in ("p", "p_against", "p_holm"))
    assert corrected == pytest.approx(signed_marks(up, down, 0.05)[1])
    d = planted.details
    assert d["effect_lo"] < d["effect"] < d["effect_hi"]
    assert d["effect_null_lo"] < d["effect_null_mean"] < d["effect_null_hi"] < d["effect"]
    assert d["null_lo"] <= d["null_mean"] <= d["null_hi"]
    assert (d["set_size"], d["null_sets"], d["calibrated"]) == (10, 199, 1)
    assert 0.5 < d["cav_accuracy"] <= 1
    assert (planted.concept, planted.variant, planted.over, planted.n) == (0, "early", "random sets", 5)
    assert planted.spread == pytest.approx(np.std(planted.samples, ddof=1))


def test_concepts_and_layers_are_corrected_together() -> None:
    scores = TS(TSOptions(negatives=3, null=60, layers=("early", "late"))).score([run([PLANTED] * 3)])
    assert [(s.variant, s.concept) for s in scores] == [(v, i) for v in ("early", "late") for i in range(3)]
    assert {s.details["null_sets"] for s in scores} == {60}
    for s in scores:  # beyond all 60 random sets, p goes below 1 / 61
        assert s.details["p"] < s.details["p_holm"] <= 6 * s.details["p"]
    assert {s.details["mark"] for s in scores} == {1.0}


def test_what_takes_the_place_of_a_concept_is_chosen() -> None:
    coherent, mixed = (
        TS(TSOptions(negatives=3, counterparts=kind)).score([run([RANDOM])])[0].details  # type: ignore[arg-type]
        for kind in ("coherent", "mixed")
    )
    assert coherent["effect"] == mixed["effect"]
    widths = [d["effect_null_hi"] - d["effect_null_lo"] for d in (coherent, mixed)]
    assert widths[0] != widths[1]


def test_what_cannot_be_scored_says_why() -> None:
    text = Concept("text", 1.0, Samples("text", ("a", "b"), ("0", "1")))
    concepts = [Concept("none", 1.0), Concept("one", 1.0, draw(1, 7)), text, PLANTED]
    none, one, other, planted = TS(OPTIONS).score([run(concepts)])
    assert none.reason == "the concept has no samples"
    assert one.reason is not None
    assert "at least 2 samples" in one.reason
    assert other.reason == "the concept's samples are of modality text, but the classifier reads image"
    assert planted.value == 1.0
    affine = TS(OPTIONS).score([run([PLANTED, RANDOM], layer="affine")])
    assert all(s.value is None and "undefined at this layer" in str(s.reason) for s in affine)
    closed = Classifier()
    closed.can = frozenset({"activations"})
    assert TS(OPTIONS).score([run([PLANTED], closed)])[0].reason == "the classifier offers no gradients"


def test_explanations_of_one_class_share_everything_but_their_concepts() -> None:
    classifier, metric = Classifier(), TS(OPTIONS)
    metric.score([run([PLANTED], classifier)])
    before = classifier.calls
    metric.score([run([OPPOSED, RANDOM], classifier)])
    looks = 2  # a look at two class samples identifies the model: activations, and gradients at them
    assert classifier.calls - before == 2 + looks


@pytest.mark.parametrize(
    "change",
    [
        {"classifier": Classifier(gain=-1.0)},
        {"heldout": draw(12, 33)},
        {"heldout_random_set": lambda n, i, render, purpose: draw(n, 99, i + 1000 * (purpose == "null"))},
        {"layer": "late"},
    ],
)
def test_changed_content_under_the_same_names_is_noticed(change: dict[str, Any]) -> None:
    metric = TS(OPTIONS)
    metric.score([run([PLANTED, RANDOM])])
    again, anew = (one.score([run([PLANTED, RANDOM], **change)]) for one in (metric, TS(OPTIONS)))
    assert [(s.samples, s.details) for s in again] == [(s.samples, s.details) for s in anew]


def test_first_n_samples_are_used_and_renders_are_kept() -> None:
    many = replace(RANDOM, samples=draw(25, 6))
    first = replace(RANDOM, samples=draw(25, 6).take(slice(10)))
    crop = replace(first, render="crop:2>4")
    a, b, c = TS(OPTIONS).score([run([many, first, crop])])
    assert a.samples == b.samples
    assert a.details == b.details
    assert c.details["null_mean"] != b.details["null_mean"]


def test_ttest_is_marked() -> None:
    score = TS(TSOptions(negatives=5, test="ttest")).score([run([PLANTED])])[0]
    assert score.details["calibrated"] == 0.0


def test_random_sets_of_a_wrong_size_are_an_error() -> None:
    with pytest.raises(XcoreError, match="3 samples instead of 10"):
        TS(OPTIONS).score(
            [run([PLANTED], heldout_random_set=lambda n, i, render, purpose: draw(2 if n == 2 else 3, i))]
        )


def test_same_scores_bit_for_bit() -> None:
    one, two = (TS(OPTIONS).score([run([PLANTED, RANDOM])]) for _ in range(2))
    assert [(s.value, s.spread, s.samples, s.details) for s in one] == [
        (s.value, s.spread, s.samples, s.details) for s in two
    ]
    assert all(isinstance(s, Score) for s in one)


def test_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    TS(OPTIONS).score([run([PLANTED])])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


def test_the_layers_are_those_of_the_cavs_that_an_explanation_has() -> None:
    cav = UP.flatten() / UP.norm()
    several = replace(PLANTED, directions={"early": cav, "late": cav})
    assert [s.variant for s in TS(OPTIONS).score([run([several])])] == ["early", "late"]
    assert [s.variant for s in TS(TSOptions(negatives=5, layers=("late",))).score([run([several])])] == ["late"]
    # the layer of a dictionary may have an affine head
    atoms = run([replace(PLANTED, directions={"affine": cav})])
    dictionary = Dictionary("affine", torch.ones(1, 4), torch.ones(8, 1, 1), "nnls")
    with_atoms = replace(atoms, explanation=replace(atoms.explanation, dictionary=dictionary))
    assert [s.variant for s in TS(OPTIONS).score([with_atoms])] == ["early"]


FEW = TSOptions(negatives=5, null=39)


def smooth_scores(sharpness: float = 1.0, null: int = 39) -> list[Score]:
    options = AlphaTcavOptions(negatives=5, null=null, sharpness=sharpness)
    return AlphaTcav(options).score([run([PLANTED, OPPOSED, RANDOM])])


def test_a_sharp_step_gives_ts() -> None:
    sharp, hard = smooth_scores(1e12), TS(FEW).score([run([PLANTED, OPPOSED, RANDOM])])
    assert np.array([s.samples for s in sharp]) == pytest.approx(np.array([s.samples for s in hard]))
    assert [s.details["null_mean"] for s in sharp] == pytest.approx([s.details["null_mean"] for s in hard])
    assert [s.details["ts"] for s in smooth_scores()] == [s.value for s in hard]


def test_a_flat_step_gives_the_mean() -> None:
    flat = smooth_scores(1e-4)
    for score, hard in zip(flat, TS(FEW).score([run([PLANTED, OPPOSED, RANDOM])]), strict=True):
        mean = 4 * (score.value - 0.5) / 1e-4 * score.details["scale"]
        effects = hard.details["effect"] * unit()
        assert mean == pytest.approx(effects, rel=1e-3)


def unit() -> float:
    """Mean length of the gradients, in which TS gives effects."""
    given = run([PLANTED])
    gradients = given.task.classifier.open("early").gradients(given.heldout, 0)
    return float(gradients.flatten(1).norm(dim=1).mean())


def test_the_sign_of_the_sensitivity_turns_the_score_round() -> None:
    s = np.random.default_rng(0).normal(size=(4, 7))
    for sharpness in (0.1, 1.0, 30.0):
        assert smooth(s, 0.5, sharpness).mean() + smooth(-s, 0.5, sharpness).mean() == pytest.approx(1)
        assert smooth(s, 0.5, sharpness) == pytest.approx(smooth(10 * s, 5.0, sharpness))


def test_marks_and_nulls() -> None:
    planted, opposed, random = smooth_scores(null=99)
    assert (planted.details["mark"], random.details["mark"]) == (1, 0)
    assert opposed.details["p_against"] < opposed.details["p"]
    assert planted.value > random.value > opposed.value
    for score in (planted, opposed, random):
        assert score.details["lo"] < score.value < score.details["hi"]
        assert score.details["null_lo"] < score.details["null_mean"] < score.details["null_hi"]
        assert score.metric == "alpha-TCAV"
        assert score.variant == "early"
    assert smooth_scores(4.0)[0].variant == "early alpha 4"


def test_random_concepts_vary_less_the_flatter_the_step() -> None:
    spreads = [smooth_scores(sharpness)[0].details["null_sd"] for sharpness in (0.5, 2.0, 1e9)]
    assert spreads == sorted(spreads)
    assert spreads[0] < 0.75 * spreads[2]


def test_ts_and_alpha_tcav_share_gradients_and_nulls() -> None:
    given, kept = run([PLANTED]), Scorers(2)
    TS(FEW, kept).score([given])
    before = given.task.classifier.calls  # type: ignore[attr-defined]
    AlphaTcav(AlphaTcavOptions(negatives=5, null=39), kept).score([given])
    looks = 2  # at two class samples, which identify the model
    assert given.task.classifier.calls - before == looks + 1  # type: ignore[attr-defined]
    AlphaTcav(AlphaTcavOptions(negatives=4, null=39), kept).score([given])
    assert len(kept) == 2  # other random sets make another scorer


def test_without_a_scale_there_is_no_score() -> None:
    assert scale_of(np.array([-2.0, 1.0, 3.0])) == 2
    with pytest.raises(NotApplicable, match="no scale"):
        scale_of(np.zeros((2, 2)))
