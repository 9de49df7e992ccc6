"""CS, ED, RCS, RED against closed forms: the identities of the pair means."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_metrics.options import PairOptions
from xcore_metrics.pairs import cs, ed, pair_values, rcs, red

from xcore.contract import Concept, Explanation, Samples, Score, XcoreError


class Table:
    """An embedder that reads the embedding off the first row of pixels, and counts how often it is asked."""

    name = "table"

    def __init__(self, width: int = 6) -> None:
        self.width = width
        self.asked: list[str] = []

    def embed_images(self, images: Samples) -> Tensor:
        self.asked.append(images.ids[0])
        return images.images[:, 0, 0, : self.width]

    embed = embed_images


def pictures(vectors: Tensor, name: str = "x") -> Samples:
    data = vectors.float()[:, None, None, :].expand(-1, 3, 2, -1).clone()
    return Samples("image", data, tuple(f"{name}/{i}" for i in range(len(data))))


def run_of(heldout: Tensor, *concepts: Tensor | None, model: Any = None, background: Tensor | None = None) -> Any:
    made = [Concept(f"c{i}", 1.0, None if c is None else pictures(c, f"c{i}")) for i, c in enumerate(concepts)]
    model = model or Table(heldout.shape[1])
    return SimpleNamespace(
        explanation=Explanation("m", "zebra", "unit", tuple(made)),
        heldout=pictures(heldout, "class"),
        heldout_random_set=lambda n, index, render="as-is", purpose="negative": pictures(background, "set"),
        task=SimpleNamespace(model=lambda role: model),
    )


def value(metric: Any, heldout: Tensor, concept: Tensor, **fields: Any) -> Score:
    (score,) = metric.score([run_of(heldout, concept, **fields)])
    return score


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


A, B = draw(0, 7, 6) + 0.5, draw(1, 5, 6) - 0.2


def test_known_vectors_in_the_plane() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    score = value(cs(), a, b)
    half = math.sqrt(0.5)
    assert score.value == pytest.approx((1 + 0 + half + 0 + 1 + half) / 6)
    assert score.samples == pytest.approx((0.5, 0.5, half))
    assert value(ed(), a, b).value == pytest.approx(
        (2 + math.sqrt(26) + 1 + math.sqrt(13) + 3 + math.sqrt(2)) / 6, rel=1e-6
    )


def test_mean_of_squared_distances_is_known_from_the_means() -> None:
    a, b = A.double(), B.double()
    squared = (pair_values(a, b, "euclidean") ** 2).mean()
    assert squared.item() == pytest.approx(
        ((a**2).sum(1).mean() + (b**2).sum(1).mean() - 2 * a.mean(0) @ b.mean(0)).item(), rel=1e-12
    )


def test_rotation_changes_nothing() -> None:
    q, _ = torch.linalg.qr(draw(2, 6, 6))
    for metric in (cs(), ed(), rcs(), red()):
        assert value(metric, A @ q, B @ q).value == pytest.approx(value(metric, A, B).value, rel=1e-5)


def test_scaling_scales_distances_and_leaves_cosines() -> None:
    assert value(ed(), 4 * A, 4 * B).value == pytest.approx(4 * (value(ed(), A, B).value or 0), rel=1e-6)
    assert value(cs(), 4 * A, 4 * B).value == pytest.approx(value(cs(), A, B).value, rel=1e-6)


@pytest.mark.parametrize("std_over", ["concept_images", "pairs"])
def test_order_of_images_changes_nothing(std_over: Any) -> None:
    options = PairOptions(std_over=std_over)
    for metric in (cs(options), red(options)):
        one, other = value(metric, A, B), value(metric, A.flip(0), B.roll(2, 0))
        assert other.value == pytest.approx(one.value, rel=1e-6)
        assert other.spread == pytest.approx(one.spread, rel=1e-6)


def test_a_concept_of_the_class_images_has_a_diagonal() -> None:
    """CS of the class with itself is its mean inner cosine, the pairs (i, i) included; ED is zero at these."""
    cosines = torch.nn.functional.cosine_similarity(A[:, None], A[None], dim=2)
    off = (cosines.sum() - cosines.diagonal().sum()).item() / (7 * 6)
    assert value(cs(), A, A).value == pytest.approx((6 * off + 1) / 7, rel=1e-6)
    assert pair_values(A.double(), A.double(), "euclidean").diagonal().tolist() == [0.0] * 7
    assert value(ed(), A, A).value == pytest.approx(torch.pdist(A).sum().item() * 2 / 49, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_cosines_and_their_spread_stay_within_one(seed: int) -> None:
    heldout, concept = draw(seed, 9, 3) * 1e4, draw(seed + 100, 8, 3) * 1e-4
    for std_over in ("concept_images", "pairs"):
        score = value(cs(PairOptions(std_over=std_over)), heldout, concept)
        assert -1 <= (score.value or 0) <= 1
        assert 0 <= (score.spread or 0) <= 1
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert value(cs(PairOptions(std_over="pairs")), opposite, opposite).spread == 1.0  # the largest there is


def test_the_score_says_what_the_spread_is_over() -> None:
    by_image, by_pair = value(cs(), A, B), value(cs(PairOptions(std_over="pairs")), A, B)
    cosines = torch.nn.functional.cosine_similarity(A[:, None], B[None], dim=2)
    assert (by_image.over, by_image.n) == ("concept samples", 5)
    assert by_image.spread == pytest.approx(cosines.mean(0).std(correction=0).item(), rel=1e-5)
    assert (by_pair.over, by_pair.n) == ("pairs", 35)
    assert by_pair.spread == pytest.approx(cosines.std(correction=0).item(), rel=1e-5)
    assert by_image.value == by_pair.value
    assert by_image.details["std_pairs"] == by_pair.spread
    assert by_image.variant == "table"


def test_each_set_is_embedded_once_whoever_asks() -> None:
    model = Table()
    run = run_of(A, B, B + 1, model=model)
    for metric in (cs(), ed(), ed(PairOptions(normalise=True))):
        metric.score([run])
    assert sorted(model.asked) == ["c0/0", "c1/0", "class/0"]


def test_two_models_never_share_embeddings() -> None:
    one, other = Table(6), Table(2)
    assert value(cs(), A, B, model=one).value != value(cs(), A, B, model=other).value


def test_centring_moves_cosines_and_not_distances() -> None:
    background = draw(3, 4, 6) + 2
    options = PairOptions(centre=True)
    centred = value(cs(options), A, B, background=background)
    shift = background.mean(0)
    assert centred.value == pytest.approx(value(cs(), A - shift, B - shift).value, rel=1e-5)
    assert centred.variant == "table centred"
    assert value(ed(options), A, B, background=background).value == pytest.approx(value(ed(), A, B).value, rel=1e-6)


def test_unit_length_ties_distance_to_cosine() -> None:
    """For unit vectors |a - b|^2 = 2 - 2 cos, for every pair."""
    a, b = A.double() / A.double().norm(dim=1, keepdim=True), B.double() / B.double().norm(dim=1, keepdim=True)
    assert torch.allclose(pair_values(a, b, "euclidean") ** 2, 2 - 2 * pair_values(a, b, "cosine"))
    unit = value(ed(PairOptions(normalise=True)), 10 * A, B)
    assert unit.value == pytest.approx(pair_values(a, b, "euclidean").mean().item(), rel=1e-5)
    assert unit.variant == "table unit"


def test_what_cannot_be_scored_has_a_reason() -> None:
    zero = B.clone()
    zero[0] = 0
    broken = B.clone()
    broken[1, 2] = float("nan")
    none, dark, nan = cs().score([run_of(A, None, zero, broken)])
    assert (none.concept, none.reason) == (0, "the concept has no images")
    assert dark.reason == "an embedding is zero, so its cosine is undefined"
    assert nan.reason == "1 of 5 embeddings of the concept images are not finite"
    _, far, _ = ed().score([run_of(A, None, zero, broken)])
    assert far.value is not None  # a distance from zero is well defined


def test_a_model_that_gives_no_row_an_image_is_an_error() -> None:
    model = SimpleNamespace(name="flat", embed_images=lambda x: x.images.flatten())
    with pytest.raises(XcoreError, match="one row for each image"):
        cs().score([run_of(A, B, model=model)])


def test_directions_and_roles() -> None:
    assert [(tuple(m.roles.values()), m.direction) for m in (cs(), ed(), rcs(), red())] == [
        (("image-text", "text-embedder"), "lower"),
        (("image-text", "text-embedder"), "higher"),
        (("image-embedder",), "lower"),
        (("image-embedder",), "higher"),
    ]
