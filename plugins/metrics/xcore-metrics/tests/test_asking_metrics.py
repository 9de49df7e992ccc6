"""Surrogate faithfulness, FaithTrace and CoSy on networks whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xcore_metrics.asking.cosy import cosy
from xcore_metrics.asking.faithtrace import faithtrace, influence_of
from xcore_metrics.asking.linear import fit_map
from xcore_metrics.asking.ranks import bootstrapped_auc, wins
from xcore_metrics.asking.surrogate import divergence, surrogate_faithfulness
from xcore_metrics.options import CoSyOptions, FaithTraceOptions, SurrogateFaithfulnessOptions

from xcore.contract import Cell, Concept, Explanation, MissingError, Ref, Run, Samples, Score, Task
from xcore.models.classifiers import TorchClassifier
from xcore.run.checks import checked_scores
from xcore.store.run_directory import Artifacts

SIDE, FACTORS, WIDTH = 4, 5, 8
CLASSES = ("x", "y", "z")
PHRASES = tuple(f"factor {i}" for i in range(FACTORS))


class Pixels(nn.Module):
    """The first numbers of an image, from -1 to 1, are the activations at layer "seen"; the head is affine."""

    def __init__(self, head: Tensor) -> None:
        super().__init__()
        self.seen = nn.Identity()
        self.head = nn.Linear(head.shape[1], len(head))
        self.head.weight.data, self.head.bias.data = head, torch.zeros(len(head))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.seen((2 * x - 1).flatten(1)[:, :WIDTH]))


def pictures(factors: Tensor, name: str) -> Samples:
    """Images whose first numbers are these factors (n, FACTORS), from -1 to 1; the others are 0."""
    flat = torch.zeros(len(factors), 3 * SIDE * SIDE)
    flat[:, :FACTORS] = factors
    return Samples("image", (flat.view(-1, 3, SIDE, SIDE) + 1) / 2, tuple(f"{name}/{i}" for i in range(len(flat))))


def every_picture(name: str) -> Samples:
    """All 32 pictures, one for each set of factors: no two factors go together."""
    return pictures(torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * FACTORS), name)


class Reader:
    """The image-text model: it reads the factors of a picture, and the factor that a phrase names."""

    name = "reader"

    def embed_images(self, samples: Samples) -> Tensor:
        return (2 * samples.images - 1).flatten(1)[:, :FACTORS]

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(FACTORS)[[PHRASES.index(t) for t in texts]]


class Painter:
    """The generator: a picture in which the named factor is there, and no other one."""

    modality = "image"
    fingerprint = "painter"
    can: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Any = None) -> Samples:
        self.asked += prompts
        return pictures(2 * torch.eye(FACTORS)[[PHRASES.index(p) for p in prompts]] - 1, "drawn")


class Data:
    classes = CLASSES
    modality = "image"


def run_of(
    head: Tensor,
    concepts: Sequence[Concept],
    folder: Path,
    *,
    layer: str = "seen",
    generator: Any = None,
    samples: Samples | None = None,
    vocabulary: tuple[str, ...] = PHRASES,
) -> Run:
    """A run of class "x" in which all samples, explained and held out, are all pictures, or the given ones."""
    each = samples or every_picture("all")

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        return each.take([i % len(each) for i in range(n)])

    task: Any = Task(
        TorchClassifier(Pixels(head), CLASSES, input_size=SIDE),
        layer,
        0,
        each,
        random_set,
        Data(),  # type: ignore[arg-type]
        0,
        vocabulary=vocabulary,
        generator=generator,
        model=lambda role: Reader(),
        roles=("image-text",),
        artifact=Artifacts(folder / "artifacts").get,
    )
    cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "x", 0)
    return Run(cell, Explanation("made", "x", "made up", tuple(concepts)), task, each, random_set)


def named(*factors: int, directions: Tensor | None = None) -> list[Concept]:
    """Concepts that are named by these factors; with rows of `directions`, if given."""
    return [
        Concept(
            PHRASES[f],
            float(len(factors) - i),
            words=(PHRASES[f],),
            directions={} if directions is None else {"seen": directions[i]},
        )
        for i, f in enumerate(factors)
    ]


HALVES = FaithTraceOptions(others=64, share=0.5)
"""With 64 others of two further classes, the pool has all pictures three times: no factors go together in it."""


def head(*rows: dict[int, float]) -> Tensor:
    """(3, WIDTH) the weights of each class by factor."""
    made = torch.zeros(3, WIDTH)
    for i, row in enumerate(rows):
        for factor, weight in row.items():
            made[i, factor] = weight
    return made


READS = head({0: 2.0, 1: -1.0}, {1: 3.0}, {2: 1.0})


def surrogate(run: Run, **options: int) -> Score:
    (score,) = checked_scores(surrogate_faithfulness(SurrogateFaithfulnessOptions(others=64, **options)).score([run]))
    return score


def test_concepts_that_are_what_the_head_reads_give_all_logits_back(tmp_path: Path) -> None:
    score = surrogate(run_of(READS, named(0, 1, 2, directions=READS), tmp_path))
    assert score.value == pytest.approx(1, abs=1e-4)
    assert score.details["kl"] == pytest.approx(0, abs=1e-4)
    assert score.details["chance"] < 0.9
    assert score.details["difference_lo"] > 0
    assert score.details["kl_difference_hi"] < 0
    assert score.details["better_than"] == 1
    assert score.details["difference"] == pytest.approx(score.value - score.details["chance"])
    assert score.variant == "directions seen"


def test_a_part_of_what_the_head_reads_gives_its_share_of_the_variance(tmp_path: Path) -> None:
    # the variance of all logits is the sum of the squared weights: 4 + 1 + 9 + 1; that of factor 1 is 10 of these 15
    score = surrogate(run_of(READS, named(1, directions=torch.eye(WIDTH)[1:2]), tmp_path))
    assert score.value == pytest.approx(10 / 15, abs=0.02)
    assert score.details["target_r2"] == pytest.approx(1 / 5, abs=0.02)
    unread = surrogate(run_of(READS, named(3, 4, directions=torch.eye(WIDTH)[3:5]), tmp_path))
    assert unread.value == pytest.approx(0, abs=1e-3)
    assert unread.details["difference_hi"] < 0  # random directions hold something of what is read


def test_words_are_scored_by_the_image_text_model(tmp_path: Path) -> None:
    score = surrogate(run_of(READS, named(0, 1), tmp_path))
    assert score.variant == "words reader"
    assert score.value == pytest.approx(14 / 15, abs=0.02)
    assert score.details["concepts"] == 2
    few = surrogate(run_of(READS, named(0, 1), tmp_path, vocabulary=PHRASES[:3]))
    assert few.reason == "the vocabulary has no 2 other phrases to compare with"


def test_where_a_surrogate_does_not_apply(tmp_path: Path) -> None:
    unnamed = surrogate(run_of(READS, [Concept("region", 1.0)], tmp_path))
    assert unnamed.reason is not None
    assert "neither atoms, directions nor words" in unnamed.reason
    assert surrogate(run_of(READS, [], tmp_path)).reason == "the explanation has no concepts"
    constant = surrogate(run_of(0 * READS, named(0, directions=READS[:1]), tmp_path))
    assert constant.reason == "the classifier gives the same logits to every held-out sample"


def test_the_map_of_all_classes_is_the_ridge_of_each() -> None:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(60, 3, generator=rng, dtype=torch.double), torch.randn(3, 2, generator=rng, dtype=torch.double)
    y = x @ w + 0.5 * torch.randn(60, 2, generator=rng, dtype=torch.double) + 7
    made = fit_map(x, y)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    gram = z.T @ z / 60 + made.penalty * torch.eye(3, dtype=torch.double)
    direct = z @ torch.linalg.solve(gram, z.T @ (y - y.mean(0)) / 60) + y.mean(0)
    assert torch.allclose(made(x), direct)
    constant = fit_map(torch.cat([x, torch.ones(60, 1)], 1), y)
    assert torch.allclose(constant(torch.cat([x, torch.ones(60, 1)], 1)), direct)


def test_divergence_has_closed_forms() -> None:
    two = torch.tensor([[0.0, 0.0]]).double(), torch.tensor([[np.log(3.0), 0.0]]).double()
    assert float(divergence(*two, "exclusive")) == pytest.approx(0.5 * np.log(2 / 3) + 0.5 * np.log(2))
    shares = torch.tensor([[0.5]]).double(), torch.tensor([[0.75]]).double()
    assert float(divergence(*shares, "probabilities")) == pytest.approx(0.5 * np.log(2 / 3) + 0.5 * np.log(2))


def test_the_influence_of_a_factor_is_the_weight_of_an_affine_head(tmp_path: Path) -> None:
    scores = checked_scores(faithtrace(HALVES).score([run_of(READS, named(0, 1, 2), tmp_path)]))
    assert [s.value for s in scores] == pytest.approx([2, -1, 0], abs=1e-6)
    first, second, third = scores
    # the other factors have the weights -1, 0, 0, 0
    assert first.details["null_mean"] == pytest.approx(-0.25, abs=1e-6)
    assert (first.details["p"], second.details["p_against"]) == (1 / 5, 1 / 5)
    assert third.details["lo"] <= 0 <= third.details["hi"]
    assert first.details["lo"] > third.details["hi"] > second.details["hi"]
    assert first.details["relative"] == pytest.approx(2 / 5**0.5)
    assert first.details["moved"] == pytest.approx(4)  # from -1 to 1
    assert first.variant == "seen, reader"


def test_influence_is_a_projection_on_a_unit_direction() -> None:
    slope, direction = np.array([3.0, 4.0, 5.0]), np.array([0.0, 2.0, 0.0])
    assert influence_of(slope, direction) == (4.0, 2.0)
    assert influence_of(slope, -7 * direction)[0] == -4.0
    assert influence_of(slope, 0 * direction) == (0.0, 0.0)


def test_where_faithtrace_does_not_apply(tmp_path: Path) -> None:
    run = run_of(READS, [*named(0), Concept("region", 1.0)], tmp_path)
    assert [s.reason for s in faithtrace(HALVES).score([run])] == [None, "the concept has no words"]
    blind = run_of(head({}, {0: 1.0}), named(0), tmp_path)
    assert "does not depend on the layer 'seen'" in str(faithtrace(HALVES).score([blind])[0].reason)
    alone = run_of(READS, named(0), tmp_path, vocabulary=PHRASES[:1])
    assert "no other text than 'factor 0'" in str(faithtrace(HALVES).score([alone])[0].reason)
    unseen = run_of(READS, named(3), tmp_path, samples=pictures(torch.ones(20, FACTORS), "alike"))
    assert faithtrace(HALVES).score([unseen])[0].reason == "the features do not change with 'factor 3'"


def test_a_unit_that_is_a_factor_answers_to_its_text_alone(tmp_path: Path) -> None:
    painter = Painter()
    eye = torch.eye(WIDTH)
    run = run_of(
        READS,
        named(3, 4, directions=torch.stack([eye[3], eye[3]])),  # the second is named by a factor that it is not
        tmp_path,
        generator=painter,
        samples=pictures(-torch.ones(40, FACTORS), "none"),
    )
    own, other = checked_scores(cosy(CoSyOptions(images=4, others=20)).score([run]))
    assert (own.value, own.details["lo"], own.details["hi"]) == (1, 1, 1)
    assert (own.details["null_mean"], own.details["p"]) == (0.5, 1 / 5)
    assert (other.value, other.details["p"]) == (0.5, 1)
    assert other.details["null_mean"] == pytest.approx((1 + 3 * 0.5) / 4)
    assert own.variant == "direction, drawn"
    assert sorted(painter.asked) == sorted(4 * PHRASES)
    assert checked_scores(cosy(CoSyOptions(images=4, others=20)).score([run])) == [own, other]
    assert len(painter.asked) == 4 * FACTORS  # the drawings are kept


def test_without_a_generator_pictures_of_a_text_are_found(tmp_path: Path) -> None:
    draws = torch.randint(2, (200, FACTORS), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    run = run_of(READS, named(0, 1, 3), tmp_path, samples=pictures(draws, "random"))
    used, against, unread = checked_scores(cosy(CoSyOptions(images=40, others=190)).score([run]))
    assert {s.variant for s in (used, against, unread)} == {"class logit, found"}
    # the logit is twice the first factor less the second: in pictures of the first it is 3 or 1, elsewhere -3 to 3
    assert used.value == pytest.approx(0.79, abs=0.05)
    assert against.value < 0.47
    assert unread.value == pytest.approx(0.5, abs=0.1)
    for score in (used, against, unread):
        assert score.value is not None
        assert score.details["lo"] <= score.value <= score.details["hi"]
    assert used.details["mad"] > 0 > against.details["mad"]
    assert (used.details["images"], used.details["control_images"]) == (40, 245)


def test_where_cosy_does_not_apply(tmp_path: Path) -> None:
    run = run_of(READS, [*named(0), Concept("region", 1.0)], tmp_path)
    assert [s.reason for s in cosy(CoSyOptions(images=4)).score([run])] == [None, "the concept has no words"]
    with pytest.raises(MissingError, match="needs a generator"):
        cosy(CoSyOptions(source="generator")).score([run])
    assert "too few to find 40" in str(cosy(CoSyOptions(images=40, others=20)).score([run])[0].reason)


def test_wins_and_their_bootstrap() -> None:
    won = wins(np.array([1.0, 2.0]), np.array([0.0, 1.0, 3.0]))
    assert won.tolist() == [[1, 0.5, 0], [1, 1, 0]]
    drawn = bootstrapped_auc(won, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(won.mean(), abs=0.03)
    assert np.ptp(drawn) > 0.3


def test_the_drawn_picture_of_a_phrase_is_read_as_it() -> None:
    drawn = Painter().generate(PHRASES, range(FACTORS))
    assert Reader().embed_images(drawn).argmax(1).tolist() == list(range(FACTORS))
