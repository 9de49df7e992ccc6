"""Scores against closed forms, peers and explicit computation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_tcav.inference import interval
from xcore_tcav.options import Counterparts
from xcore_tcav.scorer import Scorer

from xcore.contract import NotApplicable, RandomSet, Samples, UsageError, XcoreError

SIDE = 4  # pictures of 4 x 4 carry d = 48 numbers


def images(values: Tensor) -> Samples:
    """Rows of up to 48 numbers as pictures."""
    flat = torch.zeros(len(values), 3 * SIDE * SIDE)
    flat[:, : values.shape[1]] = values
    return Samples("image", flat.view(-1, 3, SIDE, SIDE), tuple(repr(float(row[0])) for row in flat))


class PixelProbe:
    """The activations are the first d pixels (or the whole picture); the logit of class 0 is `h`, of class 1 -h."""

    def __init__(self, h: Callable[[Tensor], Tensor], d: int | None = 4) -> None:
        self.h, self.d, self.calls, self.seen = h, d, 0, 0
        self.layout = "NCHW" if d is None else "NC"

    def activations(self, x: Samples) -> Tensor:
        self.calls += 1
        self.seen += len(x)
        return x.images if self.d is None else x.images.flatten(1)[:, : self.d]

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        h = self.h(a)
        return torch.stack((h, -h), 1)

    def gradients(self, x: Samples, target: int) -> Tensor:
        a = self.activations(x).clone().requires_grad_()
        return torch.autograd.grad(self.head(a)[:, target].sum(), a)[0]


def gaussian(n: int, seed: int, d: int = 4, shift: float = 0.0) -> Samples:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += shift
    return images(x)


def random_sets(d: int = 4) -> RandomSet:
    """Sets for a null have other seeds than the negative sets."""
    return lambda n, i, render="as-is", purpose="negative": gaussian(n, 10_000 + i + 1000 * (purpose == "null"), d)


def curved(a: Tensor) -> Tensor:
    """A logit whose gradient differs from sample to sample."""
    a = a.flatten(1)
    w = torch.linspace(-1, 1, a.shape[1], dtype=a.dtype)
    return torch.tanh(a @ w) + (a**2 @ w.flip(0)) / 4 + a[:, 0]


def scorer(
    h: Callable[[Tensor], Tensor] = curved, m: int = 30, d: int | None = 4, target: int = 0, **kw: object
) -> Scorer:
    width = 3 * SIDE * SIDE if d is None else d
    kw = {"negatives": 5} | kw
    return Scorer(PixelProbe(h, d), target, gaussian(m, 1, width), random_sets(width), **kw)  # type: ignore[arg-type]


E0 = torch.tensor([[1.0, 0.0, 0.0, 0.0]])


def test_linear_head_scores_one_and_zero() -> None:
    concept = gaussian(10, 5, shift=4.0)
    assert scorer(lambda a: a[:, 0], affine=True).score(concept).ts == 1.0
    assert scorer(lambda a: a[:, 0], affine=True, target=1).score(concept).ts == 0.0


def test_affine_head_is_refused_and_zero_gradients_too() -> None:
    with pytest.raises(NotApplicable, match="undefined at this layer"):
        scorer(lambda a: 3 * a[:, 0] - a[:, 1] + 2)
    with pytest.raises(NotApplicable, match="does not depend"):
        scorer(lambda a: a[:, 0] * 0)
    with pytest.raises(NotApplicable, match="needs a sample of the class"):
        scorer(m=0)
    with pytest.raises(XcoreError, match="not finite"):
        scorer(lambda a: a[:, 0] * float("nan"))
    with pytest.raises(UsageError, match="folds"):
        scorer(folds=1)


def test_one_sample_is_scored_for_itself() -> None:
    made, concept = scorer(m=1, negatives=12), gaussian(10, 5, shift=2.0)
    score = made.score(concept)
    assert set(score.ts_each.tolist()) <= {0.0, 1.0}, "one sample is sensitive to a CAV, or it is not"
    assert score.ts == pytest.approx(score.shares[0])
    sensitivity = (made.cavs(concept) @ made.gradients[0]).double().numpy()
    assert score.effect == pytest.approx(sensitivity.mean() / made.units[0], abs=1e-5)
    half = 2.201 * sensitivity.std(ddof=1) / np.sqrt(12) / made.units[0]  # Student's t with 11 degrees of freedom
    assert score.effect_hi - score.effect == pytest.approx(half, rel=1e-3)
    assert 0 < min(made.p_values(score, 19)) <= max(made.p_values(score, 19)) <= 1


def test_an_affine_head_shows_beside_random_samples_where_a_sample_is_alone() -> None:
    with pytest.raises(NotApplicable, match="the class sample and for random ones"):
        scorer(lambda a: 3 * a[:, 0] - a[:, 1] + 2, m=1).score(gaussian(10, 5))


@pytest.mark.parametrize(
    ("h", "share"),
    [
        (lambda a: torch.relu(a[:, 0]), lambda a: a[:, 0] > 0),
        (lambda a: torch.relu(a[:, 0] - 1), lambda a: a[:, 0] > 1),
        (lambda a: a[:, 0] ** 2 / 2, lambda a: a[:, 0] > 0),
        (lambda a: a[:, 0] * a[:, 1], lambda a: a[:, 1] > 0),
        (lambda a: torch.tanh(a[:, 0]), lambda a: a[:, 0] > -9),
    ],
)
def test_fractional_truths(h: Callable[[Tensor], Tensor], share: Callable[[Tensor], Tensor]) -> None:
    s = scorer(h, m=200)
    sign, _ = s.sign_and_magnitude(E0)
    assert float(sign[0]) == pytest.approx(float(share(gaussian(200, 1).images.flatten(1)).float().mean()), abs=1e-9)


def test_positive_scale_and_sign_of_a_cav() -> None:
    s = scorer(m=50)
    v = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    sign, mean = s.sign_and_magnitude(v)
    assert torch.equal(s.sign_and_magnitude(7.5 * v)[0], sign)
    torch.testing.assert_close(s.sign_and_magnitude(-v), (1 - sign, -mean))


def test_concept_and_negatives_swapped_flip_the_score() -> None:
    p, q = gaussian(10, 5, shift=1.0), gaussian(10, 6)
    ahead = Scorer(PixelProbe(curved), 0, gaussian(40, 1), lambda *asked: q, negatives=1).score(p)
    back = Scorer(PixelProbe(curved), 0, gaussian(40, 1), lambda *asked: p, negatives=1).score(q)
    assert ahead.ts == pytest.approx(1 - back.ts, abs=1e-9)
    assert ahead.effect == pytest.approx(-back.effect, rel=1e-5)


def test_sensitivity_is_the_directional_derivative() -> None:
    probe, x = PixelProbe(curved), gaussian(8, 1).images.flatten(1)[:, :4].double()
    s = Scorer(probe, 0, gaussian(8, 1), random_sets(), negatives=3)
    v = s.direction(gaussian(10, 5)).double()
    difference = (probe.head(x + 1e-6 * v) - probe.head(x - 1e-6 * v))[:, 0] / 2e-6
    torch.testing.assert_close(s.gradients.double() @ v, difference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", ["gradient", "unit", "raw"])
@pytest.mark.parametrize("d", [4, None])
def test_scores_equal_those_of_explicit_sklearn_cavs(scale: str, d: int | None) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    width = 4 if d else 3 * SIDE * SIDE
    s, concept = scorer(d=d, scale=scale), gaussian(10, 5, width, shift=1.0)
    found = s.score(concept)
    signs, effects = [], []
    for i in range(5):
        x = torch.cat((s.activations(concept), s.activations(random_sets(width)(10, i, "as-is"))))
        y = np.arange(20) < 10
        w = linear.LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(x.double().numpy(), y).coef_[0]
        v = w if scale == "raw" else w / np.linalg.norm(w)
        values = s.gradients.double().numpy() @ v
        signs.append((values > 0).mean())
        effects.append(values.mean() / (s.gradients.norm(dim=1).mean().item() if scale == "gradient" else 1.0))
        np.testing.assert_allclose(s.cavs(concept)[i].numpy(), w / np.linalg.norm(w), atol=1e-5)
    assert found.ts == pytest.approx(np.mean(signs), abs=1e-9)
    assert found.ts_std == pytest.approx(np.std(signs, ddof=1), abs=1e-9)
    assert found.effect == pytest.approx(np.mean(effects), rel=1e-4)
    np.testing.assert_allclose(found.ts_each, signs)


def test_agreement_with_captum_given_the_same_cav(tmp_path: object) -> None:
    captum = pytest.importorskip("captum.concept")
    classifier = pytest.importorskip("captum.concept._utils.classifier")
    weights = torch.randn(2, 8, generator=torch.Generator().manual_seed(4))

    class Given(classifier.Classifier):  # type: ignore[misc, name-defined]
        def __init__(self) -> None: ...

        def train_and_eval(self, dataloader: object, **kwargs: object) -> dict[str, float]:
            return {}

        def weights(self) -> Tensor:
            return weights

        def classes(self) -> list[int]:
            return [0, 1]

    torch_rng = torch.Generator().manual_seed(5)
    first = torch.nn.Linear(48, 8)
    second = torch.nn.Linear(8, 2)
    with torch.no_grad():
        for p in (*first.parameters(), *second.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch_rng) / 3)
    model = torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.Tanh(), second).eval()

    class ModelProbe:
        layout = "NC"

        def activations(self, x: Samples) -> Tensor:
            with torch.no_grad():
                return model[:2](x.images)

        def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
            return model[2:](a)

        def gradients(self, x: Samples, target: int) -> Tensor:
            a = self.activations(x).requires_grad_()
            return torch.autograd.grad(self.head(a)[:, target].sum(), a)[0]

    x = gaussian(25, 1, 48)
    sets = [captum.Concept(i, f"c{i}", [gaussian(4, 20 + i, 48).images]) for i in range(2)]
    theirs = captum.TCAV(model, ["1"], classifier=Given(), save_path=str(tmp_path))
    result = theirs.interpret(x.images, [sets], target=1)["0-1"]["1"]
    sign, magnitude = Scorer(ModelProbe(), 1, x, random_sets(48)).sign_and_magnitude(weights)
    torch.testing.assert_close(sign, result["sign_count"], atol=1e-6, rtol=0)
    torch.testing.assert_close(magnitude, result["magnitude"], atol=1e-6, rtol=0)


def test_pooled_cavs_equal_flattened_ones_that_all_positions_share() -> None:
    s = scorer(d=None, pool=True)
    v = s.direction(gaussian(10, 5, 48, shift=3.0))
    assert v.shape == (3,)
    flat = scorer(d=None).gradients
    torch.testing.assert_close(s.gradients @ v, flat @ v.repeat_interleave(SIDE * SIDE), atol=1e-5, rtol=1e-4)


def test_accuracy_is_held_out() -> None:
    s = scorer(d=None, folds=5)
    near = np.mean([s.score(gaussian(10, 50 + i, 48)).accuracy for i in range(20)])
    assert near == pytest.approx(0.5, abs=0.07), "random labels in 48 dimensions: training accuracy would be 1"
    assert s.score(gaussian(10, 5, 48, shift=30.0)).accuracy > 0.95
    assert np.isnan(scorer(folds=0).score(gaussian(10, 5)).accuracy)


def test_cross_validation_equals_refitting_without_the_fold() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    s, concept = scorer(negatives=2, folds=3), gaussian(7, 5, shift=0.7)
    shares = []
    for i in range(2):
        x = torch.cat((s.activations(concept), s.activations(random_sets()(7, i, "as-is")))).double().numpy()
        y = np.arange(14) < 7
        right = []
        for k in range(3):
            out = np.tile(np.arange(7) % 3 == k, 2)
            fitted = linear.LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(x[~out], y[~out])
            right.extend(fitted.predict(x[out]) == y[out])
        shares.append(np.mean(right))
    assert s.score(concept).accuracy == pytest.approx(np.mean(shares), abs=1e-9)


def test_what_does_not_depend_on_the_concept_is_computed_once() -> None:
    s = scorer(negatives=4)
    probe = s.probe
    assert isinstance(probe, PixelProbe)
    s.score(gaussian(10, 5))
    before = probe.calls
    s.score_many([gaussian(10, 6 + i) for i in range(7)])
    assert probe.calls - before == 7
    s.null(30, 10)
    before = probe.calls
    s.null(20, 10)
    s.p_values(s.score(gaussian(10, 5)), 30)
    assert probe.calls - before == 1


def test_samples_of_a_pool_are_run_once() -> None:
    pools = gaussian(30, 7), gaussian(30, 8)

    def pooled(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        rng = np.random.default_rng(index + 1000 * (purpose == "null"))
        return pools[purpose == "null"].take(rng.choice(30, n, replace=False).tolist())

    probe, concept = PixelProbe(curved), gaussian(10, 5)
    s = Scorer(probe, 0, gaussian(9, 1), pooled, negatives=6)
    s.null(100, 10)
    assert probe.seen == 9 + 60
    direct = Scorer(PixelProbe(curved), 0, gaussian(9, 1), pooled, negatives=6)
    negatives = torch.stack([direct.activations(pooled(10, i, "")) for i in range(6)])
    torch.testing.assert_close(s.cavs(concept), direct.cavs(concept))
    shared = s._negatives_of(10, "as-is")
    torch.testing.assert_close(shared.rows.view(6, 10, -1) + shared.centre, negatives)


@pytest.mark.parametrize("counterparts", ["coherent", "mixed"])
def test_scores_do_not_depend_on_the_batch_or_on_how_the_null_grew(counterparts: Counterparts) -> None:
    sets = [gaussian(10, 5, shift=1.0), gaussian(6, 6), gaussian(10, 7)]
    together, grown, fresh = scorer().score_many(sets), scorer(), scorer()
    for concept, found in zip(sets, together, strict=True):
        alone = scorer().score(concept)
        assert (alone.ts, alone.n) == (found.ts, found.n)
        assert alone.effect == pytest.approx(found.effect, rel=1e-6)
    first = grown.null(20, 10, counterparts=counterparts).effect
    whole = fresh.null(45, 10, counterparts=counterparts).effect
    assert np.array_equal(grown.null(45, 10, counterparts=counterparts).effect, whole)
    assert np.array_equal(first, whole[:20])


def test_order_and_duplicates_of_class_samples() -> None:
    x, concept = gaussian(12, 1), gaussian(10, 5)
    one = Scorer(PixelProbe(curved), 0, x, random_sets(), negatives=3).score(concept)
    turned = Scorer(PixelProbe(curved), 0, x.take(range(11, -1, -1)), random_sets(), negatives=3).score(concept)
    double = Scorer(PixelProbe(curved), 0, Samples.concat([x, x]), random_sets(), negatives=3).score(concept)
    assert one.ts == pytest.approx(turned.ts) == pytest.approx(double.ts)
    assert one.effect == pytest.approx(turned.effect, rel=1e-6) == pytest.approx(double.effect, rel=1e-6)
    assert np.array_equal(one.shares, turned.shares[::-1])


def test_a_set_that_equals_its_negatives_has_no_effect() -> None:
    same = gaussian(10, 5)
    found = Scorer(PixelProbe(curved), 0, gaussian(9, 1), lambda *asked: same, negatives=2).score(same)
    assert abs(found.effect) < 1e-6


def test_sizes_and_renders() -> None:
    asked: list[tuple[int, int, str, str]] = []

    def log(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        asked.append((n, index, render, purpose))
        return random_sets()(n, index, render, purpose)

    s = Scorer(PixelProbe(curved), 0, gaussian(9, 1), log, negatives=2)
    s.score(gaussian(5, 5), "crop:2>4")
    s.null(3, 5, "crop:2>4")
    assert set(asked[:2]) == {(5, 0, "crop:2>4", "negative"), (5, 1, "crop:2>4", "negative")}
    assert {a[0] for a in asked} == {5}
    assert {a[2] for a in asked} == {"crop:2>4"}
    assert {a[3] for a in asked[2:]} == {"null"}
    assert min(a[1] for a in asked[2:]) == 0
    with pytest.raises(NotApplicable, match="at least 2 samples of a concept"):
        s.score(gaussian(1, 5))
    short = Scorer(PixelProbe(curved), 0, gaussian(9, 1), lambda n, i, render, purpose: gaussian(3, i), negatives=2)
    with pytest.raises(XcoreError, match="3 samples instead of 5"):
        short.score(gaussian(5, 5))


def test_interval_covers_the_population_mean() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = 0.3 + rng.normal(size=(10, 1)) * 0.5 + rng.normal(size=(1, 15)) * 0.4 + rng.normal(size=(10, 15))
        lo, hi = interval(values, np.ones(15))
        covered += lo <= 0.3 <= hi
    assert 0.93 <= covered / 400 <= 1.0
