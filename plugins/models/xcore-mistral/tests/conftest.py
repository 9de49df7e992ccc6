"""What several test modules of xcore-mistral use."""

from __future__ import annotations

from pathlib import Path

import pytest
from xcore_mistral.testing import save_tiny_model

SYNONYMS = {
    "bland": ["dull", "flat", "boring", "lackluster"],
    "great": ["superb", "terrific", "wonderful", "excellent"],
    "customer": ["client", "buyer", "purchaser", "consumer"],
}


@pytest.fixture(scope="session", params=["chat", "completion"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that learnt to answer with synonyms, with and without a chat template."""
    folder = tmp_path_factory.mktemp(request.param)
    return save_tiny_model(folder, SYNONYMS, chat=request.param == "chat", steps=250)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a chat template and random weights; tests that change its files copy it first."""
    return save_tiny_model(tmp_path_factory.mktemp("untrained"), SYNONYMS, chat=True)
