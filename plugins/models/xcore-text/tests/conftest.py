"""What several test modules of xcore-text use."""

from __future__ import annotations

import pytest

from xcore.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All installed plugins."""
    return Registry().load_installed()
