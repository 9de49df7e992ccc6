"""Where concepts are in other samples: by dictionaries and directions whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, one_hot

from xcore.contract import Concept, Dictionary, Explanation, NotApplicable, Samples, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.models.codes import encode
from xcore.models.presence import ZERO, presence, project

WIDTH = 8


class Opened:
    """A probe that gives these activations."""

    def __init__(self, a: Tensor, layout: str) -> None:
        self.a, self.layout = a, layout

    def activations(self, samples: Samples) -> Tensor:
        return self.a


class Mixer(nn.Module):
    """Activations (n, 5, H/2, W/2) mix the three colours of the picture: each colour times its row of `atoms`."""

    def __init__(self, atoms: Tensor) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.mix = nn.Conv2d(3, 5, 1, bias=False)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(5, 2)
        with torch.no_grad():
            self.mix.weight.copy_(atoms.T[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.flat(self.mean(self.mix(self.pool(x))))))


ATOMS = torch.tensor([[1.0, 0.2, 0, 0, 0.1], [0, 1, 0.3, 0, 0], [0, 0, 0.5, 1, 0]])


def classifier(atoms: Tensor = ATOMS) -> TorchClassifier:
    return TorchClassifier(Mixer(atoms), ("a", "b"))


def pictures(n: int = 4, height: int = 16, width: int = 16, seed: int = 0) -> Samples:
    drawn = torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return Samples("image", drawn, tuple(f"p{seed}/{i}" for i in range(n)))


def colours(samples: Samples) -> Tensor:
    """(n, 3, H/2, W/2): the true codes."""
    return nn.functional.avg_pool2d(samples.images, 2)


def coded(order: tuple[int, ...] = (2, 0, 1), **state: Tensor) -> Explanation:
    """Concepts that are the atoms, in another order than in the dictionary."""
    concepts = tuple(Concept(f"C{i}", 1.0 - i / 10, atom=atom) for i, atom in enumerate(order))
    return Explanation("hand", "a", "nothing", concepts, Dictionary("mix", ATOMS, torch.zeros(0, 64, 3), "nnls", state))


def directed(directions: Tensor, layer: str = "mix", **evidence: float) -> Explanation:
    concepts = tuple(
        Concept(f"D{i}", 0.0, directions={layer: v}, evidence=evidence) for i, v in enumerate(directions.unbind())
    )
    return Explanation("hand", "a", "nothing", concepts)


# -- dictionaries --------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(16, 16), (24, 12)])
def test_a_dictionary_gives_the_true_codes_in_the_order_of_the_concepts(size: tuple[int, int]) -> None:
    samples = pictures(3, *size)
    found, truth = presence(coded(), classifier(), samples), colours(samples)[:, [2, 0, 1]]
    assert found.strength.numpy() == pytest.approx(truth.mean((2, 3)).numpy(), abs=1e-5)
    assert found.maps is not None
    wanted = interpolate(truth, size=size, mode="bilinear", align_corners=False)
    assert torch.allclose(found.maps, wanted, atol=1e-5)
    assert not found.notes


def test_the_state_of_the_dictionary_counts() -> None:
    shift = torch.tensor([0.1, -0.2, 0.0, 0.3, 0.0])
    module = Mixer(ATOMS)
    module.mix.bias = nn.Parameter(shift)
    found = presence(coded(shift=shift), TorchClassifier(module, ("a", "b")), pictures())
    assert torch.allclose(found.strength, colours(pictures())[:, [2, 0, 1]].mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("kind", ["nnls", "linear", "onehot", "sae", "sae of the largest"])
def test_codes_by_each_encoder(kind: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    atoms, rows = torch.rand(3, WIDTH, generator=generator), torch.rand(4, 5, WIDTH, generator=generator)
    state = {"shift": torch.full((WIDTH,), -0.5), "floor": torch.full((WIDTH,), 0.2)}
    x = rows.clamp_min(0.2) + 0.5
    if kind == "nnls":
        truth = torch.rand(4, 5, 3, generator=generator)
        rows, x = truth @ atoms + 0.2, truth @ atoms
        state = {"shift": torch.full((WIDTH,), 0.2)}
        wanted = truth
    elif kind == "linear":
        wanted = torch.linalg.lstsq(atoms.T, x.flatten(0, 1).T).solution.T.view(4, 5, 3)
    elif kind == "onehot":
        wanted = one_hot(((x[:, :, None] - atoms) ** 2).sum(-1).argmin(-1), 3).float()
    else:
        weights = torch.randn(WIDTH, 3, generator=generator)
        state |= {"encoder": weights, "bias": torch.tensor([0.1, 0.0, -0.1]), "threshold": torch.tensor(0.3)}
        z = (x @ weights + state["bias"]).relu()
        wanted = z * (z >= 0.3)
        if kind != "sae":
            state["top_k"] = torch.tensor(2.0)
            wanted = wanted * (wanted > wanted.min(2, keepdim=True).values)
    assert encode(Dictionary("2", atoms, wanted, kind.partition(" ")[0], state), rows) == pytest.approx(
        wanted, abs=1e-4
    )


# -- directions ----------------------------------------------------------------------------------
def test_a_direction_along_one_channel_shows_that_channel() -> None:
    samples, model = pictures(), classifier()
    a = model.open("mix").activations(samples)
    found = presence(directed(2.5 * torch.eye(5)[[3, 1]], **{ZERO: 0.25}), model, samples)
    assert torch.allclose(found.strength, a[:, [3, 1]].mean((2, 3)) - 0.25, atol=1e-6)
    assert "above that of the explained samples" in found.strength_is
    assert found.maps is not None
    wanted = interpolate((a[:, [3, 1]] - 0.25).clamp_min(0), size=(16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(found.maps, wanted, atol=1e-6)


def test_a_direction_of_all_positions_is_averaged_over_them_and_fits_pictures_of_another_size() -> None:
    one, model = torch.tensor([1.0, 2, 0, 0, 0]), classifier()
    flat = one[:, None, None].expand(5, 8, 8).flatten()[None]
    shown = Concept("D", 0.0, directions={"mix": flat[0]}, maps=torch.zeros(4, 16, 16))
    explanation = Explanation("hand", "a", "nothing", (shown,))
    for size in ((16, 16), (20, 28)):
        samples = pictures(3, *size)
        a = model.open("mix").activations(samples)
        wanted = torch.einsum("nchw,c->n", a, normalize(one, dim=0)) / a[0, 0].numel()
        found = presence(explanation, model, samples)
        assert torch.allclose(found.strength[:, 0], wanted, atol=1e-5)
    with pytest.raises(UsageError, match=r"have 320 entries at the layer 'mix', which has the shape \(5, 10, 14\)"):
        presence(directed(flat), model, pictures(3, 20, 28))  # without maps, the explained size is not known


@pytest.mark.parametrize("made", [coded(), directed(ATOMS)])
def test_strengths_are_the_same_without_maps(made: Explanation) -> None:
    given, bare = (presence(made, classifier(), pictures(), with_maps=maps) for maps in (True, False))
    assert given.maps is not None
    assert bare.maps is None
    assert torch.equal(bare.strength, given.strength)
    assert (bare.strength_is, bare.notes) == (given.strength_is, given.notes)


def test_a_layer_without_positions_has_strengths_and_no_maps() -> None:
    samples, model = pictures(), classifier()
    found = presence(directed(-torch.eye(5)[:1], "flat"), model, samples)
    assert "above that of the explained" not in found.strength_is  # which the explanation does not hold
    assert found.maps is None
    assert "no layer of the concepts has a grid of positions" in found.notes[0]
    assert torch.allclose(found.strength, -model.open("flat").activations(samples)[:, :1])


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_tokens_have_the_projections_of_the_same_positions_without_the_tokens_in_front(extra: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, front = torch.randn(3, 6, 4, 4, generator=generator), 9 * torch.ones(3, extra, 6)
    tokens = torch.cat([front, a.flatten(2).transpose(1, 2)], dim=1)
    samples = Samples("image", torch.zeros(3, 3, 16, 16), ("a", "b", "c"))
    shared = torch.randn(2, 6, generator=generator)
    at_each = torch.randn(2, 6, 4, 4, generator=generator)
    of_tokens = torch.cat([9 * torch.ones(2, extra, 6), at_each.flatten(2).transpose(1, 2)], dim=1).flatten(1)
    for of_map, of_token in ((shared, shared), (at_each.flatten(1), of_tokens)):
        wanted = project(Opened(a, "NCHW"), samples, of_map)  # type: ignore[arg-type]
        made = project(Opened(tokens, "NTC"), samples, of_token)  # type: ignore[arg-type]
        assert wanted is not None
        assert made is not None
        assert made.grid == wanted.grid == (4, 4)
        assert torch.allclose(made.values, wanted.values, atol=1e-5)


def test_vectors_and_tokens_that_form_no_grid_have_no_maps() -> None:
    samples = Samples("image", torch.zeros(3, 3, 16, 16), ("a", "b", "c"))
    for a, layout in ((torch.zeros(3, 6), "NC"), (torch.zeros(3, 48, 6), "NTC")):
        found = project(Opened(a, layout), samples, torch.ones(2, 6))  # type: ignore[arg-type]
        assert found is not None
        assert found.maps(torch.zeros(2), (16, 16)) is None


def test_texts_have_strengths_by_the_direction_as_it_is() -> None:
    a = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(1, 28, generator=torch.Generator().manual_seed(1))
    found = project(Opened(a, "NTC"), Samples("text", ("x", "y", "z"), ("a", "b", "c")), direction)  # type: ignore[arg-type]
    assert found is not None
    assert torch.allclose(found.values[:, 0], a.flatten(1) @ normalize(direction, dim=1).T, atol=1e-5)


# -- what cannot be found ------------------------------------------------------------------------
def test_a_concept_that_cannot_be_found_is_nan_and_named() -> None:
    both = replace(coded(), concepts=(*coded().concepts, Concept("lost", 0.0)))
    found = presence(both, classifier(), pictures())
    assert found.strength[:, 3].isnan().all()
    assert found.strength[:, :3].isfinite().all()
    assert any("1 of 4 concepts have no atom and no direction: lost" in note for note in found.notes)
    assert found.maps is not None
    assert not found.maps[:, 3].any()
    with pytest.raises(NotApplicable, match="neither an atom of a dictionary nor a direction"):
        presence(Explanation("hand", "a", "nothing", (Concept("lost", 0.0),)), classifier(), pictures())


def test_an_explanation_without_concepts_finds_nothing() -> None:
    found = presence(Explanation("hand", "a", "nothing", ()), classifier(), pictures())
    assert found.strength.shape == (4, 0)
    assert found.notes


def test_networks_that_do_not_fit_are_refused_with_the_next_step() -> None:
    black_box = FunctionClassifier(lambda x: torch.zeros(len(x), 2), ("a", "b"))
    with pytest.raises(NotApplicable, match="a black box"):
        presence(coded(), black_box, pictures())
    other = TorchClassifier(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(1024, 2)), ("a", "b"))
    with pytest.raises(UsageError, match="the layer 'mix', which this network does not have") as missing:
        presence(coded(), other, pictures())
    assert "another version of it with the same layers" in str(missing.value.hint)
    wider = Mixer(ATOMS)
    wider.mix, wider.head = nn.Conv2d(3, 10, 1), nn.Linear(10, 2)
    with pytest.raises(UsageError, match="in 5 channels of the layer 'mix', which has 10 in this network"):
        presence(coded(), TorchClassifier(wider, ("a", "b")), pictures())
    flat = directed(torch.ones(1, 5 * 64))
    with pytest.raises(UsageError, match="have 320 entries"):
        presence(flat, TorchClassifier(wider, ("a", "b")), pictures())


def test_another_version_of_the_network_is_read_at_its_own_activations() -> None:
    twice = classifier(2 * ATOMS)
    assert torch.allclose(
        presence(coded(), twice, pictures()).strength,
        2 * presence(coded(), classifier(), pictures()).strength,
        atol=1e-5,
    )
