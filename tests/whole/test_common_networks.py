"""Small networks of the families in common use, with random weights, explained by craft and lens as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from timm.models import convnext, densenet, resnet, swin_transformer
from timm.models import vision_transformer as vit
from torch import nn

from xcore import explain
from xcore.inputs.arrays import as_samples
from xcore.models.classifiers import TorchClassifier

SIDE, CLASSES = 64, 3


def tv_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(SIDE, 16, 2, 2, 32, 64, num_classes=CLASSES)


def tv_swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 12, [1, 2], [2, 2], [4, 4], num_classes=CLASSES)


def timm_vit(**options: object) -> nn.Module:
    return vit.VisionTransformer(SIDE, 16, embed_dim=32, depth=2, num_heads=2, num_classes=CLASSES, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet with SiLU": lambda: resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, act_layer=nn.SiLU),
    "densenet": lambda: densenet.DenseNet(8, (2, 2, 2), num_classes=CLASSES),
    "efficientnet": lambda: timm.create_model("tinynet_e", num_classes=CLASSES),
    "mobilenetv3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=CLASSES),
    "convnext": lambda: convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=CLASSES),
    "vit with registers": lambda: timm_vit(reg_tokens=4),
    "vit with mean tokens": lambda: timm_vit(global_pool="avg"),
    "deit, distilled": lambda: timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=SIDE, depth=2, num_classes=CLASSES
    ),
    "swin": lambda: swin_transformer.SwinTransformer(
        SIDE, window_size=4, embed_dim=12, depths=(1, 2), num_heads=(2, 2), num_classes=CLASSES
    ),
    "torchvision vit": tv_vit,
    "torchvision swin": tv_swin,
}
READ_A_TOKEN = {"vit with registers", "deit, distilled", "torchvision vit"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Pictures that differ in their coarse patterns."""
    coarse = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="nearest")


@pytest.mark.parametrize("name", NETWORKS)
def test_default_options(name: str, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    classifier = TorchClassifier(NETWORKS[name](), ["a", "b", "c"], input_size=SIDE)
    for method in ("craft", "lens"):
        made = explain(method, classifier, images, target="a")
        d = made.dictionary
        assert d is not None
        assert torch.isfinite(d.codes).all()
        a = classifier.open(d.layer).activations(as_samples(images))
        noted = any("some activations of this layer are negative" in note for note in made.notes)
        assert noted == (float(a[:, : 1 if name in READ_A_TOKEN else None].min()) < 0)
        assert all(c.maps is not None and c.maps.shape == (4, SIDE, SIDE) for c in made.concepts)
        vary = [float(c.maps.flatten(1).std(1).max()) > 0 for c in made.concepts if c.maps is not None]
        assert sum(vary) >= len(vary) / 2
        if name in READ_A_TOKEN and a.ndim == 3:
            assert any("reads nothing but its class" in note for note in made.notes)
