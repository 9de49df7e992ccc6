"""Rows, scores, texts and tables, as several tests of the report need them."""

from __future__ import annotations

import io

import pytest

from xcore.contract import Explanation, Samples
from xcore.report import MetricInfo, show

DIRECTIONS = {"TS": "higher", "CS": "lower", "ED": "higher", "recovery": "higher", "cost": "none"}


@pytest.fixture
def metrics():
    """What is known about some metrics, as `build` takes it."""
    return {name: MetricInfo(direction=direction) for name, direction in DIRECTIONS.items()}


@pytest.fixture
def score():
    """A function that makes a score of a row from its value."""

    def make(value, variant="clip", **more):
        reason = None if value is not None else "no samples"
        base = {"value": value, "spread": 0.05, "over": "pairs", "n": 600, "variant": variant, "reason": reason}
        return {**base, "details": {}, **more}

    return make


@pytest.fixture
def row():
    """A function that makes a row of a run; any key can be given."""

    def make(label="rlpo", seed=0, rank=1, concept="stripes", **more):
        base = {
            "method": "rlpo",
            "label": label,
            "classifier": "minizoo/clean",
            "data": "minizoo",
            "class": "zebra",
            "seed": seed,
            "concept": concept,
            "rank": rank,
            "status": "ok",
            "reason": "",
            "scores": {},
            "overall": {},
            "seconds": 48.0,
            "cached": False,
            "note": "",
        }
        return base | more

    return make


@pytest.fixture
def printed():
    """A function that returns what `show` prints of a table."""

    def make(table, width=None, texts=0):
        out = io.StringIO()
        show(table, out, width, texts)
        return out.getvalue()

    return make


@pytest.fixture
def texts():
    """A function that makes text samples ``said/0``, ``said/1``, ... of some strings."""

    def make(*given, probability=None):
        meta = {} if probability is None else {"probability": probability}
        return Samples("text", given, tuple(f"said/{i}" for i in range(len(given))), meta=meta)

    return make


@pytest.fixture
def explanation():
    """A function that makes an explanation of the class "negative" with these concepts."""

    def make(*concepts, explained=None):
        return Explanation("m", "negative", "effect", concepts, explained=explained)

    return make
