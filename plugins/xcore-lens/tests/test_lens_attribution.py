"""Importances against closed forms and captum, on heads of which we know all."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from xcore_craft.space import Space
from xcore_lens.attribution import IN_LOGITS, attribute, unflatten
from xcore_lens.options import Options

from xcore.errors import UsageError
from xcore.samples import Samples

IMPORTANCES = ["gradient", "gradient-x-input", "integrated-gradients", "occlusion", "sobol", "shapley"]
N, P, K, C, CLASSES = 6, 9, 5, 7, 3


class Above:
    """The part of a network above a layer, as a probe."""

    def __init__(self, function, layout="NCHW"):
        self.function, self.layout = function, layout

    def head(self, a, like=None):
        assert like is None or len(like) == len(a)
        return self.function(a)


def affine():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(C, CLASSES, generator=generator), torch.tensor([0.5, -1.0, 2.0])
    return weight, bias, lambda a: a.flatten(2).mean(2) @ weight + bias


def bent(a):
    """Not affine: every class multiplies channels."""
    pooled = a.flatten(2).mean(2)
    return (
        torch.tanh(pooled) @ torch.linspace(-1, 1, C * CLASSES).reshape(C, CLASSES)
        + (pooled[:, :3] ** 2) * pooled[:, 3:6]
    )


def world(function, layout="NCHW", shape=(C, 3, 3), shift=None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(N, P, K, generator=generator) * (torch.rand(N, P, K, generator=generator) < 0.6)
    codes[2, :, 1] = 0
    atoms = torch.randn(K, C, generator=generator)
    samples = Samples("image", torch.rand(N, 3, 12, 12, generator=generator), tuple("abcdef"))
    space = Space(Above(function, layout), shape, shift=shift)
    return space, codes @ atoms, codes, atoms, samples


def values(importance, made, target=1, **options):
    space, full, codes, atoms, samples = made
    o = Options(importance=importance, **options)
    return attribute(space, space.head(full, samples), codes, atoms, samples, target, o, 0, lambda done: None)


@pytest.mark.parametrize("shift", [None, torch.linspace(-1, 1, C)])
def test_under_an_affine_head_all_contributions_are_the_same_and_exact(shift):
    weight, _, head = affine()
    made = world(head, shift=shift)
    _, _, codes, atoms, _ = made
    expected = (codes.double().mean(1) * (atoms.double() @ weight[:, 1].double())).numpy()
    for importance in IN_LOGITS:
        np.testing.assert_allclose(values(importance, made).values, expected, atol=1e-5, err_msg=importance)


def test_contributions_add_up_to_the_logit_less_the_bias_where_the_codes_are_exact():
    _, bias, head = affine()
    for importance in IN_LOGITS:
        got = values(importance, world(head))
        np.testing.assert_allclose(got.values.sum(1), got.full - float(bias[1]), atol=1e-5)
        np.testing.assert_allclose(got.empty, bias[1], atol=1e-6)
        np.testing.assert_allclose(got.coded, got.full, atol=1e-5)
        assert got.agrees.all()


def test_integrated_gradients_and_shapley_add_up_under_any_head():
    for importance in ("integrated-gradients", "shapley"):
        got = values(importance, world(bent))
        np.testing.assert_allclose(got.values.sum(1), got.coded - got.empty, atol=1e-5)


@pytest.mark.parametrize("importance", [i for i in IMPORTANCES if i != "gradient"])
@pytest.mark.parametrize("pool", ["sum", "abs-max"])
def test_a_concept_that_an_image_lacks_has_no_importance_there(importance, pool):
    got = values(importance, world(bent), pool=pool).values
    assert got[2, 1] == 0
    assert np.count_nonzero(got) == got.size - 1
    assert pool == "sum" or (got >= 0).all()


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_concepts_may_come_in_any_order(importance):
    space, full, codes, atoms, samples = world(bent)
    order = [3, 0, 4, 2, 1]
    one = values(importance, (space, full, codes, atoms, samples), designs=4096).values
    other = values(importance, (space, full, codes[..., order], atoms[order], samples), designs=4096).values
    np.testing.assert_allclose(other, one[:, order], atol=2e-2 if importance == "sobol" else 1e-5)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_images_may_come_in_any_order(importance):
    space, full, codes, atoms, samples = world(bent)
    order = [5, 2, 0, 1, 4, 3]
    one = values(importance, (space, full, codes, atoms, samples)).values
    other = values(importance, (space, full[order], codes[order], atoms, samples.take(order))).values
    np.testing.assert_allclose(other, one[order], atol=1e-5)


@pytest.mark.parametrize("steps", [8, 32])
def test_integrated_gradients_are_captums(steps):
    made = world(bent)
    space, _, codes, atoms, samples = made
    theirs = IntegratedGradients(lambda u: bent(unflatten(u @ atoms, space))).attribute(
        codes, target=1, n_steps=steps, method="gausslegendre"
    )
    got = values("integrated-gradients", made, steps=steps)
    np.testing.assert_allclose(got.values, theirs.sum(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(
        values("integrated-gradients", made, steps=steps, pool="abs-max").values, theirs.abs().amax(1), atol=1e-5
    )
    assert got.backwards == steps * len(samples)


def test_gradients_are_the_slope_of_the_logit():
    made = world(bent)
    space, _, codes, atoms, _ = made
    eps = 1e-2
    for k in range(K):
        more = codes.clone()
        more[..., k] += eps
        with torch.no_grad():
            up, down = (bent(unflatten(u @ atoms, space))[:, 1] for u in (more, 2 * codes - more))
        np.testing.assert_allclose(values("gradient", made).values[:, k], (up - down) / (2 * eps), atol=1e-2, rtol=1e-2)


def test_the_sobol_index_of_a_sum_is_the_share_of_its_variance():
    weight, _, head = affine()
    made = world(head)
    _, _, codes, atoms, _ = made
    part = (codes.double().mean(1) * (atoms.double() @ weight[:, 1].double())).numpy() ** 2
    got = values("sobol", made, designs=2048).values
    np.testing.assert_allclose(got, part / part.sum(1, keepdims=True), atol=2e-2)


@pytest.mark.parametrize("layout", ["NTC", "NC"])
def test_other_layouts(layout):
    weight, bias, _ = affine()
    function = (lambda a: a.mean(1) @ weight + bias) if layout == "NTC" else (lambda a: a @ weight + bias)
    space, full, codes, atoms, samples = world(function, layout, (P, C) if layout == "NTC" else (C,))
    if layout == "NC":
        full, codes = full[:, :1], codes[:, :1]
    for importance in IN_LOGITS:
        got = values(importance, (space, full, codes, atoms, samples))
        expected = codes.double().mean(1) * (atoms.double() @ weight[:, 1].double())
        np.testing.assert_allclose(got.values, expected, atol=1e-5)


def test_a_head_that_ignores_the_layer_is_told():
    with pytest.raises(UsageError, match="do not depend"):
        values("gradient-x-input", world(lambda a: torch.ones(len(a), CLASSES)))
    assert not values("sobol", world(lambda a: torch.ones(len(a), CLASSES))).values.any()


@pytest.mark.parametrize("k", [4, 14])
def test_shapley_values_exact_or_sampled_add_up_and_are_exact_for_pairs(k):
    """Orders in both directions are exact for any game of single concepts and pairs of them."""
    generator = torch.Generator().manual_seed(0)
    codes, atoms = torch.rand(2, 1, k, generator=generator), torch.randn(k, C, generator=generator)
    samples = Samples("image", torch.rand(2, 3, 8, 8, generator=generator), ("a", "b"))
    space = Space(Above(lambda a: a[:, :2] * a[:, 2:4] + a[:, :2], "NC"), (C,))
    got = values("shapley", (space, codes @ atoms, codes, atoms, samples), permutations=4)
    parts = (codes[:, 0, :, None] * atoms).double()
    whole = parts.sum(1, keepdim=True)
    expected = (parts[..., 1] * whole[..., 3] + whole[..., 1] * parts[..., 3]) / 2 + parts[..., 1]
    np.testing.assert_allclose(got.values, expected, atol=1e-4)
    np.testing.assert_allclose(got.values.sum(1), got.coded - got.empty, atol=1e-4)
    assert got.forwards == 3 * 2 + 2 * 16 if k == 4 else got.forwards < 3 * 2 + 2 * 4 * 14
