"""CS, ED, RCS and RED by one line: helper models by the names that people use, on a folder of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from xcore_vision.testing import save_clip

import xcore
from xcore.api import report
from xcore.contract import UsageError
from xcore.registry import Registry
from xcore.run.progress import Reporter
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

METRICS = ["CS", "ED", "RCS", "RED"]


class Warnings(Reporter):
    """Keeps the warnings of a run."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for cls, grey in (("zebra", 70), ("horse", 160)):
        (folder / cls).mkdir()
        for i in range(9):
            pixels = rng.normal(grey, 40, (60, 70 + i, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / cls / f"{i}.png")
    return folder


def run(photos: Path, out: Path, models: dict[str, str], settings: dict[str, dict[str, Any]]) -> tuple[Any, list[str]]:
    reporter = Warnings()
    network = {"pretrained": False, "classes": ["zebra", "horse"], "input_size": 64}
    done = xcore.bench(
        ["class-crops"],
        data=f"folder:{photos}",
        classes=["zebra"],
        classifiers=["torchvision:resnet18"],
        metrics=METRICS,
        models=models,
        set={"torchvision": network, "class-crops": {"concepts": 1, "samples": 3}, **settings},
        out=out,
        reporter=reporter,
    )
    return done, reporter.warnings


def test_the_columns_of_the_paper_on_stand_ins(photos: Path, tmp_path: Path, registry: Registry) -> None:
    model = save_clip(tmp_path / "clip")
    models = {"image-text": f"clip:{tmp_path / 'clip'}", "image-embedder": "torchvision:resnet50"}
    random = {"image-embedder": {"pretrained": False}}
    done, _ = run(photos, tmp_path / "run", models, random)
    scores = done.rows[0]["scores"]
    assert [scores[name]["reason"] for name in METRICS] == [None] * 4
    assert scores["ED"]["variant"] == f"clip:{tmp_path / 'clip'}"
    assert scores["RED"]["variant"] == "torchvision:resnet50 (random weights)"
    # The same from transformers alone: raw projected embeddings, and the mean over pairs of single pictures.
    processor = AutoImageProcessor.from_pretrained(tmp_path / "clip", backend="pil")

    def embedded(images: torch.Tensor) -> torch.Tensor:
        pictures = [Image.fromarray(x.mul(255).round().byte().permute(1, 2, 0).numpy()) for x in images]
        with torch.no_grad():
            features: torch.Tensor = model.get_image_features(**processor(pictures, return_tensors="pt")).pooler_output
        return features.double()

    cell = done.result.outcomes[0].cell
    bench = Workbench(registry, Store(tmp_path / "run"))
    concept = bench.store.load(bench.identity.explanation(cell)).concepts[0].samples
    assert concept is not None
    a, b = embedded(bench.heldout(cell).images), embedded(concept.images)
    assert (len(a), len(b)) == (2, 3)
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)
    assert scores["CS"]["value"] == pytest.approx(float(cosines.mean()), abs=1e-5)
    assert scores["ED"]["value"] == pytest.approx(float((a[:, None] - b[None]).norm(dim=-1).mean()), abs=1e-4)
    assert not [note for note in done.table.notes if "not to be trusted" in note]


def test_a_toy_model_on_photographs_is_warned_of(photos: Path, tmp_path: Path) -> None:
    models = {"image-text": "minizoo/clip", "image-embedder": "minizoo/resnet"}
    _, warnings = run(photos, tmp_path / "run", models, {})
    told = [line for line in warnings if "not to be trusted here" in line]
    assert told[0].startswith("CS, ED: not to be trusted here, since minizoo/clip was made for the data sets of xcore-")
    assert told[0].endswith("name another with --model image-text=clip:ID")
    assert told[1].startswith("RCS, RED: not to be trusted here, since minizoo/resnet was made")
    assert "not to be trusted here, since minizoo/clip" in (tmp_path / "run" / "table.md").read_text()
    again = report(tmp_path / "run")
    assert set(told) <= set(again.table.notes)


def test_the_checkpoint_of_the_classifier_is_not_that_of_the_embedder(photos: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from xcore_vision.zoo import bare_torchvision

    path = tmp_path / "mine.safetensors"
    save_file(dict(bare_torchvision("resnet18", {"num_classes": 2}, seed=9).state_dict()), path)
    mine = {"torchvision": {"checkpoint": str(path), "classes": ["zebra", "horse"], "input_size": 64}}
    models = {"image-text": "minizoo/clip", "image-embedder": "torchvision:resnet18"}
    done, _ = run(photos, tmp_path / "run", models, {**mine, "image-embedder": {"pretrained": False}})
    assert done.rows[0]["scores"]["RCS"]["variant"] == "torchvision:resnet18 (random weights)"
    with pytest.raises(UsageError, match="unknown key of model 'torchvision': 'classes'"):
        run(photos, tmp_path / "run", models, {**mine, "image-embedder": {"classes": ["a"]}})
