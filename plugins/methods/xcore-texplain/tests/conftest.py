"""What the tests of texplain share: a small decoder with pictures and captions, tasks, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions
from xcore_texplain.testing import SMALL, save_decoder_and_pairs, save_plugin

from xcore.contract import Budget, Samples, Task
from xcore.run.data import TrainingData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Store


@pytest.fixture(scope="session")
def decoder_and_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a decoder in ``blip``, pictures, and their ``captions.jsonl``."""
    return save_decoder_and_pairs(tmp_path_factory.mktemp("decoder_and_pairs"))


@pytest.fixture(scope="session")
def decoder(decoder_and_pairs: Path) -> BlipDecoder:
    return BlipDecoder(decoder_and_pairs / "blip", DecoderOptions(max_words=6))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """A function that makes the task of explaining a class of a data set; its files go below a folder."""

    def make(folder: Path, classifier: Any, data: Any, samples: Samples, decoder: Any, **given: Any) -> Task:
        (folder / "work").mkdir(parents=True, exist_ok=True)
        own = {"target": 0, "layer": "", "seed": 3, **given}
        return Task(
            classifier=classifier,
            samples=samples,
            random_set=RandomSets(data, classifier.classes[own["target"]], "train", seed=0, pool_size=6),
            data=TrainingData(data),
            model=lambda role: {"text-decoder": decoder}[role],
            artifact=Store(folder / "store").artifact,
            workdir=folder / "work",
            budget=Budget(samples=len(samples)),
            **own,
        )

    return make


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """A function that runs `xcore texplain` with these words and returns what it printed and raised."""

    def invoke(*words: str) -> Any:
        from xcore_texplain.commands import app

        return CliRunner().invoke(app, list(words))

    return invoke


@pytest.fixture
def flags(decoder_and_pairs: Path, tmp_path: Path) -> list[str]:
    """Flags that name a small data set, classifier and decoder, and options with which a command takes a second."""
    settings = [f"--set=texplain.{k}={v}" for k, v in SMALL.items()]
    decoder = f"text-decoder=blip-decoder:{decoder_and_pairs / 'blip'}"
    file = str(save_plugin(tmp_path, "stripes"))
    return ["--plugin", file, "--data", "shop", "--classifier", "tiny", "--model", decoder, *settings]


@pytest.fixture
def train_command(flags: list[str], decoder_and_pairs: Path) -> list[str]:
    """The command that trains a translator on the pairs of `decoder_and_pairs`; --out is left open."""
    return ["train", *flags, "--pairs", str(decoder_and_pairs)]
