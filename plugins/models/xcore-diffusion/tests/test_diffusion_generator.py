"""Loading and drawing: the pipeline of diffusers is the oracle, batches never matter, errors name the part."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_diffusion.files import fingerprint, from_hub
from xcore_diffusion.generator import DiffusionGenerator, from_directory
from xcore_diffusion.load import quiet
from xcore_diffusion.options import Options
from xcore_diffusion.plugin import directory_fingerprint
from xcore_diffusion.testing import save_tiny_pipeline

from xcore.contract import MissingError, Ref, Samples, UsageError, XcoreError
from xcore.registry import load_registry
from xcore.store.identity import Identity
from xcore.testing import GeneratorTests

OPTIONS = Options(steps=3, batch_size=3)
PROMPTS = ["a zebra on grass", "striped texture", "white", "a horse on water", "black", "a tiger", "a zebra on grass"]


@pytest.fixture(scope="module")
def generator(directory: Path) -> DiffusionGenerator:
    return DiffusionGenerator(directory, OPTIONS)


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copy"))


def test_drawing_and_adapting_read_no_file_once_the_generator_is_made(copy: Path) -> None:
    generator = DiffusionGenerator(copy, OPTIONS)
    shutil.rmtree(copy)
    drawn = generator.generate(PROMPTS[:2], range(2))
    adapter, _ = generator.adapt(None, drawn.take([0]), drawn.take([1]), seed=0, options={"steps": 1})
    again = generator.generate(PROMPTS[:2], range(2), adapter)
    assert not torch.equal(again.images, drawn.images)


def test_samples_are_images_with_prompt_seed_and_latents(generator: DiffusionGenerator) -> None:
    s = generator.generate(PROMPTS, range(7))
    assert s.images.shape == (7, 3, 64, 64)
    assert s.images.dtype == torch.float32
    assert 0 <= float(s.images.min()) < float(s.images.max()) <= 1
    assert s.meta["prompt"] == tuple(PROMPTS)
    assert s.meta["seed"] == tuple(range(7))
    assert s.meta["latents"].shape == (7, 4, 8, 8)
    assert len(set(s.ids)) == 7
    part = s.take([5, 2])
    assert part.meta["prompt"] == ("a tiger", "white")
    assert torch.equal(part.meta["latents"], s.meta["latents"][[5, 2]])


def test_a_sample_is_the_same_bit_for_bit_whatever_the_batch(generator: DiffusionGenerator) -> None:
    s = generator.generate(PROMPTS, range(7))
    back = generator.generate(PROMPTS[::-1], range(7)[::-1])
    assert torch.equal(back.images.flip(0), s.images)
    assert back.ids[::-1] == s.ids
    for i in (0, 4, 6):
        alone = generator.generate([PROMPTS[i]], [i])
        assert torch.equal(alone.images[0], s.images[i])
        assert torch.equal(alone.meta["latents"][0], s.meta["latents"][i])
    assert not torch.equal(s.images[0], s.images[6]), "one prompt, two seeds"


def test_other_batch_sizes_agree_to_rounding(directory: Path, generator: DiffusionGenerator) -> None:
    other = DiffusionGenerator(directory, Options(steps=3, batch_size=7)).generate(PROMPTS, range(7))
    assert torch.allclose(other.images, generator.generate(PROMPTS, range(7)).images, atol=1e-4)


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_equals_the_pipeline_of_diffusers(directory: Path, guidance: float) -> None:
    import diffusers

    ours = DiffusionGenerator(directory, Options(steps=4, batch_size=2, guidance=guidance)).generate(
        PROMPTS[:2], [3, 4]
    )
    with quiet():
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(str(directory), safety_checker=None)
        pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        latents = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (3, 4)])
        theirs = pipe(
            PROMPTS[:2], num_inference_steps=4, guidance_scale=guidance, latents=latents, output_type="pt"
        ).images
    assert torch.allclose(ours.images, theirs, atol=1e-5)


@pytest.mark.parametrize("scheduler", ["dpm", "unipc", "euler"])
def test_steps_without_guidance_take_one_pass_and_are_those_of_a_schedule_without(
    directory: Path, scheduler: Any
) -> None:
    passes: list[int] = []

    def drawn(**how: Any) -> tuple[DiffusionGenerator, torch.Tensor]:
        generator = DiffusionGenerator(directory, Options(steps=4, batch_size=2, scheduler=scheduler, **how))
        generator.pipe.unet.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
        passes.clear()
        return generator, generator.generate(PROMPTS[:2], [3, 4]).images

    _, guided = drawn()
    assert passes == [4, 4, 4, 4]
    generator, mixed = drawn(unguided=1)
    assert passes == [2, 4, 4, 4]
    assert not torch.allclose(mixed, guided, atol=1e-3)
    assert torch.equal(generator.generate(PROMPTS[:2], [3, 4]).images, mixed)
    _, off = drawn(guidance=1.0, unguided=1)
    assert passes == [2, 2, 2, 2]
    # A guidance that is nearly off draws what none draws, from whichever step on it is given.
    _, nearly = drawn(guidance=1 + 1e-6, unguided=2)
    assert passes == [2, 2, 4, 4]
    assert torch.allclose(nearly, off, atol=1e-4)
    with pytest.raises(ValueError, match="leaves none of 4 steps guided"):
        Options(steps=4, unguided=4)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "unipc", "own"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_samplers_and_predictions(tmp_path: Path, scheduler: str, prediction: str) -> None:
    path = save_tiny_pipeline(tmp_path / "p", prediction=prediction)
    g = DiffusionGenerator(path, Options(steps=3, batch_size=2, scheduler=scheduler))  # type: ignore[arg-type]
    assert g.pipe.scheduler.config.prediction_type == prediction
    first, again = (g.generate(["white", "black"], [0, 1]).images for _ in range(2))
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)


def test_a_sampler_that_draws_is_refused_but_can_be_replaced(tmp_path: Path) -> None:
    path = save_tiny_pipeline(tmp_path / "p", scheduler="DDPMScheduler")
    with pytest.raises(UsageError, match="DDPMScheduler draws random numbers"):
        DiffusionGenerator(path, Options(scheduler="own"))
    assert len(DiffusionGenerator(path, OPTIONS).generate(["white"], [0])) == 1


def test_half_precision_and_other_sizes(directory: Path) -> None:
    g = DiffusionGenerator(directory, Options(steps=2, batch_size=2, dtype="bfloat16", height=32, width=48))
    s = g.generate(["white"], [0])
    assert s.images.shape == (1, 3, 32, 48)
    assert s.images.dtype == s.meta["latents"].dtype == torch.float32
    with pytest.raises(UsageError, match="multiples of 8"):
        DiffusionGenerator(directory, Options(height=60))


def test_prompts_are_embedded_once(generator: DiffusionGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    encode = generator.pipe.encode_prompt

    def spy(prompt: str | None, *args: object, **kwargs: object) -> object:
        if prompt is not None:
            seen.append(prompt)
        return encode(prompt, *args, **kwargs)

    monkeypatch.setattr(generator.pipe, "encode_prompt", spy)
    generator._embedded.clear()
    for seed in range(3):
        generator.generate(["white", "black", "white"], [seed] * 3)
    assert sorted(seen) == ["", "black", "white"]


def test_prompts_that_are_cut_are_one_remark_and_no_warning(generator: DiffusionGenerator) -> None:
    long, longer = "zebra " * 14, "zebra " * 20
    generator.generate([long + "white", long + "black", longer], [0, 0, 0])  # a warning would be an error here
    assert generator.remarks([long, "a zebra"]) == []
    (remark,) = generator.remarks([longer, long + "white", "a zebra", longer, *PROMPTS])
    assert "reads only the first 16 tokens of a prompt: the end of 2 of 9 prompts is not drawn" in remark
    assert "the longest has 22 tokens ('zebra zebra" in remark


def test_a_tokenizer_without_a_limit_gets_that_of_the_encoder(copy: Path, generator: DiffusionGenerator) -> None:
    config = copy / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "model_max_length"}))
    unlimited = DiffusionGenerator(copy, OPTIONS)
    assert unlimited.pipe.tokenizer.model_max_length == 16
    assert torch.equal(unlimited.generate(["white"], [0]).images, generator.generate(["white"], [0]).images)


def test_nothing_is_printed_and_random_state_is_left(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    g = DiffusionGenerator(directory, OPTIONS)
    s = g.generate(["white", "black"], [0, 1])
    g.adapt(None, s.take([0]), s.take([1]), seed=0, options={"steps": 1})
    g.roundtrip(s)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_roundtrip_is_what_the_autoencoder_makes_of_images(generator: DiffusionGenerator) -> None:
    images = torch.rand(5, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    s = generator.roundtrip(Samples("image", images, tuple("abcde"), torch.arange(5), {"factor": tuple("vwxyz")}))
    assert s.images.shape == (5, 3, 64, 64)
    assert s.meta["latents"].shape == (5, 4, 8, 8)
    assert s.meta["factor"] == tuple("vwxyz")
    assert torch.equal(s.labels, torch.arange(5))  # type: ignore[arg-type]
    assert s.ids[0].endswith("/a")
    again = generator._batched(generator._decode, 3, s.meta["latents"])
    assert torch.equal(again, s.images)


def test_identity_is_of_files_and_options(copy: Path) -> None:
    def of(**options: Any) -> str:  # a new Identity each time, for one keeps what it has found
        return Identity(load_registry()).component("generator", Ref(f"diffusion:{copy}", options))

    before = of()
    assert of(steps=25) == before  # the default
    assert of(steps=3) != before
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.011"))
    assert of() != before


def test_fingerprint_is_of_content_and_settings(copy: Path, generator: DiffusionGenerator) -> None:
    assert fingerprint(copy, OPTIONS) == generator.fingerprint == directory_fingerprint(OPTIONS, str(copy))
    assert fingerprint(copy, Options(steps=4, batch_size=3)) != generator.fingerprint
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"a variant that is not read")
    assert fingerprint(copy, OPTIONS) == generator.fingerprint
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert fingerprint(copy, OPTIONS) != generator.fingerprint


@pytest.mark.parametrize(
    "part",
    [
        "model_index.json",
        "unet/",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_directory_that_lacks_a_part_says_which(copy: Path, part: str) -> None:
    shutil.rmtree(copy / part) if part.endswith("/") else (copy / part).unlink()
    with pytest.raises(MissingError, match=f"lacks {part}") as caught:
        from_directory(OPTIONS, str(copy))
    assert "\n" not in str(caught.value)


def test_other_broken_directories(copy: Path) -> None:
    with pytest.raises(MissingError, match="there is no pipeline directory"):
        DiffusionGenerator(copy / "nowhere")
    index = copy / "model_index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps({**content, "_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(UsageError, match="StableDiffusionXLPipeline"):
        DiffusionGenerator(copy)
    index.write_text(json.dumps(content))
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(XcoreError, match="cannot load unet/") as caught:
        DiffusionGenerator(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("part", "stem"), [("vae", "diffusion_pytorch_model"), ("text_encoder", "model")])
def test_weights_that_lack_a_tensor_are_refused(copy: Path, part: str, stem: str) -> None:
    from safetensors.torch import load_file, save_file

    path = copy / part / f"{stem}.safetensors"
    tensors = load_file(path)
    dropped = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != dropped}, path, metadata={"format": "pt"})
    with pytest.raises(XcoreError, match=f"cannot load {part}/.*lack 1 tensors"):
        DiffusionGenerator(copy)


def test_hub_out_of_reach_fails_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def offline(*args: object, **kwargs: object) -> None:
        asked.append(args)
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    with pytest.raises(MissingError, match=r"xcore-tests/no-such-model.*cannot be fetched: Name or service") as caught:
        from_hub("xcore-tests/no-such-model")
    assert len(asked) == 1, "the hub is not asked again and again"
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no hub id"):
        from_hub("not a hub id")


class TestConformance(GeneratorTests):
    @pytest.fixture
    def generator(self, directory: Path) -> DiffusionGenerator:
        return DiffusionGenerator(directory, OPTIONS)

    @pytest.fixture
    def prompts(self) -> tuple[str, ...]:
        return ("a zebra on grass", "white")


def test_plugin_and_options_are_light() -> None:
    code = (
        "import sys, xcore_diffusion.plugin; assert 'pydantic' not in sys.modules; import xcore_diffusion.options;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'diffusers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
