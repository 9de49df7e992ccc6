"""Evidence by editing: effects in closed form, noise that cancels out, what is drawn once, and what cannot be tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_evidence.edited import Edits, blended, blended_evidence, edited, edits_of, paired

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError
from xcore.store.run_directory import Artifacts

TINTS = {"red": (0.2, 0.0, 0.0), "green": (0.0, 0.2, 0.0), "blue": (0.0, 0.0, 0.2), "": (0.0, 0.0, 0.0)}
PHRASES = ["red", "green", "blue"]
STRENGTH = 0.5


class Tinter:
    """A generator that tints pictures by strength x the colour, after noise that is the same for all prompts."""

    modality = "image"
    fingerprint = "tinter"

    def __init__(self, can: Sequence[str] = ("edit",), tints: Mapping[str, Sequence[float]] = TINTS) -> None:
        self.can, self.tints, self.edits = frozenset(can), tints, 0

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        raise AssertionError("nothing is to be drawn anew")

    def edit(
        self,
        samples: Samples,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        strength: float,
        masks: Tensor | None = None,
        negatives: Sequence[str] | None = None,
        adapter: object = None,
    ) -> Samples:
        self.edits += len(prompts)
        changed = []
        for i, (towards, away) in enumerate(zip(prompts, negatives or [""] * len(prompts), strict=True)):
            noise = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(seeds[i])) - 0.5
            tint = torch.zeros(3)
            for sign, phrase in ((1, towards), (-1, away)):
                tint = tint + sign * strength * torch.tensor(self.tints[phrase])
            changed.append((samples.images[i] + 0.3 * noise + tint[:, None, None]).clamp(0, 1))
        return Samples("image", torch.stack(changed), tuple(f"e/{i}" for i in samples.ids))


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


class Colours:
    """An image-text model that reads the three colours."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([TINTS[t] for t in texts])


def pictures(n: int, seed: int = 0, size: tuple[int, int] = (6, 6)) -> Samples:
    images = 0.4 + 0.2 * torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)))


def make_task(tmp_path: Path, classifier: Any = None, generator: Any = None, n: int = 8, **more: Any) -> Task:
    models = more.pop("models", {"image-text": Colours()})
    return Task(
        **{
            "classifier": classifier or Sum(9.0, -3.0, 0.0),
            "layer": "",
            "target": 0,
            "samples": pictures(n),
            "random_set": lambda n, index, *rest: pictures(n, 100 + index),
            "data": None,
            "seed": 4,
            "generator": generator or Tinter(),
            "model": lambda role: models[role],
            "roles": tuple(models),
            "artifact": Artifacts(tmp_path / "artifacts").get,
            **more,
        }
    )


@pytest.mark.parametrize("away", [True, False])
def test_effects_are_those_of_the_colours_and_the_noise_cancels_out(tmp_path: Path, away: bool) -> None:
    found = edited(make_task(tmp_path), PHRASES, strength=STRENGTH, away=away, images=8)
    assert (found.kind, found.n) == ("edited", 8)
    tinted = torch.tensor([9.0, -3.0, 0.0]) * 0.2 * STRENGTH * (2 if away else 1)
    for estimate, wanted in zip(found.estimates, tinted - tinted.mean(), strict=True):
        assert estimate.effect == pytest.approx(float(wanted), abs=0.03)  # kept with 8 bits
        assert 0 < estimate.error < 0.03 < 0.3 * 9 / 12**0.5 / 8**0.5, "far below what the noise of one edit would give"
        assert estimate.lo < estimate.effect < estimate.hi
        assert estimate.details["shown"] > 0
    assert [e.mark for e in found.estimates] == [1, -1, -1]
    assert found.ranked() == [0, 2, 1]
    if not away:
        assert found.of("red").details["over_empty"] == pytest.approx(float(tinted[0]), abs=0.03)


def test_other_classifiers_on_the_same_pictures_draw_nothing_again(tmp_path: Path) -> None:
    generator = Tinter()
    first = make_task(tmp_path, generator=generator)
    edited(first, PHRASES, images=4)
    assert generator.edits == 4 * 7, "towards nothing, towards each phrase and away from each"
    other = edited(make_task(tmp_path, Sum(0.0, 0.0, 5.0), generator), PHRASES, images=4)
    assert generator.edits == 4 * 7
    assert other.ranked()[0] == 2
    edited(make_task(tmp_path, generator=generator, seed=5), PHRASES, images=4)
    assert generator.edits == 2 * 4 * 7, "another seed has other noise"
    again, kept = (edits_of(make_task(tmp_path), pictures(4), PHRASES, strength=0.6) for _ in range(2))
    assert again.pictures["red"].digest == kept.pictures["red"].digest


def test_edits_outside_of_the_range_of_pictures_are_cut_off_when_they_are_kept(tmp_path: Path) -> None:
    class Beyond(Tinter):
        def edit(self, samples: Samples, *rest: Any, **more: Any) -> Samples:
            made = super().edit(samples, *rest, **more)
            return Samples("image", made.images + 0.5, made.ids)

    made = edits_of(make_task(tmp_path, generator=Beyond()), pictures(4), PHRASES, strength=0.6)
    assert max(float(x.images.max()) for x in made.pictures.values()) == 1.0
    assert min(float(x.images.min()) for x in made.pictures.values()) >= 0.49  # nothing begins at 0 again


def test_pictures_of_other_classes_may_be_edited_too(tmp_path: Path) -> None:
    found = edited(make_task(tmp_path), PHRASES, images=5, others=3)
    assert found.n == 8
    assert "3 of the 8 pictures that were edited are of other classes" in found.notes
    few = edited(make_task(tmp_path, n=3), PHRASES, images=5)
    assert few.n == 3
    assert "only 3 pictures could be edited, of 5 that were asked for" in few.notes


def test_a_phrase_that_its_edits_do_not_show_is_untested_and_said(tmp_path: Path) -> None:
    wrong = Tinter(tints={**TINTS, "blue": (0.2, 0.2, 0.0)})
    found = edited(make_task(tmp_path, generator=wrong), PHRASES, strength=1.0)
    assert [e.tested for e in found.estimates] == [True, True, False]
    assert found.estimates[2].mark == 0
    assert found.ranked()[-1] == 2
    assert any("1 of 3 phrases are untested" in note and note.endswith(": blue") for note in found.notes)
    unchecked = edited(make_task(tmp_path, generator=wrong, models={}), PHRASES)
    assert all(e.tested for e in unchecked.estimates)
    assert any("was not checked: no model of the role image-text" in note for note in unchecked.notes)


def test_what_cannot_be_tried_says_what_to_do(tmp_path: Path) -> None:
    none = make_task(tmp_path)
    object.__setattr__(none, "generator", None)
    with pytest.raises(MissingError, match=r"needs a generator that can edit .*name a diffusion pipeline"):
        edited(none, PHRASES)
    plain = make_task(tmp_path, generator=Tinter(can=()))
    with pytest.raises(NotApplicable, match=r"can edit samples, and this generator cannot .*observed evidence"):
        edited(plain, PHRASES)
    texts = make_task(tmp_path, samples=Samples("text", ("a", "b", "c"), ("1", "2", "3")))
    with pytest.raises(NotApplicable, match=r"these samples are texts .*factorial"):
        edited(texts, PHRASES)
    with pytest.raises(NotApplicable, match="needs 3 pictures or more, and there are 2"):
        edited(make_task(tmp_path, n=2), PHRASES)
    with pytest.raises(UsageError, match="compares phrases, and there is 1"):
        edited(make_task(tmp_path), PHRASES[:1])


def test_p_values_are_uniform_where_no_edit_does_anything() -> None:
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
    assert isinstance(made, Edits)
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


def test_blended_colours_move_the_margin_as_they_should(tmp_path: Path) -> None:
    def field(*colour: float) -> Samples:
        return Samples("image", torch.tensor(colour)[None, :, None, None].expand(4, 3, 6, 6).clone(), tuple("abcd"))

    materials = {"red": field(1, 0, 0), "green": field(0, 1, 0), "blue": field(0, 0, 1)}
    found = blended_evidence(make_task(tmp_path, generator=Tinter(can=())), materials, share=0.4, images=6)
    assert [e.effect for e in found.estimates] == pytest.approx([0.4 * (w - 2) for w in (9, -3, 0)], abs=1e-4)
    before = float(Sum(9.0, -3.0, 0.0).logits(pictures(8).take(range(6)))[:, 0].mean())
    changes = [e.details["over_unchanged"] for e in found.estimates]
    assert changes == pytest.approx([0.4 * (w - before) for w in (9, -3, 0)], abs=1e-4)
    assert found.says == "effect of blending pictures of the concept into pictures of the class"
    other = blended_evidence(make_task(tmp_path), materials, share=0.4, into=pictures(5, 9))
    assert (other.n, other.says) == (5, "effect of blending pictures of the concept into given pictures")
    assert [e.effect for e in other.estimates] == pytest.approx([0.4 * (w - 2) for w in (9, -3, 0)], abs=1e-4)
