"""What holds for the tests of the kit for plugin authors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a broken component leaves behind ends with its test."""
    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before
