"""What several test modules of the reviews use."""

from __future__ import annotations

import pytest

from xcore.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All installed plugins."""
    return Registry().load_installed()
