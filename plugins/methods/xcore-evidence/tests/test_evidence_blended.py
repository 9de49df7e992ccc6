"""Evidence by blending: effects in closed form, tests that keep their level, and what cannot be tried."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from xcore_evidence.blended import Blends, blended, blended_evidence, paired

from xcore.contract import NotApplicable, Samples, Task, UsageError


class Sum:
    """A black box of two classes: the logit of the first is a weighted sum of the mean colour, that of the second 0."""

    modality = "image"
    classes = ("warm", "cold")
    can = frozenset[str]()
    layers: tuple[str, ...] = ()
    default_layer = ""

    def __init__(self, *weights: float) -> None:
        self.weights = torch.tensor(weights)

    def logits(self, x: Samples) -> Tensor:
        first = x.images.mean((2, 3)) @ self.weights
        return torch.stack([first, torch.zeros_like(first)], 1)


def pictures(n: int, seed: int = 0, size: tuple[int, int] = (6, 6)) -> Samples:
    images = 0.4 + 0.2 * torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)))


def make_task(samples: Samples) -> Task:
    return Task(
        classifier=Sum(9.0, -3.0, 0.0), layer="", target=0, samples=samples, data=None,  # type: ignore[arg-type]
        random_set=lambda n, index, *rest: pictures(n, 100 + index), seed=4,
    )  # fmt: skip


def test_p_values_are_uniform_where_no_blend_does_anything() -> None:
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(60):
        margins = 3 * torch.randn(6, 1, generator=rng) + torch.randn(6, 10, generator=rng)
        found.append(paired([str(i) for i in range(10)], margins.double(), says="x", gap=1.0))
    p = torch.tensor([[e.p for e in each.estimates] for each in found])
    assert float((p <= 0.05).double().mean()) == pytest.approx(0.05, abs=0.025)
    assert float((p <= 0.5).double().mean()) == pytest.approx(0.5, abs=0.06)
    assert sum(any(e.mark for e in each.estimates) for each in found) <= 12, "5 % on each side, of 60"


def test_a_blend_mixes_within_its_mask() -> None:
    given = pictures(3)
    white = Samples("image", torch.ones(2, 3, 12, 18), ("w0", "w1"))
    masks = torch.zeros(3, 6, 6)
    masks[:, :2] = 1
    made = blended(given, {"white": white}, 0.25, masks=masks)
    assert isinstance(made, Blends)
    out = made.pictures["white"].images
    assert torch.allclose(out[:, :, :2], 0.75 * given.images[:, :, :2] + 0.25)
    assert torch.equal(out[:, :, 2:], given.images[:, :, 2:])
    assert torch.allclose(blended(given, {"white": white}, 1.0).pictures["white"].images, torch.ones(3, 3, 6, 6))


def test_blends_use_the_same_place_of_each_material_and_refuse_what_does_not_fit() -> None:
    given = pictures(20)
    shades = Samples("image", torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 6, 6).clone(), tuple("abcde"))
    made = blended(given, {"a": shades, "b": shades}, 1.0)
    assert torch.equal(made.pictures["a"].images, made.pictures["b"].images)
    assert len(made.pictures["a"].images[:, 0, 0, 0].unique()) == 5
    with pytest.raises(UsageError, match=r"share 0 of the blend is not in \(0, 1\]"):
        blended(given, {"a": shades}, 0)
    with pytest.raises(UsageError, match="no pictures of 'b'"):
        blended(given, {"a": shades, "b": shades.take([])}, 0.5)
    with pytest.raises(UsageError, match=r"masks have shape \(20, 5, 5\)"):
        blended(given, {"a": shades}, 0.5, masks=torch.ones(20, 5, 5))


def test_blended_colours_move_the_margin_as_they_should() -> None:
    def field(*colour: float) -> Samples:
        return Samples("image", torch.tensor(colour)[None, :, None, None].expand(4, 3, 6, 6).clone(), tuple("abcd"))

    materials = {"red": field(1, 0, 0), "green": field(0, 1, 0), "blue": field(0, 0, 1)}
    found = blended_evidence(make_task(pictures(8)), materials, share=0.4, images=6)
    assert [e.effect for e in found.estimates] == pytest.approx([0.4 * (w - 2) for w in (9, -3, 0)], abs=1e-4)
    before = float(Sum(9.0, -3.0, 0.0).logits(pictures(8).take(range(6)))[:, 0].mean())
    changes = [e.details["over_unchanged"] for e in found.estimates]
    assert changes == pytest.approx([0.4 * (w - before) for w in (9, -3, 0)], abs=1e-4)
    assert found.says == "effect of blending pictures of the concept into pictures of the class"
    other = blended_evidence(make_task(pictures(8)), materials, share=0.4, into=pictures(5, 9))
    assert (other.n, other.says) == (5, "effect of blending pictures of the concept into given pictures")
    assert [e.effect for e in other.estimates] == pytest.approx([0.4 * (w - 2) for w in (9, -3, 0)], abs=1e-4)
    words = make_task(Samples("text", ("a", "b", "c"), ("1", "2", "3")))
    with pytest.raises(NotApplicable, match=r"these samples are texts .*factorial"):
        blended_evidence(words, materials, share=0.4)
