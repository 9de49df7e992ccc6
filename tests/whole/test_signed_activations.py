"""Networks whose activations are negative: methods explain them with default options, and metrics code images alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from xcore_metrics.faithfulness.encode import encode, rows_of

from xcore import explain
from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier


def reads_its_class_token() -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=3
    )


def with_silu() -> nn.Module:
    layers = [nn.Conv2d(3, 12, 4, stride=4), nn.SiLU(), nn.Conv2d(12, 16, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("build", [reads_its_class_token, with_silu])
@pytest.mark.parametrize("method", ["craft", "lens"])
def test_a_dictionary_of_signed_activations_codes_new_images_as_the_method_does(
    method: str, build: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    classifier = TorchClassifier(build(), ["a", "b", "c"], input_size=32)
    made = explain(method, classifier, images, target="a", options={"k": 3})
    d = made.dictionary
    assert d is not None
    probe = classifier.open(d.layer)
    rows = rows_of(probe.activations(Samples("image", images, tuple(map(str, range(8))))), probe.layout)
    assert float(rows.min()) < 0
    assert any("some activations of this layer are negative" in note for note in made.notes)
    assert torch.allclose(encode(d, rows), d.codes, atol=1e-4 * float(d.codes.max()))
    assert all(c.maps is not None and float(c.maps.min()) >= 0 for c in made.concepts)
    assert any(float(c.maps.flatten(1).std(1).max()) > 0 for c in made.concepts if c.maps is not None)
