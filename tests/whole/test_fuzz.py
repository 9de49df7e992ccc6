"""A few cases of `benchmarks/fuzz.py`: whatever comes, xcore ends with a result or with one line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture
def fuzz(monkeypatch, tmp_path):
    monkeypatch.setenv("XCORE_PLUGINS", "")
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path))
    spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="there is no alarm")
def test_cases_at_random_end_with_a_result_or_one_line(fuzz):
    tally = fuzz.fuzz(list(range(21)), seed=2026)
    assert not tally.failures
    assert tally.ended["suite ran"] >= 7 / 3, "at least a third of the suites is right"
    assert tally.ended["record made again"] >= 3


def test_the_fuzz_notices_a_traceback_and_a_case_that_does_not_end(fuzz, monkeypatch):
    def broken():
        raise KeyError("no such thing")

    def endless():
        while True:
            pass

    monkeypatch.setattr("xcore.cli.main.main", broken)
    assert fuzz.call(["list"], 5).broken == "KeyError: 'no such thing'"
    monkeypatch.setattr("xcore.cli.main.main", endless)
    assert fuzz.call(["list"], 0.2).broken == "it did not end within 0.2 s"
