"""What texplain tells of itself: notes that a reader needs, none that is false, and how far the training is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions, Options
from xcore_texplain.testing import SMALL, save_shop, save_told
from xcore_texplain.texplain import TExplain

from xcore.classifier import TorchClassifier
from xcore.contrast import Contrast
from xcore.live import LiveData
from xcore.protocols import Task
from xcore.store import Store
from xcore.task import TrainingData
from xcore.testing import blobs, stripes
from xcore.types import Budget

OTHER = "other weights, or another layer"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_told(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def decoder(made: Path) -> BlipDecoder:
    return BlipDecoder(made / "blip", DecoderOptions(max_words=6))


class Fixed(torch.nn.Module):
    """Takes pictures of 16 pixels and no others, as a vision transformer does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 6, 4, 4)
        self.head = torch.nn.Linear(6 * 16, 3)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=rng))

    def forward(self, x: torch.Tensor) -> Any:
        assert x.shape[-1] == 16
        return self.head(self.features(x).flatten(1))


def classifier(seed: int = 0, resizes: bool = True) -> TorchClassifier:
    """One that resizes what it gets to its own size, or not."""
    from torch.nn.functional import interpolate

    names = ("stripes", "contrast", "other")
    shrink = (lambda x: interpolate(x, (16, 16), mode="bilinear")) if resizes else None
    return TorchClassifier(Fixed(seed), names, preprocess=shrink, input_size=16)


def task_of(decoder: Any, folder: Path, size: int = 32, model: TorchClassifier | None = None, n: int = 4) -> Task:
    from torch.nn.functional import interpolate

    def scaled(samples: Any) -> Any:
        return replace(samples, data=interpolate(samples.images, (size, size)))

    samples = scaled(stripes(n, 1))
    data = LiveData(samples, "stripes", scaled(blobs(20, 2)), ())
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return Task(
        classifier=model or classifier(),
        layer="features",
        target=0,
        samples=samples,
        contrast=Contrast(data, "stripes", "train", seed=0, pool_size=10),
        data=TrainingData(data),
        seed=3,
        model=lambda role: {"text-decoder": decoder}[role],
        artifact=Store(folder / "store").artifact,
        workdir=folder / "work",
        budget=Budget(samples=n),
    )


def trained(task: Task, made: Path) -> Path:
    """The folder of the translator that a task has trained."""
    TExplain(Options(pairs=str(made), **SMALL)).explain(task)
    (folder,) = (task.workdir.parent / "store" / "artifacts").glob("texplain-translator.*[!k]")
    return folder


def notes(task: Task, made: Path, folder: Path) -> str:
    return "\n".join(TExplain(Options(pairs=str(made), translator=str(folder), **SMALL)).explain(task).notes)


def test_pictures_of_another_size_are_no_other_features(made: Path, decoder: BlipDecoder, tmp_path: Path) -> None:
    folder = trained(task_of(decoder, tmp_path / "small", 32), made)
    about = json.loads((folder / "config.json").read_text())
    assert about["size"] == [32, 32]
    assert "its words may be wrong" not in notes(task_of(decoder, tmp_path / "large", 48), made, folder)
    assert OTHER in notes(task_of(decoder, tmp_path / "weights", 48, classifier(1)), made, folder)
    fixed = task_of(decoder, tmp_path / "fixed", 16, classifier(1, resizes=False))  # it cannot read 32 pixels at all
    assert OTHER in notes(fixed, made, folder)
    del about["size"]  # a translator that was saved before the size was kept
    (folder / "config.json").write_text(json.dumps(about))
    assert OTHER not in notes(task_of(decoder, tmp_path / "same", 32), made, folder)
    assert OTHER in notes(task_of(decoder, tmp_path / "unknown", 48), made, folder)


def test_training_tells_how_far_it_is(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console
    from typer.testing import CliRunner
    from xcore_texplain.commands import app

    from xcore import progress

    small = [f"--set=texplain.{k}={v}" for k, v in SMALL.items() if k not in ("steps", "sentences")]
    about = ["--plugin", str(save_shop(tmp_path, "stripes")), "--data", "shop", "--classifier", "tiny", *small]
    asked = ["train", *about, "--model", f"text-decoder=blip-decoder:{made / 'blip'}", "--pairs", str(made)]

    done = CliRunner().invoke(app, [*asked, "--steps", "5", "--out", str(tmp_path / "lines")])
    assert done.exit_code == 0, done.output
    lines = [line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.startswith("training at ")]
    assert lines[0] == "step 16/16  features of the pairs"
    assert [line.split()[1] for line in lines[1:]] == ["2/5", "4/5", "5/5"]  # --set texplain.every=2, and the end
    assert all("loss" in line and "validation" in line for line in lines[1:])

    shown = io.StringIO()

    def bars() -> Any:
        bars = progress.Bars()
        bars._progress.live.console = Console(file=shown, force_terminal=True, width=150)
        return bars

    monkeypatch.setattr(progress, "for_stderr", bars)
    done = CliRunner().invoke(app, [*asked, "--steps", "5", "--out", str(tmp_path / "bars")])
    assert done.exit_code == 0, done.output
    assert "training at " in shown.getvalue()
    assert "step 5/5  translator, loss " in shown.getvalue()
    assert "training at " not in done.stderr
