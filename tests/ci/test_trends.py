"""Trends for github-action-benchmark, and badges."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from xcore.ci.badge import badge, check_badge
from xcore.ci.trends import write_trends
from xcore.ci.verdict import Verdict
from xcore.contract import UsageError
from xcore.report import Column, MetricInfo, Row, Section, Table, Value

TS, CS, CS2 = Column("TS", "layer3", "higher"), Column("CS", "a", "lower"), Column("CS", "b", "lower")
RECOVERY, PLAIN, COST = Column("recovery", "", "higher", True), Column("n", "", "none"), Column("cost", "", "lower")


@pytest.fixture
def table():
    seeds = {0: 0.8, 1: 0.9}
    first = Row(
        "craft",
        "craft",
        "ok",
        (0, 1),
        rank=1,
        values={
            TS: Value(0.85, 0.07, "seeds", 2, seeds),
            CS: Value(0.5),
            CS2: Value(0.6),
            RECOVERY: Value(0.4),
            PLAIN: Value(3.0),
            COST: Value(9.0),
        },
        seconds=1.5,
        shared_seconds=0.5,
    )
    second = Row("craft", "craft", "ok", (0, 1), rank=2, values={TS: Value(0.1), CS: Value(None)})
    columns = (TS, CS, CS2, RECOVERY, PLAIN, COST)
    section = Section("zoo", "net", "zebra", columns, (first, second, Row("x", "x", "failed", (0,), "why")))
    return Table((section,), {"cost": MetricInfo(column=False)})


def test_values_are_those_that_gates_read_by_their_direction(table, tmp_path):
    bigger, smaller = (json.loads(path.read_text()) for path in write_trends(table, tmp_path / "new"))
    assert bigger == [
        {"name": "craft.TS on zebra", "unit": "TS", "value": 0.85, "range": "± 0.07", "extra": "over 2 seeds"},
        {"name": "craft.recovery on zebra", "unit": "recovery", "value": 0.4},
    ]
    assert smaller == [
        {"name": "craft.CS[a] on zebra", "unit": "CS", "value": 0.5},
        {"name": "craft.CS[b] on zebra", "unit": "CS", "value": 0.6},
        {"name": "craft.seconds on zebra", "unit": "s", "value": 2.0},
    ]


@pytest.mark.parametrize(
    ("verdicts", "broken", "message", "colour"),
    [
        ([Verdict("gate", "a", "met", "")], "", "1 of 1 gates met", "brightgreen"),
        ([Verdict("gate", "a", "missed", "")], "", "1 of 1 gates missed", "red"),
        ([Verdict("gate", "a", "met", "")], "2 cell(s) failed", "2 cell(s) failed", "red"),
        ([], "", "7 made", "lightgrey"),
    ],
)
def test_a_badge_says_what_was_judged(verdicts, broken, message, colour):
    about = json.loads(badge("b.json", verdicts, 7, broken))
    assert (about["schemaVersion"], about["label"], about["message"], about["color"]) == (
        1,
        "explanations",
        message,
        colour,
    )
    drawn = ET.fromstring(badge("b.svg", verdicts, 7, broken))
    assert drawn.get("aria-label") == f"explanations: {message}"
    assert float(drawn.get("width")) > 100


def test_a_badge_is_svg_or_json():
    with pytest.raises(UsageError, match="neither an SVG nor a JSON file"):
        check_badge("badge.png")
    assert ET.fromstring(badge("b.svg", [], 1, "<b>&")).get("aria-label") == "explanations: <b>&"
