"""Completeness and Shapley values on networks that are built by hand, so that the right concepts are known."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn.functional import normalize
from xcore_conceptshap.learning import Scored, coherence, learn, similarity, unlike, value
from xcore_conceptshap.network import Head, Part
from xcore_conceptshap.options import Options
from xcore_conceptshap.scores import Distinct, concept_scores, kept_products, new_recovery
from xcore_conceptshap.shapley import coalitions_of
from xcore_conceptshap.shared import Valued
from xcore_craft.activations import split_at

from xcore.contract import Samples
from xcore.models import TorchClassifier
from xcore.models.codes import rows_of

SHAPES, USED, CELLS, WIDTH = 15, 5, 5, 24


def channels() -> nn.Module:
    """Two classes: which of the first two channels is larger. The third one is not looked at."""
    see: Any = nn.Conv2d(3, 3, 1, bias=False)
    out: Any = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        see.weight.copy_(torch.eye(3)[..., None, None])
        out.weight.copy_(torch.tensor([[9.0, -9.0, 0.0], [-9.0, 9.0, 0.0]]))
    return nn.Sequential(see, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), out).eval()


def parts(network: nn.Module, images: torch.Tensor, layer: str, scores: Any = "exclusive") -> tuple[Head, Part, Part]:
    samples = Samples("image", images, tuple(map(str, range(len(images)))))
    classes = network(images[:1]).shape[1]
    classifier = TorchClassifier(network, tuple(f"class {i}" for i in range(classes)))
    split = split_at(classifier, layer, samples)
    head = Head(split, scores)
    truth = head.probabilities(classifier.logits(samples))
    whole = Part(samples, rows_of(split.probe.activations(samples), split.probe.layout), truth)
    index = torch.arange(len(images))
    return head, whole.take(index[index % 4 > 0]), whole.take(index[index % 4 == 0])


def colours(n: int = 160) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 1, 1, generator=rng).expand(n, 3, 4, 4).contiguous()


def valued(concepts: torch.Tensor, o: Options) -> tuple[Valued, torch.Tensor]:
    """The values of all sets of these concepts for the network of channels, and what the network itself reaches."""
    head, train, measured = parts(channels(), colours(), "1")
    concepts = normalize(concepts, dim=1)
    recovery = new_recovery(train.rows, len(concepts), o.hidden, torch.Generator().manual_seed(1))
    images = [Scored.of(head, part, concepts, o) for part in (train, measured)]
    coalitions = coalitions_of(len(concepts), o.coalitions, np.random.default_rng(0))
    values = [value(head, *images, recovery, torch.from_numpy(m), o, 0) for m in coalitions.members]
    own = head.measure(measured.truth, measured.truth)
    return Valued(concepts, torch.zeros(len(concepts)), 0, coalitions, torch.stack(values)), own


OPTIONS = Options(beta=0, scale="none", hidden=40, tuning=100, rate=0.02)


def test_orthonormal_concepts_that_span_the_layer_are_complete_and_share_it() -> None:
    made, own = valued(torch.eye(3), OPTIONS)
    for kind in ("class", "all"):
        eta = made.game(kind, 0, own)
        assert eta[0] == 0
        assert float(eta[-1]) > 0.85
        shares = made.coalitions.shapley(eta.numpy())
        assert shares.sum() == pytest.approx(float(eta[-1]), abs=1e-3)
        assert shares[2] < 0.15 < shares[:2].min()


def test_a_concept_beside_the_signal_is_not_complete() -> None:
    made, own = valued(torch.eye(3)[2:], OPTIONS)
    assert abs(float(made.game("class", 0, own)[-1])) < 0.25


def test_a_concept_that_is_nowhere_gets_nothing_and_equal_ones_share_alike() -> None:
    concepts = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    made, own = valued(concepts, OPTIONS.model_copy(update={"tuning": 60}))
    shares = made.coalitions.shapley(made.game("class", 0, own).numpy())
    assert shares[2] == 0
    assert shares[0] == pytest.approx(shares[1], abs=0.06)
    assert min(shares[0], shares[1], shares[3]) > 0.05


def test_the_mean_of_the_recalls_is_the_completeness_of_all() -> None:
    made, own = valued(torch.eye(3)[:2], OPTIONS.model_copy(update={"tuning": 30}))
    _, _, measured = parts(channels(), colours(), "1")
    share = measured.truth.round().mean(0)
    mean = sum(float(share[c]) * made.game("recall", c, own) for c in (0, 1))
    assert torch.allclose(torch.as_tensor(mean), made.game("all", 0, own), atol=1e-6)


def test_scores_are_kept_above_the_cosine_and_scaled() -> None:
    rows = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [-1.0, 0.1]]])
    kept = kept_products(rows, torch.tensor([[2.0, 0.0], [0.0, 1.0]]), 0.7)
    assert torch.allclose(kept, torch.tensor([[[0.0, 4.0], [0.0, 0.0], [0.0, 0.0]]]))
    both = kept_products(rows, torch.eye(2), 0.0)[:, :1]
    assert torch.allclose(concept_scores(both, "l2")[0, 0], torch.tensor([0.6, 0.8]))
    assert torch.allclose(concept_scores(both, "sum")[0, 0], torch.tensor([3 / 7, 4 / 7]), atol=1e-3)
    assert torch.allclose(concept_scores(both, "none", torch.tensor([True, False]))[0, 0], torch.tensor([3.0, 0.0]))


def test_scores_that_occur_often_are_recovered_once_with_the_same_results_and_gradients() -> None:
    rng = torch.Generator().manual_seed(0)
    kept = torch.rand(30, 16, 4, generator=rng) * (torch.rand(30, 16, 4, generator=rng) < 0.3)
    scores = concept_scores(kept, "l2", torch.tensor([True, True, False, True]))
    distinct = Distinct.of(scores)
    assert len(distinct.scores) < 0.7 * 30 * 16
    images = torch.tensor([29, 3, 3, 17])
    results = []
    for whole in (True, False):
        recovery = new_recovery(torch.rand(30, 16, 5, generator=rng.manual_seed(1)), 4, 300, rng).copy()
        with torch.enable_grad():
            found = recovery(scores[images]) if whole else distinct.recovered(recovery, images)
            results.append((found, *torch.autograd.grad(found.sin().sum(), list(recovery.weights))))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    first, bias, second, last = recovery.weights
    by_hand = recovery.mean + recovery.spread * ((scores[images] @ first + bias).relu() @ second + last)
    assert torch.allclose(found, by_hand, atol=1e-5)


def test_coherence_and_similarity_have_the_values_of_their_formulas() -> None:
    rows = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    assert float(coherence(rows, torch.tensor([[5.0, 0.0]]), 2)) == pytest.approx((1 + 0.5**0.5) / 2)
    opposite = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    assert float(similarity(opposite, signed=True)) == pytest.approx(-1)
    assert float(similarity(opposite, signed=False)) == pytest.approx(1)
    assert float(similarity(opposite[:1], signed=True)) == 0
    assert unlike(torch.tensor([[1.0, 0.0], [2.0, 0.01], [0.0, 1.0]]), 0.95) == [0, 2]


class Stopped(Exception):
    """What interrupts learning."""


def test_learning_goes_on_from_its_checkpoint(tmp_path) -> None:
    head, train, _ = parts(channels(), colours(40), "1")
    o = Options(k=2, steps=120, hidden=10, batch=16)

    def stop(done: int) -> None:
        raise Stopped

    for folder in ("whole", "again"):
        (tmp_path / folder).mkdir()
    whole = learn(head, train, o, 0, tmp_path / "whole", lambda done: None)
    with pytest.raises(Stopped):
        learn(head, train, o, 0, tmp_path / "again", stop)
    again = learn(head, train, o, 0, tmp_path / "again", lambda done: pytest.fail("it began anew"))
    assert torch.equal(whole.concepts, again.concepts)


def shapes_network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """15 Boolean classes over the first 5 of 15 shapes; the shapes (15, 4, 4) and their directions in layer 2."""
    rng = torch.Generator().manual_seed(3)
    shapes = torch.zeros(SHAPES, 16)
    for shape in shapes:
        shape[torch.randperm(16, generator=rng)[:8]] = 1
    directions = normalize(torch.randn(SHAPES, WIDTH, generator=rng), dim=1)
    see, mix, unmix = nn.Conv2d(3, SHAPES, 4, stride=4), nn.Conv2d(SHAPES, WIDTH, 1), nn.Conv2d(WIDTH, SHAPES, 1)
    out: Any = nn.Linear(SHAPES, 15)
    with torch.no_grad():
        see.weight.copy_((2 * shapes - 1).reshape(SHAPES, 1, 4, 4).expand(-1, 3, -1, -1) / 3)
        see.bias.fill_(-7.0)  # type: ignore[union-attr]
        mix.weight.copy_(directions.T[..., None, None])
        mix.bias.zero_()  # type: ignore[union-attr]
        unmix.weight.copy_(torch.linalg.pinv(directions).T[..., None, None])
        unmix.bias.zero_()  # type: ignore[union-attr]
        out.weight.zero_()
        for i in range(USED):
            near, far = (i + 1) % USED, (i + 2) % USED
            out.weight[i, [i, near]], out.bias[i] = 8.0, -12.0  # both
            out.weight[USED + i, [i, far]], out.bias[USED + i] = 8.0, -4.0  # one of them
            out.weight[2 * USED + i, [i, near, far]], out.bias[2 * USED + i] = 8.0, -12.0  # two of three
    network = nn.Sequential(see, nn.ReLU(), mix, unmix, nn.AdaptiveMaxPool2d(1), nn.Flatten(), out)
    return network.eval(), shapes.reshape(SHAPES, 4, 4), directions


def shape_pictures(shapes: torch.Tensor, n: int) -> torch.Tensor:
    rng = np.random.default_rng(5)
    images = torch.zeros(n, 3, 4 * CELLS, 4 * CELLS)
    for image in images:
        there = np.flatnonzero(rng.random(SHAPES) < 0.5)
        for shape, cell in zip(there, rng.permutation(CELLS**2), strict=False):
            top, left = 4 * (cell // CELLS), 4 * (cell % CELLS)
            image[:, top : top + 4, left : left + 4] = shapes[shape]
    return images


def test_of_fifteen_shapes_those_that_the_classes_are_made_of_are_found(tmp_path) -> None:
    network, shapes, directions = shapes_network()
    head, train, _ = parts(network, shape_pictures(shapes, 300), "2", "independent")
    o = Options(k=USED, steps=300, hidden=100, nearest=32, beta=0.2, rate=0.01)
    found = learn(head, train, o, 0, tmp_path, lambda done: None)
    cosines = (found.concepts @ directions.T).numpy()
    rows, columns = linear_sum_assignment(-cosines)
    print("shape of each concept and cosine:", *zip(columns.tolist(), cosines[rows, columns].round(2), strict=True))
    assert len({*columns.tolist()} & {*range(USED)}) >= USED - 1  # 1.7 by chance
    assert cosines[rows, columns].min() > 0.8
