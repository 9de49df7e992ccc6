"""Classifiers `hf:` prepare pictures of any size as transformers' own processors do, and know their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from PIL import Image
from xcore_vision.hf import hf_classifier, own_preprocessing
from xcore_vision.options import ClassifierOptions

from xcore.contract import MissingError, Samples, UsageError
from xcore.inputs.images import Framing, read_picture

SIDE = {"height": 32, "width": 32}
VIT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT |= {"image_size": 32, "patch_size": 8, "num_labels": 3}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8], "num_labels": 3}
NETWORKS: dict[str, tuple[Any, Any]] = {
    "vit": (
        lambda: tf.ViTForImageClassification(tf.ViTConfig(**VIT)),
        lambda: tf.ViTImageProcessor(size=SIDE),
    ),
    "deit": (
        lambda: tf.DeiTForImageClassification(tf.DeiTConfig(**VIT)),
        lambda: tf.DeiTImageProcessor(size={"height": 37, "width": 37}, crop_size=SIDE),
    ),
    "swin": (
        lambda: tf.SwinForImageClassification(
            tf.SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=3)
        ),
        lambda: tf.ViTImageProcessor(size=SIDE, resample=3),
    ),
    "convnext": (
        lambda: tf.ConvNextForImageClassification(tf.ConvNextConfig(**STAGES)),
        lambda: tf.ConvNextImageProcessor(size={"shortest_edge": 64}),
    ),
    "convnext whole": (
        lambda: tf.ConvNextForImageClassification(tf.ConvNextConfig(**STAGES)),
        lambda: tf.ConvNextImageProcessor(size={"shortest_edge": 384}),
    ),
    "resnet": (
        lambda: tf.ResNetForImageClassification(tf.ResNetConfig(embedding_size=8, **STAGES)),
        lambda: tf.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875, resample=2),
    ),
    "mobilenet": (
        lambda: tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(depth_multiplier=0.35, num_labels=3)),
        lambda: tf.MobileNetV2ImageProcessor(size={"shortest_edge": 73}, crop_size={"height": 64, "width": 64}),
    ),
    "dinov2": (
        lambda: tf.Dinov2ForImageClassification(tf.Dinov2Config(**VIT)),
        lambda: tf.BitImageProcessor(size={"shortest_edge": 37}, crop_size=SIDE),
    ),
}
PROCESSORS: dict[str, Any] = {
    "blue first": lambda: tf.MobileViTImageProcessor(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}),
    "two shifts": lambda: tf.EfficientNetImageProcessor(size=SIDE, rescale_offset=True, resample=0),
    "larger before the crop": lambda: tf.LevitImageProcessor(size={"shortest_edge": 32}, crop_size=SIDE),
    "not normalised": lambda: tf.ViTImageProcessor(size=SIDE, do_normalize=False),
    "of 255": lambda: tf.ViTImageProcessor(size=SIDE, do_rescale=False, do_normalize=False),
}
SHAPES = [(97, 80), (150, 226), (226, 151), (64, 64), (20, 33)]


def picture(folder: Path, shape: tuple[int, int]) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder / "picture.png"


def own(folder: Path) -> Any:
    return tf.AutoImageProcessor.from_pretrained(folder, backend="pil")


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_transformers_own_pipeline(name: str, tmp_path: Path) -> None:
    make, processor = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
    model.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    c = hf_classifier(ClassifierOptions(), str(tmp_path))
    assert c.framing is not None
    for shape in SHAPES:
        path = picture(tmp_path, shape)
        with torch.no_grad():
            theirs = model(**own(tmp_path)(images=Image.open(path), return_tensors="pt")).logits
        ours = c.logits(Samples("image", read_picture(path, c.framing)[None], ("a",)))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PROCESSORS)
def test_inputs_are_those_of_the_processor(name: str, tmp_path: Path) -> None:
    PROCESSORS[name]().save_pretrained(tmp_path)
    preprocessing = own_preprocessing(own(tmp_path), tmp_path)
    for shape in SHAPES:
        path = picture(tmp_path, shape)
        theirs = own(tmp_path)(images=Image.open(path), return_tensors="pt")["pixel_values"]
        ours = preprocessing(read_picture(path, preprocessing.framing)[None])
        torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=1e-5)


def test_processors_that_do_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"resizes to \{'shortest_edge': 64\} without a crop"):
        own_preprocessing(tf.BitImageProcessor(size={"shortest_edge": 64}, do_center_crop=False), tmp_path)
    with pytest.raises(UsageError, match="does not resize"):
        own_preprocessing(tf.ViTImageProcessor(do_resize=False), tmp_path)
    crops_first = tf.PerceiverImageProcessor(size=SIDE, crop_size=SIDE)
    with pytest.raises(UsageError, match="cannot prepare pictures as its PerceiverImageProcessor does"):
        own_preprocessing(crops_first, tmp_path)


def test_a_crop_beside_the_right_one_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = tf.BitImageProcessor(size={"shortest_edge": 37}, crop_size=SIDE)
    own_preprocessing(processor, tmp_path)
    monkeypatch.setattr(Framing, "corner", lambda self, height, width: ((height - 32) // 2 + 1, (width - 32) // 2))
    with pytest.raises(UsageError, match="cannot prepare pictures"):
        own_preprocessing(processor, tmp_path)


def test_classes_are_those_of_the_configuration(tmp_path: Path) -> None:
    names = {0: "cat", 1: "dog", 2: "crane"}
    tf.ViTForImageClassification(tf.ViTConfig(**{**VIT, "num_labels": 3}, id2label=names)).save_pretrained(tmp_path)
    tf.ViTImageProcessor(size=SIDE).save_pretrained(tmp_path)
    assert hf_classifier(ClassifierOptions(), str(tmp_path)).classes == ("cat", "dog", "crane")
    given = hf_classifier(ClassifierOptions(classes=("a", "b", "c")), str(tmp_path))
    assert given.classes == ("a", "b", "c")
    tf.ViTForImageClassification(tf.ViTConfig(**VIT)).save_pretrained(tmp_path)
    unnamed = hf_classifier(ClassifierOptions(), str(tmp_path))
    assert unnamed.classes == ("class 0", "class 1", "class 2")
    assert unnamed.naming == "name them with --set hf.classes=a,b,c"


def test_a_body_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    tf.ViTModel(tf.ViTConfig(**VIT), add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(MissingError, match=r"lacks preprocessor_config\.json"):
        hf_classifier(ClassifierOptions(), str(tmp_path))
    tf.ViTImageProcessor(size=SIDE).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"holds no image classifier: its file lacks 2 tensors, first 'classifier"):
        hf_classifier(ClassifierOptions(), str(tmp_path))


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForImageClassification": "code.M"}}'
    )
    (tmp_path / "code.py").write_text("raise SystemExit('run')")
    (tmp_path / "model.safetensors").write_bytes(b"")
    tf.ViTImageProcessor(size=SIDE).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="holds no image classifier"):
        hf_classifier(ClassifierOptions(), str(tmp_path))
