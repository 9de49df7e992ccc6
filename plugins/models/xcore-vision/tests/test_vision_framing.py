"""Pictures of any size become a classifier's input exactly as the peers' own pipelines make it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_vision.options import ZooOptions
from xcore_vision.zoo import timm_classifier, torchvision_classifier

from xcore.inputs.images import Framing, read_picture


@pytest.mark.parametrize("shape", [(300, 451), (451, 300), (224, 224), (97, 80), (1203, 640)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_file_is_framed_pixel_for_pixel_as_timm_and_torchvision_do(
    shape: tuple[int, int], ending: str, tmp_path: Path
) -> None:
    import timm
    from torchvision import models

    path = tmp_path / f"picture.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
    networks = [timm_classifier(ZooOptions(pretrained=False), name) for name in ("tf_efficientnet_lite0", "resnet10t")]
    wanted = [timm.data.create_transform(**timm.data.resolve_model_data_config(c.model.module)) for c in networks]
    networks.append(torchvision_classifier(ZooOptions(pretrained=False), "resnet18"))
    wanted.append(models.ResNet18_Weights.DEFAULT.transforms())
    for c, transform in zip(networks, wanted, strict=True):
        assert c.framing is not None
        ours = c.model.preprocess(read_picture(path, c.framing)[None])[0]  # type: ignore[misc]
        torch.testing.assert_close(ours, transform(Image.open(path).convert("RGB")), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"crop_mode": "squash"}, {"input_size": (3, 96, 160)}])
def test_framings_of_every_shape_agree_with_timm(options: dict[str, Any], tmp_path: Path) -> None:
    from timm.data import create_transform

    about = {"input_size": (3, 96, 96), "crop_pct": 0.8, "crop_mode": "center", "interpolation": "bicubic", **options}
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (211, 137, 3), dtype=np.uint8)).save(path)
    size = about["input_size"][1:]
    framing = Framing(size, int(min(size) / 0.8), whole=about["crop_mode"] == "squash")
    theirs = create_transform(**about, mean=(0, 0, 0), std=(1, 1, 1))(Image.open(path))
    torch.testing.assert_close(read_picture(path, framing), theirs, atol=1e-5, rtol=0)
