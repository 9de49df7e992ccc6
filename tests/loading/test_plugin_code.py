"""The code of a plugin file is that of the file as it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from xcore.loading.plugins import file_loader


def test_a_file_that_was_changed_twice_in_a_second_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "light.py"
    for light in ("1.0", "0.8"):
        file.write_text(f"LIGHT = {light}\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert str(file_loader(file, "xcore_test_light")().LIGHT) == light
    del sys.modules["xcore_test_light"]
