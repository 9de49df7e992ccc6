"""Completeness on models whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from xcore_metrics.faithfulness.completeness import Accuracies, completeness
from xcore_metrics.options import CompletenessOptions

from xcore.contract import Cell, Concept, Explanation, NotApplicable, Ref, Run, Samples, Score, Task
from xcore.models.classifiers import TorchClassifier
from xcore.run.checks import checked_scores, not_applicable

SIDE, WIDTH, CLASSES = 4, 8, ("a", "b", "c")


class Pixels(nn.Module):
    """The first numbers of an image, from -1 to 1, are the activations at layer "seen"; the head is affine."""

    def __init__(self, head: Tensor, grid: bool = False) -> None:
        super().__init__()
        self.seen, self.grid = nn.Identity(), grid
        self.head = nn.Linear(head.shape[1], len(head))
        self.head.weight.data, self.head.bias.data = head, torch.zeros(len(head))

    def forward(self, x: Tensor) -> Tensor:
        a = 2 * x - 1
        if self.grid:  # (n, 3, 4, 4): channels at positions
            return self.head(self.seen(a).mean((2, 3)))
        return self.head(self.seen(a.flatten(1)[:, :WIDTH]))


class Data:
    """Images of uniform noise with the labels that a rule gives them."""

    classes = CLASSES

    def __init__(self, rule: Any) -> None:
        self.rule = rule

    def draw(self, n: int, seed: int) -> Samples:
        images = torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)), self.rule(images))

    def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
        assert (cls, split) == (None, "train"), "held-out samples must not be trained on"
        return self.draw(n, 100 + seed)

    def class_only(self, n: int, of: bool) -> Samples:
        drawn = self.draw(10 * n, 7)
        rows = (drawn.labels == 0).nonzero().flatten() if of else (drawn.labels != 0).nonzero().flatten()
        return drawn.take(rows[:n].tolist())


def run_of(module: nn.Module, vectors: Tensor, rule: Any = None, layer: str = "seen") -> Run:
    classifier = TorchClassifier(module, CLASSES, input_size=SIDE)
    data = Data(rule or (lambda images: module(images).argmax(1).detach()))

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        if n > 150:
            raise NotApplicable("larger than the pool")
        return data.class_only(n, False)

    concepts = tuple(Concept(f"C{i}", float(len(vectors) - i), directions={layer: v}) for i, v in enumerate(vectors))
    task = Task(classifier, layer, 0, data.draw(5, 1), random_set, data, 0)  # type: ignore[arg-type]
    cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "a", 0)
    return Run(cell, Explanation("made", "a", "made up", concepts), task, data.class_only(80, True), random_set)


def only(run: Run, **options: Any) -> Score:
    (score,) = checked_scores(completeness(CompletenessOptions(**options)).score([run]))
    return score


def signal() -> Tensor:
    """(3, WIDTH) a head that reads the first three activations, one a class."""
    return 4 * torch.eye(3, WIDTH)


def test_concepts_that_span_what_the_model_reads_are_complete() -> None:
    score = only(run_of(Pixels(signal()), torch.eye(WIDTH)))
    assert score.value == pytest.approx(1, abs=0.01)
    assert score.variant == "seen"
    assert score.details["model_accuracy"] == 1
    assert score.details["chance_accuracy"] == pytest.approx(1 / 3)
    assert score.details["target_share"] == pytest.approx(1, abs=0.05)
    assert score.details["train_images"] == 240
    assert score.details["heldout_images"] == 80 + 100  # the pool has no 200, so half of them
    mixed = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0] @ torch.eye(3, WIDTH)
    assert only(run_of(Pixels(signal()), mixed)).value == pytest.approx(1, abs=0.05)


def test_concepts_orthogonal_to_what_the_model_reads_hold_nothing() -> None:
    score = only(run_of(Pixels(signal()), torch.eye(WIDTH)[3:]))
    assert score.value == pytest.approx(0, abs=0.15)
    assert score.details["target_share"] == pytest.approx(0, abs=0.2)
    assert score.details["chance"] > score.value + 0.1  # five random directions do hold something


def test_one_of_three_signals_is_worth_a_part() -> None:
    assert 0.2 < only(run_of(Pixels(signal()), torch.eye(WIDTH)[:1])).value < 0.8


def test_more_than_the_model_has_is_not_clipped() -> None:
    head = signal()
    head[0, 5], head[1, 6] = 6.0, 6.0  # the model reads noise, too; the concepts do not hold it
    truth = Pixels(signal())
    score = only(run_of(Pixels(head), torch.eye(WIDTH)[:3], lambda x: truth(x).argmax(1).detach()))
    assert score.details["model_accuracy"] < 0.8
    assert score.value > 1.2


def test_less_than_nothing_is_not_clipped() -> None:
    own, worse = Accuracies(0.9, 0.9, 0.5), Accuracies(0.3, 0.3, 0.5)
    assert worse.share(own) == pytest.approx(-0.5)


def test_balanced_accuracy_counts_classes_alike() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    predictions = torch.eye(3)[torch.tensor([0, 0, 0, 0, 0, 2])]
    found = Accuracies.of(predictions, labels, 0)
    assert (found.all, found.chance) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found.target == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("shared", [True, False])
def test_directions_at_positions(shared: bool) -> None:
    module = Pixels(8 * torch.eye(3), grid=True)
    vectors = torch.eye(3) if shared else torch.eye(3).repeat_interleave(SIDE**2, 1)
    assert only(run_of(module, vectors)).value == pytest.approx(1, abs=0.12)


def test_the_published_scores_are_an_option_with_a_name() -> None:
    run = run_of(Pixels(signal()), torch.eye(WIDTH)[:3])
    score = only(run, beta=0.0)
    assert score.variant == "seen beta 0"
    assert 0.3 < score.value < 1.1  # what is negative is lost
    assert only(run, beta=0.99).value == pytest.approx(0, abs=0.15)  # no score is left


def test_random_state_and_repetition() -> None:
    run, before = run_of(Pixels(signal()), torch.eye(WIDTH)[:2]), torch.get_rng_state()
    assert only(run) == only(run)
    assert torch.equal(before, torch.get_rng_state())


class Around(Pixels):
    def forward(self, x: Tensor) -> Tensor:
        a = (2 * x - 1).flatten(1)[:, :WIDTH]
        return self.head(self.seen(a) + a)


def test_where_it_does_not_apply() -> None:
    run = run_of(Pixels(signal()), torch.eye(WIDTH))
    assert (
        "held-out images of other classes come from the contrast data set"
        in only(replace(run, cell=replace(run.cell, contrast=Ref("elsewhere")))).reason
    )
    assert "layer 'seen' is no cut of the graph" in only(run_of(Around(signal()), torch.eye(WIDTH))).reason
    unlabelled = replace(run.heldout_random_set(20, 0, "as-is"), labels=None)
    assert "gives no labels" in only(replace(run, heldout_random_set=lambda *asked: unlabelled)).reason
    backwards = run_of(Pixels(signal()), torch.eye(WIDTH), lambda x: Pixels(-signal())(x).argmax(1).detach())
    assert "not above chance" in only(backwards).reason
    few = run_of(Pixels(signal()), torch.eye(WIDTH))
    all_of_them = few.task.data.samples
    few.task.data.samples = lambda cls, split, n, seed: all_of_them(cls, split, 6, seed)  # type: ignore[method-assign]
    assert only(few).reason == "6 labelled training images are too few to fit the recovery network"
    assert not_applicable(completeness(), replace(run, explanation=replace(run.explanation, concepts=())))
