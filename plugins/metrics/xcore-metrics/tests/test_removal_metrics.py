"""Removal of concepts: truths by enumeration on models whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from removal_runs import (
    CLASSES,
    MAKERS,
    SIDE,
    WIDTH,
    Only,
    basis,
    coded,
    contributions,
    network,
    pictures,
    placed,
    run_of,
)
from torch import Tensor, nn
from xcore_metrics.faithfulness.activations import code_game, direction_game
from xcore_metrics.faithfulness.orders import area_under_curve, curve_points, prefixes
from xcore_metrics.faithfulness.regions import region_games
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity
from xcore_metrics.options import RemovalOptions

from xcore.contract import Concept, Dictionary, NotApplicable
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.run.checks import checked_scores, not_applicable


@pytest.mark.parametrize("k", [2, 4, 6])
@pytest.mark.parametrize("residual", [True, False])
def test_ordering_by_contribution_is_best_over_all_orders(k: int, residual: bool) -> None:
    module, atoms = network(), basis(k)
    run = coded(module, atoms, range(k))
    _, game = code_game(run, 60, residual)
    orders, counts = np.array(list(permutations(range(k)))), curve_points(k, 10)
    given = contributions(run, module, atoms).detach().numpy().mean(0)
    best = np.argsort(-given)

    def areas(ask: Any) -> Any:
        y = ask(prefixes(orders, counts).reshape(-1, k)).reshape(len(run.heldout), len(orders), -1, 2)
        return area_under_curve(y[..., 0], counts).mean(0)

    ins, dels = areas(game.inserted), areas(game.removed)
    at = orders.tolist().index(best.tolist())
    assert ins[at] == pytest.approx(ins.max(), abs=1e-6)
    assert dels[at] == pytest.approx(dels.min(), abs=1e-6)
    assert ins.argmax() == dels.argmin() == at


@pytest.mark.parametrize("k", [1, 3, 5])
def test_insertion_and_deletion_add_up_and_mirror_each_other(k: int) -> None:
    module, atoms = network(), basis(k)
    run = coded(module, atoms, range(k))
    for residual in (True, False):
        _, game = code_game(run, 60, residual)
        order, counts = np.random.default_rng(k).permutation(k), curve_points(k, 10)
        ins, dels = (ask(prefixes(order, counts))[..., 0] for ask in (game.inserted, game.removed))
        full, empty = dels[:, 0], ins[:, 0]
        assert ins + dels == pytest.approx(np.repeat((full + empty)[:, None], k + 1, 1), abs=1e-5)
        assert game.inserted(prefixes(order[::-1], counts)) == pytest.approx(
            game.removed(prefixes(order, counts))[:, ::-1]
        )
        if residual:  # the curve starts at the model
            assert full == pytest.approx(run.task.classifier.logits(run.heldout)[:, 0].numpy(), abs=1e-6)
        else:
            bias = float(module[3].bias[0].detach())  # type: ignore[index,union-attr]
            assert empty == pytest.approx(np.full(len(empty), bias), abs=1e-6)
            assert full == pytest.approx(contributions(run, module, atoms).detach().numpy().sum(1) + bias, abs=1e-5)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_the_true_order_scores_best_and_the_reverse_worst(k: int, only: Only) -> None:
    module, atoms = network(), basis(k)
    truth = contributions(coded(module, atoms, range(k)), module, atoms).detach().numpy().mean(0)
    order = np.argsort(-truth)
    options = RemovalOptions(variant="codes")
    for make, sign in ((insertion, 1), (deletion, -1)):
        good, bad = (only(make(options), coded(module, atoms, o)) for o in (order, order[::-1]))
        assert sign * good.value > 0 > sign * bad.value
        assert good.value == pytest.approx(-bad.value, abs=1e-5)  # the mean over a circle is that over all orders
        assert good.details["random"] == pytest.approx(good.details["own"] - good.value)
        assert good.variant == "codes"
        assert good.over == "random orders"
        assert good.n == len(good.samples) == 2 * k
        assert np.std(good.samples) == pytest.approx(good.spread)
        assert np.mean(good.samples) == pytest.approx(good.value)
        assert good.details["better_than"] == pytest.approx(1 - bad.details["better_than"], abs=2 / k)
    both = [only(make(options), coded(module, atoms, order)).details["random"] for make in (insertion, deletion)]
    assert both[0] == pytest.approx(both[1])


def test_fidelity_is_one_for_true_contributions_and_about_zero_for_shuffled_ones(only: Only) -> None:
    module, atoms, k = network(), basis(5), 5
    heldout = pictures(1, 2)
    given = contributions(coded(module, atoms, range(k), heldout=heldout), module, atoms)[0].tolist()
    order = sorted(range(k), key=lambda j: -given[j])
    metric = mu_fidelity(RemovalOptions(variant="codes"))
    values = []
    for shuffled in permutations(order):
        run = coded(module, atoms, shuffled, importance=[given[j] for j in order], heldout=heldout)
        values.append(only(metric, run).value)
    assert values[0] == pytest.approx(1, abs=1e-4)
    assert max(values) == values[0]
    assert np.mean(values) == pytest.approx(0, abs=1e-6)  # all shuffles: nothing is gained by chance
    assert only(metric, coded(module, atoms, order, importance=given)).details["sets"] == 10


def test_a_constant_model_is_flat() -> None:
    module, atoms = network(), basis(4)
    nn.init.zeros_(module[3].weight)  # type: ignore[index,arg-type]
    run = coded(module, atoms, range(4))
    for name, make in MAKERS.items():
        for score in checked_scores(make(RemovalOptions(variant="codes")).score([run])):
            assert (score.value, score.spread) == (0, 0), name
    assert score.details["flat"] == len(run.heldout)


@pytest.mark.parametrize("make", MAKERS.values())
def test_one_concept_or_equal_importances_are_no_order(make: Any) -> None:
    one = coded(network(), basis(1), [0])
    assert {s.reason for s in make(RemovalOptions(variant="codes")).score([one])} == {
        "the explanation has one concept, so there is no order to judge"
    }
    equal = coded(network(), basis(3), range(3), importance=[0.0] * 3)
    for score in make().score([equal]):
        assert score.value is None
        assert score.variant in ("codes", "direction", "region blur", "region mean")
        assert "all importances are equal" in score.reason or "no maps" in score.reason


def test_outputs_normalisation_and_groups_are_options_with_names_of_their_own(only: Only) -> None:
    run = coded(network(), basis(6), range(6))
    plain = only(insertion(RemovalOptions(variant="codes")), run)
    share = only(insertion(RemovalOptions(variant="codes", output="probability")), run)
    assert share.variant == "codes probability"
    assert share.value == pytest.approx(plain.details["value_probability"])
    assert plain.value == pytest.approx(share.details["value_logit"])
    p = run.task.classifier.logits(run.heldout).softmax(1)[:, 0].mean()
    assert share.details["full_probability"] == pytest.approx(float(p), abs=1e-6)
    scaled = only(insertion(RemovalOptions(variant="codes", output="probability", normalise=True)), run)
    assert scaled.variant == "codes probability normalised"
    assert scaled.value == pytest.approx(share.value / float(p))
    low = only(insertion(RemovalOptions(variant="codes", normalise=True)), coded(_below_zero(), basis(3), range(3)))
    assert "not positive" in low.reason
    assert only(mu_fidelity(RemovalOptions(variant="codes", normalise=True)), run).variant == "codes"
    assert only(insertion(RemovalOptions(variant="codes", residual=False)), run).variant == "codes no residual"
    assert only(insertion(RemovalOptions(variant="codes", steps=3)), run).details["steps"] == 3


def _below_zero() -> nn.Module:
    module = network()
    module[3].bias.data.fill_(-50.0)  # type: ignore[index,union-attr]
    return module


# -- directions --------------------------------------------------------------------------------------
def test_directions_are_projected_out_and_in_as_if_made_orthonormal_in_order() -> None:
    generator = torch.Generator().manual_seed(4)
    vectors = torch.randn(4, WIDTH, generator=generator)
    module = network(nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, 3)))
    run = run_of(module, [Concept(f"C{i}", 4.0 - i, directions={"2": v}) for i, v in enumerate(vectors)])
    layer, game = direction_game(run, 60)
    probe = run.task.classifier.open("2")
    a = probe.activations(run.heldout)
    order, counts = np.array([2, 0, 3, 1]), curve_points(4, 10)
    q = torch.linalg.qr(vectors[order].T)[0]  # Gram-Schmidt in this order
    out = torch.stack([probe.head(a - a @ q[:, :j] @ q[:, :j].T)[:, 0] for j in counts], 1)
    base = a - a @ q @ q.T
    into = torch.stack([probe.head(base + a @ q[:, :j] @ q[:, :j].T)[:, 0] for j in counts], 1)
    assert layer == "2"
    assert game.removed(prefixes(order, counts))[..., 0] == pytest.approx(out.detach().numpy(), abs=1e-5)
    assert game.inserted(prefixes(order, counts))[..., 0] == pytest.approx(into.detach().numpy(), abs=1e-5)


def test_a_direction_in_the_span_of_others_takes_nothing_more_away() -> None:
    v = basis(2)
    vectors = [v[0], v[1], v[0] + v[1]]
    run = run_of(network(), [Concept(f"C{i}", 3.0 - i, directions={"2": x}) for i, x in enumerate(vectors)])
    _, game = direction_game(run, 60)
    y = game.removed(np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]], dtype=bool))
    assert y[:, 0] == pytest.approx(y[:, 1], abs=1e-5)
    assert y[:, 0] == pytest.approx(y[:, 2], abs=1e-5)


def convolutional() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 5, 1),
        nn.Softplus(),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(5 * SIDE**2, 4),
        nn.Tanh(),
        nn.Linear(4, 3),
    )
    for p in made.parameters():
        p.data = torch.randn(p.shape, generator=generator) / 2
    return made


@pytest.mark.parametrize("shared", [True, False])
def test_directions_of_maps_are_shared_by_positions_or_flat(shared: bool) -> None:
    module = convolutional()
    size = 5 if shared else 5 * SIDE**2
    vectors = torch.randn(3, size, generator=torch.Generator().manual_seed(1))
    run = run_of(module, [Concept(f"C{i}", 3.0 - i, directions={"1": v}) for i, v in enumerate(vectors)])
    run = replace(run, task=replace(run.task, layer="1"))
    _, game = direction_game(run, 60)
    probe = run.task.classifier.open("1")
    a = probe.activations(run.heldout)
    q = torch.linalg.qr(vectors[[0, 2]].T)[0]
    rows = a.permute(0, 2, 3, 1) if shared else a.flatten(1)
    rows = rows - rows @ q @ q.T
    wanted = probe.head(rows.permute(0, 3, 1, 2) if shared else rows.view_as(a))[:, 0]
    found = game.removed(np.array([[True, False, True]]))[:, 0, 0]
    assert found == pytest.approx(wanted.detach().numpy(), abs=1e-5)


class Tokens(nn.Module):
    """A layer of tokens: each pixel is one, of three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Identity(), nn.Linear(3, 3)
        self.head.weight.data = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.tokens(x.flatten(2).transpose(1, 2))).mean(1))


def test_tokens_have_directions_and_codes_at_each() -> None:
    vectors, samples = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0], pictures(6, 1)
    classifier = TorchClassifier(Tokens(), CLASSES, input_size=SIDE)
    codes = classifier.open("tokens").activations(samples) @ vectors.T
    concepts = [Concept(f"C{i}", 3.0 - i, atom=i, directions={"tokens": v}) for i, v in enumerate(vectors)]
    run = run_of(classifier, concepts, Dictionary("tokens", vectors, codes, "linear"), samples)
    a = classifier.open("tokens").activations(run.heldout)
    wanted = classifier.open("tokens").head(a - a @ vectors[:2].T @ vectors[:2])[:, 0].detach().numpy()
    for _, game in (direction_game(run, 60), code_game(run, 60, True)):  # the same, since atoms are orthonormal
        assert game.removed(np.array([[True, True, False]]))[:, 0, 0] == pytest.approx(wanted, abs=1e-5)


def test_directions_that_do_not_fit_are_refused(only: Only) -> None:
    def reason(*vectors: Tensor) -> str:
        run = run_of(network(), [Concept(f"C{i}", 2.0 - i, directions={"2": v}) for i, v in enumerate(vectors)])
        return only(insertion(RemovalOptions(variant="direction")), run).reason or ""

    assert "8 channels" in reason(torch.ones(3), torch.ones(3))
    assert "is zero" in reason(torch.ones(8), torch.zeros(8))


class Around(nn.Module):
    """A network in which a skip goes around layer "mid"."""

    def __init__(self) -> None:
        super().__init__()
        state = torch.get_rng_state()
        torch.manual_seed(0)
        self.low, self.mid, self.head = nn.Linear(48, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        torch.set_rng_state(state)

    def forward(self, x: Tensor) -> Tensor:
        below = self.low(x.flatten(1)).relu()
        return self.head(torch.tanh(self.mid(below) + below))


def test_a_layer_that_is_no_cut_is_asked_with_its_samples(only: Only) -> None:
    run = run_of(Around(), [Concept(f"C{i}", 2.0 - i, directions={"mid": v}) for i, v in enumerate(basis(2))])
    _, game = direction_game(run, 60)
    assert game.removed(np.zeros((1, 2), dtype=bool))[:, 0, 0] == pytest.approx(
        run.task.classifier.logits(run.heldout)[:, 0].numpy(), abs=1e-6
    )
    assert only(deletion(RemovalOptions(variant="direction")), run).value is not None


# -- codes of a dictionary --------------------------------------------------------------------------------------
def test_codes_that_cannot_be_repeated_are_not_used(only: Only) -> None:
    run = coded(network(), basis(3), range(3))
    d = run.explanation.dictionary
    assert d is not None

    def reason(dictionary: Dictionary) -> str:
        changed = replace(run, explanation=replace(run.explanation, dictionary=dictionary))
        return only(insertion(RemovalOptions(variant="codes")), changed).reason or ""

    assert "differ from the stored ones by" in reason(replace(d, codes=d.codes * 2))
    twice, other = d.atoms[[0, 1, 1]], d.codes.clone()
    other[:, :, 2] = 0  # all of the repeated atom's share in one of the two
    assert "codes are not unique" in reason(replace(d, atoms=twice, codes=other))
    assert "have shape" in reason(replace(d, codes=d.codes[:, :, :2]))
    assert "an entry that is not supported: twist" in reason(replace(d, state={"twist": torch.ones(1)}))
    assert "has no matrix `encoder`" in reason(replace(d, encoder="sae"))


# -- which variants --------------------------------------------------------------------------------------
def test_every_variant_that_an_explanation_supports_is_named() -> None:
    run = coded(network(), basis(4), range(4))
    maps = [replace(c, maps=m.maps) for c, m in zip(run.explanation.concepts, placed(range(4)), strict=True)]
    full = replace(run, explanation=replace(run.explanation, concepts=tuple(maps)))
    for name, make in MAKERS.items():
        scores = checked_scores(make().score([full]))
        assert [s.variant for s in scores] == ["codes", "direction", "region blur", "region mean"], name
        assert all(s.value is not None and s.concept is None and s.metric == name for s in scores)
    without = insertion().score([run])
    assert [(s.variant, s.reason) for s in without[2:]] == [
        ("region blur", "the concepts have no maps"),
        ("region mean", "the concepts have no maps"),
    ]
    nothing = run_of(network(), [Concept("C1", 1.0), Concept("C2", 0.5)])
    assert [s.variant for s in insertion().score([nothing])] == ["region blur", "region mean"]


@pytest.mark.parametrize(
    ("variant", "need"), [("codes", "dictionary"), ("direction", "directions"), ("region", "maps")]
)
def test_a_chosen_variant_says_what_it_needs(variant: Any, need: str) -> None:
    nothing = run_of(network(), [Concept("C1", 1.0), Concept("C2", 0.5)])
    metric = insertion(RemovalOptions(variant=variant))
    assert metric.needs == {need}
    assert need in not_applicable(metric, nothing)
    assert not not_applicable(insertion(), nothing)


def test_a_black_box_is_asked_in_pixels_only() -> None:
    box = FunctionClassifier(lambda x: x.mean((2, 3)), CLASSES)
    concepts = [replace(c, directions={"2": torch.ones(8)}) for c in placed(range(3))]
    scores = deletion().score([run_of(box, concepts)])
    assert scores[0].reason == "the classifier offers no activations"
    assert all(s.value is not None for s in scores[1:])


def test_concepts_that_refine_another_are_not_removed_from_pixels() -> None:
    concepts = [*placed(range(3)), replace(placed(range(3))[0], name="C1.1", parent=0, importance=0.1)]
    (game,) = region_games(run_of(network(), concepts), "blur", 6, True)
    assert game.order.shape == (6, 3)
    with pytest.raises(NotApplicable, match="no maps"):
        region_games(run_of(network(), concepts[3:]), "blur", 6, True)


def test_another_layer_than_the_task_s_is_named() -> None:
    run = coded(network(), basis(3), range(3))
    elsewhere = replace(run, task=replace(run.task, layer="1"))
    assert [s.variant for s in insertion().score([elsewhere])][:2] == ["codes 2", "direction 2"]


def test_changed_weights_are_noticed(only: Only) -> None:
    module = network()
    run = coded(module, basis(4), range(4))
    metric = insertion(RemovalOptions(variant="direction"))
    before = only(metric, run).value
    with torch.no_grad():
        module[3].weight.mul_(2.0)  # type: ignore[index,union-attr,operator]
    assert only(metric, run).value == pytest.approx(2 * before)
