"""CLIPSeg as a localiser, on a small random model saved as a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor
from xcore_vision.clipseg import ClipSeg
from xcore_vision.options import ClipSegOptions

from xcore.contract import MissingError, Ref, Samples, UsageError
from xcore.registry import Registry

Images = Callable[..., Samples]
SIDE = 32


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clipseg")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config={**small, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**small, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
        reduce_dim=8,
        extract_layers=[1, 2],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPSegForImageSegmentation(config).save_pretrained(folder)
    ViTImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return folder


def test_one_map_an_image_at_its_size(saved: Path, images: Images) -> None:
    maps = ClipSeg(ClipSegOptions(), str(saved)).locate(images(3, 40, 56), images(2, seed=1))
    assert maps.shape == (3, 40, 56)
    assert ((maps >= 0) & (maps <= 1)).all()


def test_the_model_is_asked_as_transformers_asks_it(saved: Path, images: Images) -> None:
    model = CLIPSegForImageSegmentation.from_pretrained(saved).eval()
    seen, example = images(2), images(1, seed=1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    with torch.no_grad():
        logits = model(
            pixel_values=(seen.images - mean) / std,
            conditional_pixel_values=((example.images - mean) / std).expand(2, -1, -1, -1),
        ).logits
    mine = ClipSeg(ClipSegOptions(), str(saved)).locate(seen, example)
    assert torch.allclose(mine, torch.sigmoid(logits).reshape(2, SIDE, SIDE), atol=1e-5)


def test_batches_and_the_order_of_examples_do_not_matter(saved: Path, images: Images) -> None:
    seen, examples = images(5), images(4, seed=1)
    one = ClipSeg(ClipSegOptions(), str(saved)).locate(seen, examples)
    two = ClipSeg(ClipSegOptions(batch_size=2), str(saved)).locate(seen, examples.take([3, 1, 0, 2]))
    assert torch.allclose(one, two, atol=1e-5)


def test_it_is_offered_for_its_role(saved: Path, registry: Registry) -> None:
    made = registry.create("model", Ref(f"clipseg:{saved}"))
    assert isinstance(made, ClipSeg)
    card, _ = registry.find("model", Ref(f"clipseg:{saved}"))
    assert card.role == "localiser"


def test_bad_directories(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(MissingError, match="no model directory"):
        ClipSeg(ClipSegOptions(), str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises(UsageError, match="'clip', not clipseg"):
        ClipSeg(ClipSegOptions(), str(tmp_path))
