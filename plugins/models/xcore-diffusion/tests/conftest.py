"""What several test modules of xcore-diffusion use."""

from __future__ import annotations

from pathlib import Path

import pytest
from xcore_diffusion.testing import save_tiny_pipeline


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline with random weights; tests that change its files copy it first."""
    return save_tiny_pipeline(tmp_path_factory.mktemp("tiny"))
