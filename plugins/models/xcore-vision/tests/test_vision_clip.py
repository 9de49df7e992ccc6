"""`clip:` on small random models saved as real ones: CLIP, SigLIP and SigLIP 2, and what OpenCLIP writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from xcore_vision import fingerprint
from xcore_vision.clip import Clip, clip
from xcore_vision.open_clip import renamed
from xcore_vision.options import HubOptions
from xcore_vision.testing import LENGTH, save_clip, words

from xcore.contract import MissingError, Ref, Samples, UsageError
from xcore.registry import Registry

Images = Callable[..., Samples]
TEXTS = ["a red zebra", "a striped coat", "zebra"]
LONG = "a striped coat of a zebra " * 4


def pictures(samples: Samples) -> list[Image.Image]:
    pixels = samples.images.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(p) for p in pixels]


def of_8_bits(samples: Samples) -> Samples:
    return Samples("image", samples.images.mul(255).round() / 255, samples.ids)


@pytest.mark.parametrize("kind", ["clip", "metaclip_2", "siglip", "siglip2"])
@pytest.mark.parametrize("size", [(50, 71), (97, 40), (32, 32), (20, 24)])
def test_images_are_embedded_as_transformers_embeds_them(
    kind: str, size: tuple[int, int], tmp_path: Path, images: Images
) -> None:
    model = save_clip(tmp_path, kind)
    seen = of_8_bits(images(3, *size))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    with torch.no_grad():
        theirs = model.get_image_features(**processor(images=pictures(seen), return_tensors="pt")).pooler_output
    made = clip(HubOptions(batch_size=2), str(tmp_path))
    torch.testing.assert_close(made.embed_images(seen), theirs, atol=1e-5, rtol=0)
    assert torch.equal(made.embed(seen), made.embed_images(seen))


@pytest.mark.parametrize("kind", ["clip", "metaclip_2", "siglip"])
def test_texts_are_padded_as_the_model_was_trained(kind: str, tmp_path: Path) -> None:
    model = save_clip(tmp_path, kind)
    read = words()(TEXTS, padding="max_length", max_length=LENGTH, return_tensors="pt")
    names = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
    with torch.no_grad():
        theirs = model.get_text_features(**{name: read[name] for name in names}).pooler_output
    made = clip(HubOptions(batch_size=2), str(tmp_path))
    torch.testing.assert_close(made.embed_texts(TEXTS), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.embed_texts(TEXTS[:1]), theirs[:1], atol=1e-5, rtol=0)  # whatever is beside it
    assert made.notes == []
    shouted = made.embed_texts([text.upper() for text in TEXTS])  # SigLIP reads lower case, whatever the tokenizer does
    assert torch.allclose(shouted, theirs, atol=1e-5) == (kind == "siglip")


def test_a_text_that_is_too_long_is_cut_and_told_of(tmp_path: Path) -> None:
    save_clip(tmp_path, "clip")
    made = clip(HubOptions(), str(tmp_path))
    assert made.text_length == LENGTH
    assert made.tokens_of(LONG) == 26
    first = made.embed_texts([LONG, TEXTS[0]])
    torch.testing.assert_close(first[0], made.embed_texts([LONG + " red"])[0], atol=1e-5, rtol=0)
    assert len(made.notes) == 2
    assert made.notes[0].startswith(f"clip:{tmp_path} reads 12 tokens of a text and cut 'a striped coat of a zebra")


def test_one_model_plays_both_roles(tmp_path: Path, registry: Registry) -> None:
    save_clip(tmp_path, "clip")
    ref = Ref(f"clip:{tmp_path}", {"batch_size": 4})
    assert isinstance(registry.create("model", ref), Clip)
    for role in ("image-text", "image-embedder"):
        assert registry.find_model(role, ref).name == "clip"
    with pytest.raises(UsageError, match="plays the role 'image-text' and 'image-embedder', not 'vqa'"):
        registry.find_model("vqa", ref)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
        ("preprocessor_config.json", "preprocessor_config.json"),
        ("tokenizer.json", "tokenizer.json"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_loaded(name: str, told: str, tmp_path: Path) -> None:
    save_clip(tmp_path, "clip")
    (tmp_path / name).unlink()
    with pytest.raises(MissingError, match=f"lacks {told}"):
        fingerprint.clip(HubOptions(), str(tmp_path))


def test_other_models_and_absent_ones_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_clip(tmp_path, "clip")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clipp"}))
    with pytest.raises(UsageError, match=r"unknown kind of image-text model in .*: 'clipp' \(did you mean 'clip'"):
        clip(HubOptions(), str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match=r"fetch it with `hf download openai/clip-vit-base-patch32` where there is"):
        fingerprint.clip(HubOptions(), "openai/clip-vit-base-patch32")


def test_weights_in_torchs_own_format_are_read_as_tensors_only(tmp_path: Path, images: Images) -> None:
    save_clip(tmp_path, "clip")
    expected = clip(HubOptions(), str(tmp_path)).embed_images(images(2))
    before = fingerprint.clip(HubOptions(), str(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert torch.equal(clip(HubOptions(), str(tmp_path)).embed_images(images(2)), expected)
    assert fingerprint.clip(HubOptions(), str(tmp_path)) != before
    torch.save({"harm": _Harmful(tmp_path / "harmed")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="holds no CLIPModel"):
        clip(HubOptions(), str(tmp_path))
    assert not (tmp_path / "harmed").exists()


class _Harmful:
    """What makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


# -- OpenCLIP --------------------------------------------------------------------------------------------------------
OPEN = {
    "embed_dim": 10,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8},
    "text_cfg": {"context_length": LENGTH, "vocab_size": 100, "width": 16, "heads": 2, "layers": 2},
}
PREPARED = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}


def save_open(folder: Path, tensors: Any, **changes: Any) -> None:
    about = {"model_cfg": {**OPEN, **changes}, "preprocess_cfg": PREPARED}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    save_file(
        {name: t.detach().clone().contiguous() for name, t in tensors.items()}, folder / "open_clip_model.safetensors"
    )
    words().save_pretrained(folder)


def open_names() -> dict[str, torch.Tensor]:
    """The tensors that OpenCLIP saves of a small model, by the formula of their shapes."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng) * 0.2

    made = {"logit_scale": draw(), "text_projection": draw(16, 10), "visual.proj": draw(128, 10)}
    made |= {"visual.class_embedding": draw(128), "visual.conv1.weight": draw(128, 3, 8, 8)}
    made |= {"visual.positional_embedding": draw(17, 128), "positional_embedding": draw(LENGTH, 16)}
    made |= {"token_embedding.weight": draw(100, 16)}
    norms = [("ln_final", 16), ("visual.ln_pre", 128), ("visual.ln_post", 128)]
    for start, width in (("transformer.resblocks", 16), ("visual.transformer.resblocks", 128)):
        for i in range(2):
            block = f"{start}.{i}"
            norms += [(f"{block}.ln_1", width), (f"{block}.ln_2", width)]
            made |= {
                f"{block}.attn.in_proj_weight": draw(3 * width, width),
                f"{block}.attn.in_proj_bias": draw(3 * width),
            }
            for part, (out, into) in {"attn.out_proj": (1, 1), "mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}.items():
                made |= {
                    f"{block}.{part}.weight": draw(out * width, into * width),
                    f"{block}.{part}.bias": draw(out * width),
                }
    for name, width in norms:
        made |= {f"{name}.weight": 1 + draw(width), f"{name}.bias": draw(width)}
    return made


def test_a_directory_of_open_clip_is_read(tmp_path: Path, images: Images) -> None:
    tensors = open_names()
    save_open(tmp_path, tensors)
    made = clip(HubOptions(), str(tmp_path))
    assert made.embed_images(images(2, 50, 71)).shape == (2, 10)
    assert made.embed_texts(TEXTS).shape == (3, 10)
    new = dict(renamed(tensors))
    layer = "text_model.encoder.layers.1.self_attn"
    whole = torch.cat([new[f"{layer}.{third}_proj.weight"] for third in "qkv"])
    assert torch.equal(whole, tensors["transformer.resblocks.1.attn.in_proj_weight"])
    assert torch.equal(new["visual_projection.weight"], tensors["visual.proj"].T)
    before = fingerprint.clip(HubOptions(), str(tmp_path))
    save_open(tmp_path, {**tensors, "logit_scale": torch.ones(())})
    assert fingerprint.clip(HubOptions(), str(tmp_path)) != before


def test_open_clip_itself_embeds_alike(tmp_path: Path, images: Images) -> None:
    """Runs where OpenCLIP is installed."""
    open_clip = pytest.importorskip("open_clip")
    for changes in ({}, {"quick_gelu": True}):
        theirs = open_clip.model.CLIP(**OPEN, **changes).eval()
        theirs.load_state_dict(open_names(), strict=False)
        save_open(tmp_path, theirs.state_dict(), **changes)
        made, seen = clip(HubOptions(), str(tmp_path)), of_8_bits(images(3, 50, 71))
        prepare = open_clip.transform.image_transform(32, is_train=False, **PREPARED)
        ids = words()(TEXTS, padding="max_length", max_length=LENGTH, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            pixels = torch.stack([prepare(picture) for picture in pictures(seen)])
            torch.testing.assert_close(made.embed_images(seen), theirs.encode_image(pixels), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(made.embed_texts(TEXTS), theirs.encode_text(ids), atol=1e-4, rtol=1e-4)


def test_what_open_clip_knows_and_transformers_does_not_is_named(tmp_path: Path) -> None:
    tensors = open_names()
    save_open(tmp_path, tensors, vision_cfg={**OPEN["vision_cfg"], "timm_model_name": "convnext_base"})
    with pytest.raises(UsageError, match="vision_cfg has timm_model_name = 'convnext_base'"):
        clip(HubOptions(), str(tmp_path))
    save_open(tmp_path, tensors, vision_cfg={**OPEN["vision_cfg"], "layers": [3, 4, 6, 3]})
    with pytest.raises(UsageError, match="is a ResNet, which is not supported"):
        clip(HubOptions(), str(tmp_path))
    save_open(tmp_path, {k: v for k, v in tensors.items() if k != "visual.proj"})
    with pytest.raises(UsageError, match=r"lacks 'visual_projection\.weight'"):
        clip(HubOptions(), str(tmp_path))
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"lacks open_clip_model\.safetensors"):
        fingerprint.clip(HubOptions(), str(tmp_path))
    save_open(tmp_path, tensors)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(MissingError, match=r"lacks tokenizer\.json \(that of any CLIP model of OpenAI will do\)"):
        fingerprint.clip(HubOptions(), str(tmp_path))
