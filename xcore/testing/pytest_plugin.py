"""Fixtures for authors of plugins, which pytest finds by itself (entry point ``pytest11``).

Their names begin with ``xcore_``, so that they hide no fixture of an author's own. Nothing heavy is imported before one
of them is used.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Task
    from xcore.contract.samples import Samples


@pytest.fixture
def xcore_task(tmp_path: Path) -> Task:
    """A task of 12 images of stripes against blobs, with a tiny network; its files go into ``tmp_path``."""
    from xcore.testing.world import tiny_task

    return tiny_task(tmp_path)


@pytest.fixture
def xcore_images() -> Samples:
    """24 tiny images with a red, a green and a blue patch; ``meta`` has the share of pixels of each colour."""
    from dataclasses import replace

    from xcore.testing.planted import COLOURS, planted_pictures

    samples = planted_pictures(24, 11)
    rest = {i: samples.images[:, [j for j in range(3) if j != i]].amax(1) for i in range(3)}
    shares = {name: (samples.images[:, i] - rest[i] > 0.2).float().mean((1, 2)) for i, name in enumerate(COLOURS)}
    return replace(samples, meta=shares)


@pytest.fixture
def xcore_classifiers() -> dict[str, Classifier]:
    """Tiny classifiers of images, by the layout of their default layer: NC, NCHW and NTC."""
    from xcore.testing.helpers import classifier_of_layout

    return {layout: classifier_of_layout(layout) for layout in ("NC", "NCHW", "NTC")}


@pytest.fixture
def xcore_text_world(tmp_path: Path) -> Any:
    """A text world: ``classifier`` of reviews, ``data``, ``generator`` that writes some, and a ``task`` on them."""
    from xcore.testing.texts import ReviewData, TinyWriter, text_task

    writer = TinyWriter()
    task = text_task(tmp_path, generator=writer)
    return SimpleNamespace(classifier=task.classifier, data=ReviewData(), generator=writer, task=task)


@pytest.fixture
def xcore_segmenter() -> Any:
    """A model of the role segmenter, whose segments are the quarters of an image."""
    from xcore.testing.helpers import GridSegmenter

    return GridSegmenter()


@pytest.fixture
def xcore_models() -> dict[str, Any]:
    """A small model for each role: role -> model."""
    from xcore.testing.helpers import helper_models

    return helper_models()


@pytest.fixture
def xcore_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory of the test's own, with a cache and a working directory beside it that nobody else sees."""
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"
