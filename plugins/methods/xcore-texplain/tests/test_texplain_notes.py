"""Notes and progress: readers are told what they need to know, and nothing that is false."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import Options, TranslatorOptions
from xcore_texplain.testing import SMALL
from xcore_texplain.texplain import TExplain, over_prior_notes
from xcore_texplain.words import Word

from xcore.contract import NotApplicable, Task
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.testing import blobs, stripes

OTHER = "other weights, or another layer"


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


@pytest.fixture
def stripes_task(make_task: Callable[..., Task], decoder: BlipDecoder) -> Callable[..., Task]:
    """A function that makes the task of explaining n pictures of stripes of a size."""

    def make(folder: Path, size: int = 32, model: TorchClassifier | None = None, n: int = 4) -> Task:
        from torch.nn.functional import interpolate

        def scaled(samples: Any) -> Any:
            return replace(samples, data=interpolate(samples.images, (size, size)))

        samples = scaled(stripes(n, 1))
        data = LiveData(samples, "stripes", scaled(blobs(20, 2)), ())
        return make_task(folder, model or classifier(), data, samples, decoder, layer="features")

    return make


def trained(task: Task, pairs: Path) -> Path:
    """The folder of the translator that explaining a task has trained."""
    TExplain(Options(pairs=str(pairs), **SMALL)).explain(task)
    (folder,) = (task.workdir.parent / "store" / "artifacts").glob("texplain-translator.*[!k]")
    return folder


def notes(task: Task, pairs: Path, folder: Path) -> str:
    return "\n".join(TExplain(Options(pairs=str(pairs), translator=str(folder), **SMALL)).explain(task).notes)


def test_pictures_of_another_size_are_not_taken_for_other_features(
    stripes_task: Callable[..., Task], decoder_and_pairs: Path, tmp_path: Path
) -> None:
    folder = trained(stripes_task(tmp_path / "small", 32), decoder_and_pairs)
    about = json.loads((folder / "config.json").read_text())
    assert about["size"] == [32, 32]
    assert "its words may be wrong" not in notes(stripes_task(tmp_path / "large", 48), decoder_and_pairs, folder)
    assert OTHER in notes(stripes_task(tmp_path / "weights", 48, classifier(1)), decoder_and_pairs, folder)
    fixed = stripes_task(tmp_path / "fixed", 16, classifier(1, resizes=False))  # it cannot read 32 pixels at all
    assert OTHER in notes(fixed, decoder_and_pairs, folder)
    del about["size"]  # a translator that was saved before the size was kept
    (folder / "config.json").write_text(json.dumps(about))
    assert OTHER not in notes(stripes_task(tmp_path / "same", 32), decoder_and_pairs, folder)
    assert OTHER in notes(stripes_task(tmp_path / "unknown", 48), decoder_and_pairs, folder)


def test_training_shows_its_progress(
    train_command: list[str], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from rich.console import Console

    from xcore.run import progress

    done = run(*train_command, "--steps", "5", "--out", str(tmp_path / "lines"))
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
    done = run(*train_command, "--steps", "5", "--out", str(tmp_path / "bars"))
    assert done.exit_code == 0, done.output
    assert "training at " in shown.getvalue()
    assert "step 5 of 5  translator, loss " in shown.getvalue()
    assert "training at " not in done.stderr


def word(name: str, over: float, low: float | None) -> Word:
    high = None if low is None else over + 0.1
    return Word(name, 0.5, None, None, 0.1, 0.1, over, low, high, 2.0, None, None, 2.0)


def test_the_words_over_the_prior_are_named() -> None:
    noise = [word("orange", 0.3, -0.1), word("plain", 0.2, 0.0), word("less", -0.2, -0.3)]
    noise.append(word("stand", 0.004, 0.001))
    assert over_prior_notes([*noise, word("beak", 0.05, 0.01), word("patch", 0.25, 0.12)]) == [
        "words more frequent than in the prior, with an interval that excludes 0: patch +0.25, beak +0.05"
    ]
    assert over_prior_notes(noise) == ["no word is more frequent than in the prior with an interval that excludes 0"]
    assert over_prior_notes([word("patch", 0.25, None)]) == []
    (many,) = over_prior_notes([word(f"w{i}", 0.1 * i, 0.01) for i in range(1, 11)])
    assert many.endswith("w10 +1.00, w9 +0.90, w8 +0.80, w7 +0.70, w6 +0.60, w5 +0.50, w4 +0.40, w3 +0.30")


def test_an_explanation_notes_the_words_over_the_prior(
    stripes_task: Callable[..., Task], decoder_and_pairs: Path, tmp_path: Path
) -> None:
    def prior_notes(n: int) -> list[str]:
        task = stripes_task(tmp_path / str(n), n=n)
        explanation = TExplain(Options(pairs=str(decoder_and_pairs), **SMALL)).explain(task)
        return [note for note in explanation.notes if "more frequent than in the prior" in note]

    assert len(prior_notes(4)) == 1
    assert prior_notes(1) == []  # there are no intervals over one image


def test_a_prior_without_the_class_is_noted(
    stripes_task: Callable[..., Task], decoder_and_pairs: Path, tmp_path: Path
) -> None:
    class Lacking(LiveData):
        """Two other classes have training images, the explained one has none."""

        def samples(self, cls: str | None, split: Any, n: int, seed: int) -> Any:
            n = n if cls in self.full else 0
            return super().samples("contrast" if cls == "more" else cls, split, n, seed)

    def notes_if(full: tuple[str, ...]) -> str:
        task = stripes_task(tmp_path / str(len(full)))
        data = Lacking(task.samples, "stripes", blobs(20, 2), ())
        data.classes, data.full = ("stripes", "contrast", "more"), full  # type: ignore[attr-defined]
        task = replace(task, data=TrainingData(data))
        return "\n".join(TExplain(Options(pairs=str(decoder_and_pairs), **SMALL)).explain(task).notes)

    lacking = "there is no training image of 'stripes', so the prior is of the other classes only"
    assert lacking in notes_if(("contrast", "more"))
    assert lacking not in notes_if(("stripes", "contrast", "more"))


def test_with_one_class_only_the_hint_is_for_python_and_for_the_command_line(
    stripes_task: Callable[..., Task], decoder_and_pairs: Path, tmp_path: Path
) -> None:
    task = stripes_task(tmp_path)
    task = replace(task, data=TrainingData(LiveData(task.samples, "stripes", None, ())))
    with pytest.raises(NotApplicable) as failed:
        TExplain(Options(pairs=str(decoder_and_pairs), **SMALL)).explain(task)
    assert "contrast=" in str(failed.value.hint)
    assert "data set with more classes" in str(failed.value.hint)


def test_seconds_of_an_interrupted_training_are_added(
    decoder: BlipDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from xcore_texplain import training, training_state

    now = [0.0]  # a clock that goes ten seconds a step
    for module in (training, training_state):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    z = torch.randn(20, 2, 6, generator=torch.Generator().manual_seed(0)).numpy()
    data = training.PairFeatures(z, ("stripe line",) * 20, ())
    o = TranslatorOptions(steps=6, every=2, batch=4, validation=4)

    def stop_at(last: int) -> Any:
        def on_step(step: int, total: int, note: str = "") -> None:
            now[0] += 10
            if step == last:
                raise KeyboardInterrupt

        return on_step

    with pytest.raises(KeyboardInterrupt):
        training.train(data, decoder, o, tmp_path, stop_at(5))  # its last checkpoint is of step 4, after 30 s
    now[0] = 1000.0
    figures = training.train(data, decoder, o, tmp_path, stop_at(0))[1]
    assert figures["seconds"] == 30 + 20
