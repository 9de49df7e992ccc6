"""PIE is exact where the model has its form, and its R^2 is low where it has not."""

import numpy as np
import pytest
import torch
from torch import nn
from xcore_eac import games, surrogate
from xcore_eac.value_function import find_feature_layer

from xcore.contract import UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.testing import tiny_network


def linear_pooled(classes=5, channels=16, seed=0):
    """Features are means of a linear map of the pixels, so those of disjoint segments add up."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def known_of(evaluate, n, m=60, seed=0):
    design = games.sampled(n, "shapley", m, np.random.default_rng(seed), evaluations=m)
    rows, values = evaluate(torch.from_numpy(design.coalitions).float())
    return surrogate.Observations(design.coalitions, rows, values.double().numpy())


def additive(n=7, width=6, seed=0):
    """Features that are a linear map of membership, and a head."""
    g = torch.Generator().manual_seed(seed)
    weight, bias, head = (torch.randn(*s, generator=g) for s in ((n, width), (width,), (width, 4)))

    def output(rows):
        return (rows @ head).softmax(1)[:, 1]

    return weight, bias, output, lambda x: (x @ weight + bias, output(x @ weight + bias))


@pytest.mark.parametrize("steps", [0, 50])
def test_a_model_of_the_family_is_found_exactly(steps):
    weight, bias, output, evaluate = additive()
    (found,) = surrogate.fit([known_of(evaluate, 7)], output, steps, bounded=True)
    assert torch.allclose(found, torch.cat([weight, bias[None]]), atol=1e-3)
    coalitions = games.exact(7, "shapley").coalitions
    true = evaluate(torch.from_numpy(coalitions).float())[1].double().numpy()
    predicted = surrogate.predict(found, coalitions, output)
    assert surrogate.r_squared(predicted, true) > 0.99999


def test_least_squares_is_exact_at_both_ends():
    """Also where the model is far from linear, so that the values of the class add up."""
    g = torch.Generator().manual_seed(1)
    into = torch.randn(7, 6, generator=g)
    known = known_of(lambda x: (torch.tanh(3 * x @ into) ** 3, torch.zeros(len(x))), 7)
    weights = surrogate.least_squares(known)
    assert torch.allclose(weights[-1], known.features[0], atol=1e-5)
    assert torch.allclose(weights.sum(0), known.features[-1], atol=1e-5)


def test_descent_improves_on_least_squares_and_images_do_not_mix():
    g = torch.Generator().manual_seed(2)
    head = torch.randn(6, 4, generator=g)

    def output(rows):
        return (rows @ head).softmax(1)[:, 1]

    many = []
    for n in (5, 8, 6):
        into = torch.randn(n, 6, generator=g)
        rows = lambda x, into=into: torch.tanh(x @ into)  # noqa: E731
        many.append(known_of(lambda x, rows=rows: (rows(x), output(rows(x))), n))
    before = surrogate.fit(many, output, 0, bounded=True)
    after = surrogate.fit(many, output, 200, bounded=True)
    for k, b, a in zip(many, before, after, strict=True):
        r2 = [surrogate.r_squared(surrogate.predict(w, k.coalitions, output), k.values) for w in (b, a)]
        assert r2[1] > max(r2[0], 0.9)
    for k, a in zip(many, after, strict=True):
        (alone,) = surrogate.fit([k], output, 200, bounded=True)
        assert torch.allclose(alone, a, atol=1e-3)


def test_groups_of_bounded_size_change_nothing(monkeypatch):
    _, _, output, evaluate = additive()
    many = [known_of(evaluate, 7, seed=s) for s in range(5)]
    whole = surrogate.fit(many, output, 20, bounded=True)
    monkeypatch.setattr(surrogate, "MAX_ELEMENTS", 100)
    for a, b in zip(whole, surrogate.fit(many, output, 20, bounded=True), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_logits_are_fitted_by_squares():
    weight, bias, _, _ = additive()
    output = lambda rows: 50 + 20 * rows[:, 0]  # noqa: E731
    known = known_of(lambda x: (x @ weight + bias, output(x @ weight + bias)), 7)
    (found,) = surrogate.fit([known], output, 30, bounded=False)
    np.testing.assert_allclose(surrogate.predict(found, known.coalitions, output), known.values, atol=0.05)


def test_r_squared():
    x = np.array([0.0, 1, 2, 3])
    assert surrogate.r_squared(x, x) == 1
    assert surrogate.r_squared(np.full(4, 1.5), x) == 0
    assert surrogate.r_squared(-x, x) < 0
    assert surrogate.r_squared(np.ones(4), np.ones(4)) == 1
    assert surrogate.r_squared(x, np.ones(4)) == 0


@pytest.mark.parametrize(("classes", "channels"), [(5, 16), (16, 5), (3, 1)])
def test_an_affine_head_is_found_and_its_coordinates_lose_nothing(classes, channels, pictures):
    """With more classes than features, too."""
    classifier = TorchClassifier(linear_pooled(classes, channels), [f"c{i}" for i in range(classes)])
    x = pictures(6, (24, 24))
    found = find_feature_layer(classifier, "", x)
    assert found.layer == "1"  # the pooling layer: one position
    assert found.affine
    rows = found.features(x)
    assert rows.shape[1] <= min(classes, channels)
    assert torch.allclose(found.head(rows), classifier.logits(x), atol=1e-5)


def test_a_head_that_is_not_affine_is_the_models_own(pictures):
    classifier = TorchClassifier(tiny_network(), ("a", "b", "c"), layers=("5", "6", "9"), input_size=24)
    x = pictures(4, (24, 24))
    found = find_feature_layer(classifier, "", x)
    assert (found.layer, found.affine) == ("6", False)
    assert torch.allclose(found.head(found.features(x)), classifier.logits(x), atol=1e-6)
    maps = find_feature_layer(classifier, "4", x)  # a layer of maps, asked for by name
    assert maps.features(x).shape == (4, 12 * 12 * 12)
    assert torch.allclose(maps.head(maps.features(x)), classifier.logits(x), atol=1e-6)


def test_the_logits_where_no_layer_gives_one_position(pictures):
    classifier = TorchClassifier(tiny_network(), ("a", "b", "c"), layers=("1", "4", "9"), input_size=24)
    x = pictures(4, (24, 24))
    found = find_feature_layer(classifier, "", x)
    assert found.layer == "logits"
    assert torch.equal(found.head(found.features(x)), classifier.logits(x))


def test_no_feature_layer_in_a_black_box_and_an_error_for_a_layer_that_is_not_there(pictures):
    x = pictures(2, (24, 24))
    box = FunctionClassifier(lambda images: images.mean((2, 3)), ("r", "g", "b"))
    assert find_feature_layer(box, "", x) is None
    classifier = TorchClassifier(linear_pooled(), [f"c{i}" for i in range(5)])
    with pytest.raises(UsageError, match="nowhere"):
        find_feature_layer(classifier, "nowhere", x)
