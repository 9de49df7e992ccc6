"""The cards of the commands. This module imports nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_commands(register: Register) -> None:
    """Register the commands; each is a function of `xcore` in Python, too."""
