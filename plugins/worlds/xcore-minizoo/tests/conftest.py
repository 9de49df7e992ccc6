"""What several test modules of the minizoo use."""

from __future__ import annotations

import pytest
from xcore_minizoo.world import Scene

from xcore.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All installed plugins."""
    return Registry().load_installed()


@pytest.fixture(scope="session")
def zebra() -> Scene:
    """A zebra on grass."""
    return Scene("horse", "striped", ("white", "black"), "grass")
