"""Diffusion-DPO: closed forms, the base left bit for bit, adapters as values, a planted preference that is learnt."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from xcore_diffusion import dpo
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.load import quiet
from xcore_diffusion.options import Options
from xcore_diffusion.testing import save_tiny_pipeline

from xcore.contract import MissingError, Samples, UsageError, XcoreError
from xcore.pretrained.lora import accuracy, adapter, load_adapter, save_adapter

OPTIONS = Options(steps=3, batch_size=4)


@pytest.fixture(scope="module")
def generator(directory: Path) -> DiffusionGenerator:
    return DiffusionGenerator(directory, OPTIONS)


@pytest.fixture(scope="module")
def pairs(generator: DiffusionGenerator) -> tuple[Samples, Samples]:
    s = generator.generate(["a zebra", "white", "a horse", "black", "striped texture"] * 2, range(10))
    return s.take(range(5)), s.take(range(5, 10))


def weights(generator: DiffusionGenerator) -> str:
    """Digest of everything but the LoRA, under the names that it had before the LoRA was added."""
    h = hashlib.sha256()
    for part in (generator.pipe.unet, generator.pipe.vae, generator.pipe.text_encoder):
        for name, tensor in sorted((n.replace(".base_layer", ""), t) for n, t in part.state_dict().items()):
            if ".lora_" not in name:
                h.update(name.encode() + tensor.numpy().tobytes())
    return h.hexdigest()


def planted(n: int, seed: int) -> tuple[Samples, Samples]:
    """Latents with a stripe pattern, preferred over latents without."""
    g = torch.Generator().manual_seed(seed)
    stripe = torch.tensor([1.0, -1.0]).repeat(4).view(1, 1, 1, 8)

    def wrap(latents: Tensor) -> Samples:
        ids = tuple(f"{seed}/{i}" for i in range(n))
        return Samples("image", torch.zeros(n, 3, 64, 64), ids, meta={"prompt": ("zebra",) * n, "latents": latents})

    return wrap(0.3 * torch.randn(n, 4, 8, 8, generator=g) + stripe), wrap(0.3 * torch.randn(n, 4, 8, 8, generator=g))


def test_closed_form_where_model_and_reference_agree() -> None:
    beta, e = 78.125, torch.tensor([0.4, 1.3])
    e_w, e_l = e.clone().requires_grad_(), (e + 0.1).requires_grad_()
    loss, margin = dpo.pair_loss(e_w, e_l, e, e + 0.1, beta)
    torch.autograd.backward(loss.sum())
    assert loss.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-7)
    assert margin.tolist() == [0, 0]
    assert e_w.grad is not None
    assert e_l.grad is not None
    assert e_w.grad.tolist() == pytest.approx([beta / 2] * 2)
    assert e_l.grad.tolist() == pytest.approx([-beta / 2] * 2)


def test_swapping_the_pair_flips_the_margin() -> None:
    e_w, e_l, r_w, r_l = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    loss, margin = dpo.pair_loss(e_w, e_l, r_w, r_l, 3.0)
    swapped, flipped = dpo.pair_loss(e_l, e_w, r_l, r_w, 3.0)
    assert torch.allclose(flipped, -margin)
    assert torch.allclose(swapped - loss, margin, atol=1e-6)  # -log s(-m) + log s(m) = m
    assert torch.allclose(margin, 3.0 * ((r_w - r_l) - (e_w - e_l)))


def test_ties_count_half() -> None:
    assert float(accuracy(torch.tensor([1.0, 0.0, -2.0, 3.0]))) == 0.625


def test_default_beta_scales_with_the_latent_size() -> None:
    assert dpo.default_beta(16384) == 2500
    assert dpo.default_beta(512) == pytest.approx(78.125)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noise_and_targets_are_those_of_diffusers(prediction: str) -> None:
    import diffusers

    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear", prediction_type=prediction)
    g = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 5, 4, 8, 8, generator=g)
    t = torch.tensor([0, 10, 500, 998, 999])
    noisy, target = dpo.Objective(scheduler.alphas_cumprod, prediction).noised(x, noise, t)
    assert torch.allclose(noisy, scheduler.add_noise(x, noise, t), atol=1e-6)
    expected = {"epsilon": noise, "sample": x, "v_prediction": scheduler.get_velocity(x, noise, t)}[prediction]
    assert torch.allclose(target, expected, atol=1e-6)


def test_the_first_step_starts_at_log_two(generator: DiffusionGenerator, pairs: tuple[Samples, Samples]) -> None:
    _, figures = generator.adapt(None, *pairs, seed=3, options={"steps": 1, "lr": 1e-3})
    assert figures["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert figures["accuracy"] == 0.5
    assert figures["margin"] == 0
    assert (figures["lr"], figures["steps"], figures["total_steps"]) == (1e-3, 1, 1)
    assert figures["beta"] == pytest.approx(2500 * 256 / 16384)


def test_the_base_is_left_bit_for_bit(directory: Path, pairs: tuple[Samples, Samples]) -> None:
    g = DiffusionGenerator(directory, OPTIONS)
    before, plain = weights(g), g.generate(["a zebra"], [1])
    tuned, _ = g.adapt(None, *pairs, seed=0, options={"steps": 3, "lr": 1e-2})
    adapted = g.generate(["a zebra"], [1], tuned)
    after = g.generate(["a zebra"], [1])
    assert weights(g) == before
    assert torch.equal(after.images, plain.images)
    assert after.ids == plain.ids != adapted.ids
    assert not torch.equal(adapted.images, plain.images)


def test_an_untrained_adapter_changes_nothing(generator: DiffusionGenerator, pairs: tuple[Samples, Samples]) -> None:
    start, _ = generator.adapt(None, *pairs, seed=0, options={"steps": 0})
    a = torch.cat([t.flatten() for n, t in start.state.items() if ".lora_A." in n])
    assert float(a.std()) == pytest.approx(1 / 8, rel=0.05)
    assert all(not t.any() for n, t in start.state.items() if ".lora_B." in n)
    drawn = generator.generate(["white"], [0], start).images
    assert torch.equal(drawn, generator.generate(["white"], [0]).images)


def test_adapters_are_values(generator: DiffusionGenerator, pairs: tuple[Samples, Samples]) -> None:
    one, _ = generator.adapt(None, *pairs, seed=0, options={"steps": 2, "lr": 1e-2})
    kept = {n: t.clone() for n, t in one.state.items()}
    first = generator.generate(["white"], [0], one).images
    two, _ = generator.adapt(one, *pairs, seed=1, options={"steps": 2, "lr": 1e-2})
    assert one.digest != two.digest
    assert all(torch.equal(one.state[n], t) for n, t in kept.items())
    assert not torch.equal(generator.generate(["white"], [0], two).images, first)
    assert torch.equal(generator.generate(["white"], [0], one).images, first)
    again, _ = generator.adapt(None, *pairs, seed=0, options={"steps": 2, "lr": 1e-2})
    assert again.digest == one.digest


@pytest.mark.parametrize("k", [None, 2])
def test_two_calls_of_one_step_are_one_call_of_two(
    directory: Path, generator: DiffusionGenerator, pairs: tuple[Samples, Samples], k: int | None, tmp_path: Path
) -> None:
    whole, _ = generator.adapt(None, *pairs, seed=7, options={"steps": 2, "pairs_per_step": k})
    half, _ = generator.adapt(None, *pairs, seed=7, options={"steps": 1, "pairs_per_step": k})
    save_adapter(half, tmp_path / "half.safetensors")
    loaded = load_adapter(tmp_path / "half.safetensors")
    assert loaded.digest == half.digest
    other = DiffusionGenerator(directory, OPTIONS)  # knows nothing of the first step but what the file says
    rest, figures = other.adapt(loaded, *pairs, seed=7, options={"steps": 1, "pairs_per_step": k})
    assert figures["total_steps"] == 2
    assert rest.digest == whole.digest


def test_chunks_add_up_to_the_whole(directory: Path, pairs: tuple[Samples, Samples]) -> None:
    ways = Options(batch_size=2), Options(batch_size=5), Options(batch_size=5, pairs_at_once=1)
    made = [DiffusionGenerator(directory, way).adapt(None, *pairs, seed=0, options={"steps": 1})[0] for way in ways]
    for name, moment in made[0].optimiser.items():
        assert all(torch.allclose(moment, other.optimiser[name], atol=1e-7) for other in made[1:])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_planted_preference_is_learnt(tmp_path: Path, prediction: str) -> None:
    g = DiffusionGenerator(save_tiny_pipeline(tmp_path / "p", prediction=prediction), Options(batch_size=16))
    tuned, _ = g.adapt(None, *planted(8, 0), seed=0, options={"steps": 12, "lr": 3e-3})
    fresh = planted(16, 1)
    _, held_out = g.adapt(tuned, *fresh, seed=99, options={"steps": 1})  # figures are taken before the step
    assert held_out["margin"] > 0.5
    assert held_out["loss"] < 0.5
    assert held_out["accuracy"] > 0.7
    _, swapped = g.adapt(tuned, fresh[1], fresh[0], seed=99, options={"steps": 1})
    assert swapped["margin"] == pytest.approx(-held_out["margin"], rel=1e-3)


def test_diffusers_reads_the_file(directory: Path, pairs: tuple[Samples, Samples], tmp_path: Path) -> None:
    import diffusers

    g = DiffusionGenerator(directory, OPTIONS)
    tuned, _ = g.adapt(None, *pairs, seed=0, options={"steps": 2, "lr": 1e-2})
    save_adapter(tuned, tmp_path / "adapter.safetensors")
    with quiet():
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(str(directory), safety_checker=None)
        pipe.load_lora_weights(str(tmp_path), weight_name="adapter.safetensors")
        pipe.scheduler = g.pipe.scheduler
        pipe.set_progress_bar_config(disable=True)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        theirs = pipe("white", num_inference_steps=3, latents=noise, output_type="pt").images
    ours = g.generate(["white"], [0], tuned).images
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, g.generate(["white"], [0]).images, atol=1e-5)


def test_images_are_encoded_only_where_latents_are_missing(
    generator: DiffusionGenerator, pairs: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = [Samples("image", s.images, s.ids, meta={"prompt": s.meta["prompt"]}) for s in pairs]
    encoded = [
        Samples("image", s.images, s.ids, meta={**s.meta, "latents": generator.roundtrip(s).meta["latents"]})
        for s in bare
    ]
    a, _ = generator.adapt(None, *bare, seed=0, options={"steps": 1})
    monkeypatch.setattr(generator, "_encode", lambda x: pytest.fail("encoded although latents are there"))
    b, _ = generator.adapt(None, *encoded, seed=0, options={"steps": 1})
    assert a.digest == b.digest


def test_bad_requests_are_one_line(generator: DiffusionGenerator, pairs: tuple[Samples, Samples]) -> None:
    w, r = pairs
    with pytest.raises(UsageError, match=r"unknown key of adapt .*'bta' \(did you mean 'beta'\?\)"):
        generator.adapt(None, w, r, seed=0, options={"bta": 1})
    with pytest.raises(UsageError, match=r"option 'lr': .*greater than 0"):
        generator.adapt(None, w, r, seed=0, options={"lr": -1})
    with pytest.raises(UsageError, match="5 preferred and 4 rejected"):
        generator.adapt(None, w, r.take(range(4)), seed=0, options={})
    with pytest.raises(UsageError, match="no prompts"):
        generator.adapt(None, Samples("image", w.images, w.ids), r, seed=0, options={})
    bad = Samples("image", w.images, w.ids, meta={**w.meta, "latents": torch.zeros(5, 4, 4, 4)})
    with pytest.raises(UsageError, match="latents have shape"):
        generator.adapt(None, bad, r, seed=0, options={})
    with pytest.raises(MissingError, match="no adapter file"):
        load_adapter(Path("nowhere.safetensors"))
    good, _ = generator.adapt(None, w, r, seed=0, options={"steps": 0})
    with pytest.raises(UsageError, match="not one of this generator: unet"):
        generator.generate(["white"], [0], adapter({n: t[:1] for n, t in good.state.items()}, {}))
    with pytest.raises(UsageError, match="names differ"):
        generator.generate(["white"], [0], adapter({}, {}))


def test_a_failed_update_harms_nothing(generator: DiffusionGenerator, pairs: tuple[Samples, Samples]) -> None:
    w, r = pairs
    good, _ = generator.adapt(None, w, r, seed=0, options={"steps": 2, "lr": 1e-2})
    before = [generator.generate(["white"], [0], a).images for a in (None, good)]
    nan = Samples("image", w.images, w.ids, meta={**w.meta, "latents": torch.full((5, 4, 8, 8), torch.nan)})
    with pytest.raises(XcoreError, match="diverged at step 2"):
        generator.adapt(good, nan, r, seed=0, options={})
    assert [
        torch.equal(generator.generate(["white"], [0], a).images, b) for a, b in zip((None, good), before, strict=True)
    ] == [True, True]
