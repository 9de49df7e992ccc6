"""Editing: the pipelines of diffusers are the oracles, weights are shared, and what is not to change does not."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.load import quiet
from xcore_diffusion.options import Options
from xcore_diffusion.testing import save_tiny_pipeline

from xcore.contract import NotApplicable, Samples, UsageError
from xcore.pretrained.drawing import check_can

OPTIONS = Options(steps=4, batch_size=3)
PROMPTS = ("a zebra on grass", "white", "striped texture")


@pytest.fixture(scope="module")
def generator(directory: Path) -> DiffusionGenerator:
    return DiffusionGenerator(directory, OPTIONS)


@pytest.fixture(scope="module")
def given() -> Samples:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, (64, 64), mode="bicubic").clamp(0, 1)
    return Samples("image", images, ("a", "b", "c"), torch.arange(3))


def left_half(n: int = 3, size: tuple[int, int] = (64, 64)) -> torch.Tensor:
    masks = torch.zeros(n, *size)
    masks[..., : size[1] // 2] = 1
    return masks


@pytest.mark.parametrize("scheduler", ["dpm", "ddim", "euler", "unipc", "own"])
@pytest.mark.parametrize("inpaint", [False, True])
def test_equals_the_pipelines_of_diffusers(directory: Path, given: Samples, scheduler: str, inpaint: bool) -> None:
    ours = DiffusionGenerator(directory, Options(steps=4, batch_size=3, scheduler=scheduler))  # type: ignore[arg-type]
    masks = left_half() if inpaint else None
    edited = ours.edit(given, PROMPTS, [5, 6, 7], strength=0.75, masks=masks, negatives=["", "black", ""])
    with quiet():
        kind = diffusers.StableDiffusionInpaintPipeline if inpaint else diffusers.StableDiffusionImg2ImgPipeline
        pipe = kind.from_pretrained(str(directory), safety_checker=None, requires_safety_checker=False)
        pipe.scheduler = type(ours.pipe.scheduler).from_config(ours.pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        with torch.no_grad():
            latents = pipe.vae.encode(given.images * 2 - 1).latent_dist.mode() * pipe.vae.config.scaling_factor
        more = {"mask_image": masks[:, None], "masked_image_latents": latents} if masks is not None else {}
        theirs = pipe(
            list(PROMPTS),
            image=latents,
            strength=0.75,
            num_inference_steps=4,
            negative_prompt=["", "black", ""],
            generator=[torch.Generator().manual_seed(s) for s in (5, 6, 7)],
            output_type="pt",
            **more,
        ).images
    assert torch.allclose(edited.images, theirs, atol=1e-4)
    assert (edited.images - ours.roundtrip(given).images).abs().max() > 0.01


def test_an_edit_leaves_drawing_as_it_was(generator: DiffusionGenerator, given: Samples) -> None:
    before = generator.generate(PROMPTS, range(3))
    generator.edit(given, PROMPTS, range(3), strength=0.5)
    generator.edit(given, PROMPTS, range(3), strength=0.5, masks=left_half())
    assert generator.generate(PROMPTS, range(3)).digest == before.digest


def test_a_strength_of_less_than_a_step_is_the_round_trip(generator: DiffusionGenerator, given: Samples) -> None:
    assert generator.edit(given, PROMPTS, range(3), strength=0.2).digest == generator.roundtrip(given).digest
    assert generator.edit(given, PROMPTS, range(3), strength=0.25).digest != generator.roundtrip(given).digest


def test_each_of_its_inputs_matters_and_is_in_the_ids(generator: DiffusionGenerator, given: Samples) -> None:
    same = {"strength": 0.75}
    one = given.take([0])
    adapter, _ = generator.adapt(
        None, generator.generate(["white"], [0]), generator.generate(["white"], [1]), seed=0, options={"steps": 3}
    )
    edits = [
        generator.edit(one, ["white"], [0], **same),
        generator.edit(one, ["black"], [0], **same),
        generator.edit(one, ["white"], [1], **same),
        generator.edit(one, ["white"], [0], strength=1.0),
        generator.edit(one, ["white"], [0], **same, masks=left_half(1)),
        generator.edit(one, ["white"], [0], **same, negatives=["striped"]),
        generator.edit(one, ["white"], [0], **same, adapter=adapter),
        generator.edit(Samples("image", given.images[1:2], ("a",)), ["white"], [0], **same),
    ]
    assert len({e.digest for e in edits}) == len({e.ids for e in edits}) == len(edits)
    again = generator.edit(one, ["white"], [0], **same, negatives=[""])
    assert (again.digest, again.ids) == (edits[0].digest, edits[0].ids)
    assert again.labels is None, "an edited picture may no longer be of its class"
    assert again.ids[0].startswith("edited/")
    assert again.ids[0].endswith("/a")
    assert (again.meta["prompt"], again.meta["negative"], again.meta["seed"]) == (("white",), ("",), (0,))
    assert again.meta["edited"] == ("a",)


def test_a_mask_keeps_the_latents_outside_of_it(generator: DiffusionGenerator, given: Samples) -> None:
    masks = torch.zeros(3, 64, 64)
    masks[:, 20, 30] = 1  # one pixel: the cell of 8 x 8 pixels that it lies in is changed
    edited = generator.edit(given, PROMPTS, range(3), strength=1.0, masks=masks)
    change = (edited.meta["latents"] - generator.roundtrip(given).meta["latents"]).abs().amax((0, 1))
    assert change[2, 3] > 0.01
    change[2, 3] = 0
    assert change.max() == 0
    nothing = generator.edit(given, PROMPTS, range(3), strength=1.0, masks=torch.zeros(3, 64, 64))
    assert torch.allclose(nothing.images, generator.roundtrip(given).images, atol=1e-6)


def test_pictures_and_masks_of_another_size_come_back_in_it(generator: DiffusionGenerator) -> None:
    images = torch.rand(2, 3, 48, 100, generator=torch.Generator().manual_seed(1))
    other = Samples("image", images, ("a", "b"))
    edited = generator.edit(other, PROMPTS[:2], [0, 1], strength=0.5, masks=left_half(2, (48, 100)))
    assert edited.images.shape == images.shape
    assert edited.meta["latents"].shape == (2, 4, 8, 8)
    same = generator.roundtrip(other).meta["latents"]
    assert torch.equal(edited.meta["latents"][..., 4:], same[..., 4:])
    assert not torch.equal(edited.meta["latents"][..., :4], same[..., :4])


def test_without_guidance_there_is_no_away(directory: Path, given: Samples) -> None:
    plain = DiffusionGenerator(directory, Options(steps=2, batch_size=3, guidance=1.0))
    assert len(plain.edit(given, PROMPTS, range(3), strength=0.5, negatives=["", "", ""])) == 3
    with pytest.raises(UsageError, match=r"its guidance of 1 is off .*set a guidance above 1"):
        plain.edit(given, PROMPTS, range(3), strength=0.5, negatives=["", "black", ""])


def test_half_precision_and_another_size_of_the_generator(directory: Path, given: Samples) -> None:
    g = DiffusionGenerator(directory, Options(steps=2, batch_size=2, dtype="bfloat16", height=32, width=48))
    for masks in (None, left_half()):
        edited = g.edit(given, PROMPTS, range(3), strength=1.0, masks=masks)
        assert edited.images.shape == given.images.shape
        assert edited.images.dtype == torch.float32
        assert torch.isfinite(edited.images).all()


def test_what_does_not_fit_is_one_line(generator: DiffusionGenerator, given: Samples) -> None:
    with pytest.raises(UsageError, match="3 samples to edit and 2 prompts"):
        generator.edit(given, PROMPTS[:2], range(3), strength=0.5)
    with pytest.raises(UsageError, match=r"strength 2 of the edit is not in \(0, 1\]"):
        generator.edit(given, PROMPTS, range(3), strength=2)
    with pytest.raises(UsageError, match=r"masks have the size \(32, 64\), but the pictures have \(64, 64\)"):
        generator.edit(given, PROMPTS, range(3), strength=0.5, masks=torch.ones(3, 32, 64))


def test_who_needs_more_than_it_can_is_told_before_anything_is_drawn(generator: DiffusionGenerator) -> None:
    check_can(generator, "edit", "evidence by editing", "name another generator")

    class Plain:
        can = frozenset[str]()
        name = "plain:x"

    with pytest.raises(NotApplicable) as caught:
        check_can(Plain(), "adapt", "rlpo with updates", "set rlpo.update=false")  # type: ignore[arg-type]
    assert str(caught.value).startswith(
        "rlpo with updates needs a generator that can be adapted by preference, and plain:x cannot"
    )
    assert caught.value.hint == "set rlpo.update=false"


def test_a_pipeline_for_inpainting_only_is_refused(tmp_path: Path) -> None:
    path = save_tiny_pipeline(tmp_path / "p")
    index = path / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"))
    with pytest.raises(UsageError, match="holds a StableDiffusionInpaintPipeline, not a StableDiffusionPipeline"):
        DiffusionGenerator(path)
