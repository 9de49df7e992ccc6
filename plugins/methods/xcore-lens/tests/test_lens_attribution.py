"""Importances against closed forms and plain definitions, on heads of which we know everything."""

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, ShapleyValues, ShapleyValueSampling
from xcore_craft.activations import SplitClassifier
from xcore_lens.attribution import IN_LOGITS, attribute
from xcore_lens.options import Options

from xcore.contract import Samples, UsageError

IMPORTANCES = ["gradient", "gradient-x-input", "integrated-gradients", "occlusion", "sobol", "shapley"]
OF_FUNCTIONS = [importance for importance in IN_LOGITS if importance != "lrp"]
"""Those that ask nothing of a head but its value and slope; lrp needs modules (test_lens_relevance.py)."""
N, P, K, C, CLASSES = 6, 9, 5, 7, 3


class Above:
    """The part of a network above a layer, as a probe. It counts the rows that were passed through it."""

    def __init__(self, function, layout="NCHW"):
        self.function, self.layout, self.rows = function, layout, 0

    def head(self, a, like=None):
        assert like is None or len(like) == len(a)
        self.rows += len(a)
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
    split = SplitClassifier(Above(function, layout), shape, shift=shift)
    return split, codes @ atoms, codes, atoms, samples


def values(importance, made, target=1, **options):
    split, full, codes, atoms, samples = made
    o = Options(importance=importance, **options)
    return attribute(split, split.head(full, samples), codes, atoms, samples, target, o, 0, lambda done: None)


@pytest.mark.parametrize("shift", [None, torch.linspace(-1, 1, C)])
def test_under_an_affine_head_all_contributions_are_the_same_and_exact(shift):
    weight, _, head = affine()
    made = world(head, shift=shift)
    _, _, codes, atoms, _ = made
    expected = (codes.double().mean(1) * (atoms.double() @ weight[:, 1].double())).numpy()
    for importance in OF_FUNCTIONS:
        np.testing.assert_allclose(values(importance, made).values, expected, atol=1e-5, err_msg=importance)


def test_contributions_add_up_to_the_logit_less_the_bias_where_the_codes_are_exact():
    _, bias, head = affine()
    for importance in OF_FUNCTIONS:
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
    split, full, codes, atoms, samples = world(bent)
    order = [3, 0, 4, 2, 1]
    one = values(importance, (split, full, codes, atoms, samples), designs=4096).values
    other = values(importance, (split, full, codes[..., order], atoms[order], samples), designs=4096).values
    np.testing.assert_allclose(other, one[:, order], atol=2e-2 if importance == "sobol" else 1e-5)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_images_may_come_in_any_order(importance):
    split, full, codes, atoms, samples = world(bent)
    order = [5, 2, 0, 1, 4, 3]
    one = values(importance, (split, full, codes, atoms, samples)).values
    other = values(importance, (split, full[order], codes[order], atoms, samples.take(order))).values
    np.testing.assert_allclose(other, one[order], atol=1e-5)


def slopes(split, rows, target):
    """Gradient of the class logit by the activations, without captum."""
    leaf = rows.detach().requires_grad_()
    return torch.autograd.grad(split.head(leaf, None)[:, target].sum(), leaf)[0]


@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("pool", ["sum", "abs-max"])
def test_integrated_gradients_are_the_weighted_gradients_on_the_path(steps, pool):
    """Compared with the definition (Gauss-Legendre points), and with captum's integral along the codes."""
    made = world(bent)
    split, rows, codes, atoms, samples = made
    points, weights = np.polynomial.legendre.leggauss(steps)
    path = zip((points + 1) / 2, weights / 2, strict=True)
    expected = codes * (sum(w * slopes(split, t * rows, 1) for t, w in path) @ atoms.T)
    theirs = IntegratedGradients(lambda u: split.head(u @ atoms, None)).attribute(
        codes, target=1, n_steps=steps, method="gausslegendre"
    )
    got = values("integrated-gradients", made, steps=steps, pool=pool)
    for by_position in (expected, theirs):
        pooled = by_position.sum(1) if pool == "sum" else by_position.abs().amax(1)
        np.testing.assert_allclose(got.values, pooled.numpy(), atol=1e-5)
    assert got.backwards == steps * len(samples)


def test_gradient_x_input_is_the_gradient_by_the_codes_times_the_codes():
    made = world(bent)
    split, rows, codes, atoms, _ = made
    gradients = slopes(split, rows, 1) @ atoms.T
    np.testing.assert_allclose(values("gradient", made).values, gradients.sum(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(values("gradient-x-input", made).values, (codes * gradients).sum(1).numpy(), atol=1e-5)


@pytest.mark.parametrize("images", [1, 6, 40])
def test_occlusion_is_the_drop_of_the_logit_without_the_concept(images):
    """Also for more images than are attributed at once."""
    split, full, codes, atoms, samples = world(bent)
    index = [i % N for i in range(images)]
    made = (split, full[index], codes[index], atoms, samples.take(index))
    got = values("occlusion", made)
    for k in range(K):
        without = codes[index].clone()
        without[..., k] = 0
        drop = split.head(codes[index] @ atoms, None)[:, 1] - split.head(without @ atoms, None)[:, 1]
        np.testing.assert_allclose(got.values[:, k], drop.numpy(), atol=1e-5)
    assert got.forwards == images * (3 + 1 + K)


def test_gradients_are_the_slope_of_the_logit():
    made = world(bent)
    split, _, codes, atoms, _ = made
    eps = 1e-2
    for k in range(K):
        more = codes.clone()
        more[..., k] += eps
        with torch.no_grad():
            up, down = (split.head(u @ atoms, None)[:, 1] for u in (more, 2 * codes - more))
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
    split, full, codes, atoms, samples = world(function, layout, (P, C) if layout == "NTC" else (C,))
    if layout == "NC":
        full, codes = full[:, :1], codes[:, :1]
    for importance in OF_FUNCTIONS:
        got = values(importance, (split, full, codes, atoms, samples))
        expected = codes.double().mean(1) * (atoms.double() @ weight[:, 1].double())
        np.testing.assert_allclose(got.values, expected, atol=1e-5)


def test_a_head_that_ignores_the_layer_is_refused():
    with pytest.raises(UsageError, match="do not depend"):
        values("gradient-x-input", world(lambda a: torch.ones(len(a), CLASSES)))
    assert not values("sobol", world(lambda a: torch.ones(len(a), CLASSES))).values.any()


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_the_rows_that_pass_through_the_head_are_counted(importance):
    made = world(bent)
    got = values(importance, made)
    # `values` passes each image once for the classifier's own logits, which `forwards` includes.
    assert made[0].probe.rows == got.forwards


def test_captum_has_no_sobol_indices():
    """Why we have our own."""
    assert not [name for name in dir(captum.attr) if "sobol" in name.lower()]


def masked_logit(split, codes, atoms, target):
    """The class logit of one image as a function of masks (n, k), for captum."""
    return lambda masks: split.head((masks[:, None] * codes) @ atoms, None)[:, target]


def test_captums_exact_shapley_values_are_ours_but_take_all_orders():
    """Why we have our own: captum evaluates k! k rows, 36 million for ten concepts, we evaluate 2^k, 1024 for ten."""
    made = world(bent)
    split, _, codes, atoms, _ = made
    expected = values("shapley", made).values[0]
    split.probe.rows = 0
    theirs = ShapleyValues(masked_logit(split, codes[0], atoms, 1)).attribute(
        torch.ones(1, K), perturbations_per_eval=K
    )
    np.testing.assert_allclose(theirs[0].numpy(), expected, atol=1e-5)
    assert split.probe.rows >= 5 * 4 * 3 * 2 * K
    split.probe.rows = 0
    values("shapley", (split, codes[:1] @ atoms, codes[:1], atoms, world(bent)[-1].take([0])))
    assert split.probe.rows == 3 + 2**K


def pairs_world(k):
    """Codes of k concepts in two images under a head in which concepts interact in pairs, and the Shapley values."""
    generator = torch.Generator().manual_seed(0)
    codes, atoms = torch.rand(2, 1, k, generator=generator), torch.randn(k, C, generator=generator)
    samples = Samples("image", torch.rand(2, 3, 8, 8, generator=generator), ("a", "b"))
    split = SplitClassifier(Above(lambda a: a[:, :2] * a[:, 2:4] + a[:, :2], "NC"), (C,))
    parts = (codes[:, 0, :, None] * atoms).double()
    whole = parts.sum(1, keepdim=True)
    expected = (parts[..., 1] * whole[..., 3] + whole[..., 1] * parts[..., 3]) / 2 + parts[..., 1]
    return (split, codes @ atoms, codes, atoms, samples), expected


def test_captums_sampled_shapley_values_depend_on_the_global_random_state_and_are_not_exact_for_pairs():
    """Why we have our own: seeded orders, in pairs with their reverse; no set of concepts is evaluated twice."""
    k, orders = 14, 64
    made, expected = pairs_world(k)
    split, _, codes, atoms, _ = made

    def theirs():
        logit = masked_logit(split, codes[0], atoms, 1)
        return ShapleyValueSampling(logit).attribute(torch.ones(1, k), n_samples=orders, perturbations_per_eval=k)[0]

    torch.manual_seed(0)
    split.probe.rows = 0
    first = theirs()
    their_rows = split.probe.rows
    assert (first - theirs()).abs().max() > 0.01
    assert (first - expected[0]).abs().max() > 0.01
    state = torch.get_rng_state()
    split.probe.rows = 0
    ours = values("shapley", made, permutations=orders)
    assert split.probe.rows - 3 * 2 < 2 * their_rows  # ours are of two images
    np.testing.assert_allclose(ours.values, expected, atol=1e-4)
    np.testing.assert_array_equal(ours.values, values("shapley", made, permutations=orders).values)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("k", [4, 14])
def test_shapley_values_exact_or_sampled_add_up_and_are_exact_for_pairs(k):
    """Orders in both directions are exact for any game of single concepts and pairs of them."""
    made, expected = pairs_world(k)
    got = values("shapley", made, permutations=4)
    np.testing.assert_allclose(got.values, expected, atol=1e-4)
    np.testing.assert_allclose(got.values.sum(1), got.coded - got.empty, atol=1e-4)
    assert got.forwards == 3 * 2 + 2 * 16 if k == 4 else got.forwards < 3 * 2 + 2 * 4 * 14
