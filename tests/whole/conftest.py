"""A folder of photographs with small models beside it, saved as real ones are, for the commands of several pages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xcore.pretrained.hub import quiet

ROOT = Path(__file__).parents[2]
CLASSES = ("tabby cat", "zebra", "tiger")
LONG = " ".join(["water"] * 20)
"""A phrase of more words than the small models read."""


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Loads a script by its name; those of benchmarks/, which is no package, import one another by their names."""
    folder = ROOT / "benchmarks"

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, made)  # dataclasses look their module up
        spec.loader.exec_module(made)
        return made

    return load


@pytest.fixture
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random sets of few drawings: a generator draws 80 samples for a null distribution instead of 600."""
    for name, value in {"DRAWN_POOL": 24, "PHRASES": 20, "TUNED_PHRASES": 6, "SET": 4}.items():
        monkeypatch.setattr(f"xcore.run.random_sets.{name}", value)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs of three classes, and with the models."""
    spec = importlib.util.spec_from_file_location("paper_stand_ins", ROOT / "benchmarks" / "paper_stand_ins.py")
    assert spec is not None
    assert spec.loader is not None
    stand_ins: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_ins)
    folder = tmp_path_factory.mktemp("place")
    with quiet("diffusers", "transformers"), torch.random.fork_rng():
        torch.manual_seed(0)  # torch's own first seed is another one in every process
        stand_ins.stable_diffusion(folder / "pipeline")
        stand_ins.clip(folder / "clip")
        stand_ins.blip_vqa(folder / "blip")
    (folder / "phrases.txt").write_text(f"# of my own\nstripes\ngrass\n{LONG}\na tabby cat\n")
    for i, cls in enumerate(CLASSES):
        (folder / "photos" / cls).mkdir(parents=True)
        for k in range(16):
            rng = np.random.default_rng([i, k])
            pixels = rng.integers(0, 255, (rng.integers(40, 60), rng.integers(40, 60), 3)).astype(np.uint8)
            pixels[:: 2 + i] //= 4
            Image.fromarray(pixels).resize((230, 190)).save(folder / "photos" / cls / f"{k}.jpg")
    return folder
