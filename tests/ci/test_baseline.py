"""Baselines: what counts as worse, what is told, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from xcore.ci.baseline import Baseline, Comparison
from xcore.ci.tolerance import Tolerance, tolerances
from xcore.ci.verdict import Verdict, tally
from xcore.contract import Budget, Cell, Ref, UsageError
from xcore.report import MetricInfo, build
from xcore.run.plan import Plan, Suite

METRICS = {
    "TS": MetricInfo("higher"),
    "CS": MetricInfo("lower"),
    "size": MetricInfo("none"),
    "cost": MetricInfo("lower", column=False, details=("peak_mb", "forwards")),
}


def score(metric: str, value: float | None, **more: Any) -> dict[str, Any]:
    base = {"metric": metric, "value": value, "spread": 9.0, "over": "pairs", "n": 600, "variant": ""}
    return {**base, "reason": None if value is not None else "no images", "details": {}, **more}


def row(seed: int, rank: int | None = 1, label: str = "craft", **scores: float | None) -> dict[str, Any]:
    base = {"method": "m", "label": label, "classifier": "net", "data": "d", "class": "zebra", "seed": seed}
    rest = {"concept": f"c{rank}", "rank": rank, "status": "ok", "reason": "", "note": "", "overall": {}}
    return {**base, **rest, "seconds": 2.0, "cached": False, "scores": {k: score(k, v) for k, v in scores.items()}}


def lost(seed: int) -> dict[str, Any]:
    return {**row(seed, None), "concept": None, "status": "failed", "reason": "out of memory"}


def plan(**keys: Any) -> Plan:
    suite = Suite(data="d", metrics=[*METRICS], **keys)
    cell = Cell("craft", Ref("craft"), Ref("net"), Ref("d"), "zebra", 0, budget=Budget())
    return Plan("s", (cell,), tuple(Ref(m) for m in METRICS), 0, None, suite.model_dump(mode="json"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "baseline.json"


def write(file: Path, rows: list[dict[str, Any]], broken: str = "", tolerance: tuple[str, ...] = ()) -> list[Verdict]:
    return Baseline(Comparison(file, update=True, tolerance=tolerance), plan(), METRICS).settle(
        build(rows, METRICS), broken
    )


def compare(file: Path, rows: list[dict[str, Any]], *tolerance: str, fail: bool = True) -> list[Verdict]:
    made = Baseline(Comparison(file, fail=fail, tolerance=tolerance), plan(), METRICS)
    return made.settle(build(rows, METRICS))


def change(file: Path, before: dict[str, float], after: dict[str, float], *tolerance: str) -> list[str]:
    write(file, [row(0, **before)])
    return [v.status for v in compare(file, [row(0, **after)], *tolerance)]


def test_the_same_is_no_regression_even_at_no_tolerance(file: Path) -> None:
    rows = [row(s, k, TS=0.1 * k + 0.01 * s, CS=1 / 3) for s in (0, 1, 2) for k in (1, 2)]
    write(file, rows)
    found = compare(file, rows, "0")
    assert [v.status for v in found] == ["met"] * 4
    assert tally(found) == "4 of 4 values of the baseline held"


def test_last_digits_are_no_regression(file: Path) -> None:
    assert change(file, {"TS": 0.9, "CS": 0.5}, {"TS": 0.9 - 3e-5, "CS": 0.5 + 3e-5}) == ["met", "met"]


def test_a_change_of_just_the_tolerance_is_none_whatever_its_last_digit(file: Path) -> None:
    assert 0.96 - 0.94 > 0.02
    assert change(file, {"TS": 0.96, "CS": 0.94}, {"TS": 0.94, "CS": 0.96}, "0.02") == ["met", "met"]
    assert change(file, {"TS": 0.96}, {"TS": 0.939999}, "0.02") == ["missed"]


def test_worse_is_by_direction_and_without_one_every_change_is(file: Path) -> None:
    assert change(file, {"TS": 0.9, "CS": 0.5, "size": 1.0}, {"TS": 0.8, "CS": 0.6, "size": 1.1}) == ["missed"] * 3
    assert change(file, {"TS": 0.8, "CS": 0.6, "size": 1.1}, {"TS": 0.9, "CS": 0.5, "size": 1.0}) == [
        "better",
        "better",
        "missed",
    ]


def test_a_metric_that_turned_round_is_no_improvement(file: Path) -> None:
    write(file, [row(0, TS=0.9)])
    turned = build([row(0, TS=0.5)], {**METRICS, "TS": MetricInfo("lower")})
    (found,) = Baseline(Comparison(file, fail=True), plan(), METRICS).settle(turned)
    assert (found.fails, "better was 'higher', and is 'lower'" in found.text) == (True, True)


def test_a_regression_says_by_how_much_and_which_tolerance(file: Path) -> None:
    write(file, [row(0, TS=0.9)])
    (found,) = compare(file, [row(0, TS=0.8)])
    assert found.text == (
        "craft.TS[C1] on zebra: 0.80 ± 9.00, baseline 0.90 ± 9.00: worse by 0.10, tolerance 0.02 (absolute)"
    )
    assert found.fails


def test_without_the_flag_a_regression_is_told_and_fails_nothing(file: Path) -> None:
    write(file, [row(0, TS=0.9)])
    (found,) = compare(file, [row(0, TS=0.8)], fail=False)
    assert (found.status, found.fails) == ("missed", False)


def test_the_tolerance_is_the_largest_of_its_parts() -> None:
    rule = Tolerance(0.02, 0.02, 2.0)
    assert rule.amount(0.5, None, "", 1) == (0.02, "absolute")
    assert rule.amount(-13.0, 9.0, "pairs", 600) == (
        pytest.approx(0.26),
        "2 %",
    )  # the spread of one seed is none over seeds
    amount, why = rule.amount(0.36, 0.48, "seeds", 3)
    assert amount == pytest.approx(2 * 0.48 * math.sqrt(2 / 3))
    assert why == "2 standard errors over 3 seeds"


def test_the_noise_of_the_baseline_counts_that_of_the_run_does_not(file: Path) -> None:
    noisy, calm = [row(s, TS=v) for s, v in enumerate([0.4, 0.6, 0.8])], [row(s, TS=0.45) for s in range(3)]
    write(file, noisy)
    assert compare(file, calm)[0].status == "met"  # 0.15 lower, 2 x 0.2 x sqrt(2/3) = 0.33 allowed
    write(file, [row(s, TS=0.6) for s in range(3)])
    assert compare(file, [row(s, TS=v) for s, v in enumerate([0.1, 0.4, 0.8])])[0].status == "missed"


def test_a_stated_tolerance_replaces_the_default(file: Path) -> None:
    before, after = {"TS": 0.9, "CS": 0.5}, {"TS": 0.895, "CS": 0.505}
    assert change(file, before, after) == ["met", "met"]
    assert change(file, before, after, "0.001") == ["missed", "missed"]
    assert change(file, before, after, "TS=0.1%") == ["missed", "met"]
    assert change(file, before, after, "0", "CS=0.001,2%") == ["missed", "met"]


def test_of_several_tolerances_the_largest_counts_wherever_it_stands() -> None:
    assert tolerances(["0.05", "5%,0.02", "1%", "TS=1", "TS=2se"], ["TS"]) == {
        "": Tolerance(0.05, 0.05),
        "TS": Tolerance(1, 0, 2),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [("x", "is not an amount"), ("-1", "is not an amount"), ("Ts=1", "did you mean 'TS'"), ("", "is not an amount")],
)
def test_a_wrong_tolerance_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tolerances([text], ["TS"])


def test_vanished_values_fail_with_the_reason_new_ones_are_told(file: Path) -> None:
    write(file, [row(0, TS=0.9), row(0, 2, TS=0.9), row(0, label="noise", TS=0.1)])
    found = compare(file, [row(0, TS=None), row(0, label="fresh", TS=0.1)])
    assert [(v.status, v.text) for v in found] == [
        ("missed", "craft.TS[C1] on zebra: vanished, baseline 0.90: no images"),
        ("missed", "craft.TS[C2] on zebra: vanished, baseline 0.90: no concept C2"),
        ("missed", "noise.TS[C1] on zebra: vanished, baseline 0.10: not part of this run"),
        ("noted", "fresh on zebra: 1 new value(s); --update-baseline keeps them"),
    ]


def test_a_seed_that_failed_is_a_regression_though_the_others_are_as_before(file: Path) -> None:
    write(file, [row(0, TS=0.9), row(1, TS=0.9)])
    (found,) = compare(file, [row(0, TS=0.9), lost(1)])
    assert found.text == "craft.TS[C1] on zebra: 1 of 2 seeds have a value (seed 1: failed: out of memory)"
    (found,) = compare(file, [lost(0), lost(1)])
    assert found.text.endswith("vanished, baseline 0.90: failed: out of memory")


def test_seconds_are_kept_and_compared_only_if_asked_for(file: Path) -> None:
    fast, slow = ([{**row(0, TS=0.9), "overall": {"cost": score("cost", s)}, "seconds": s}] for s in (2.0, 9.0))
    write(file, fast)
    assert [v["metric"] for v in json.loads(file.read_text())["values"]] == ["TS"]
    assert [v.status for v in compare(file, slow)] == ["met"]
    with pytest.raises(UsageError, match="holds no seconds"):
        compare(file, slow, "seconds=50%")
    write(file, fast, tolerance=("seconds=50%",))
    assert [v.status for v in compare(file, slow)] == ["met"]
    assert [v.status for v in compare(file, slow, "seconds=50%")] == ["met", "missed"]
    with pytest.raises(UsageError, match="metric in tolerance 'cost=50%'"):
        compare(file, slow, "cost=50%")  # its seconds and counts are named one by one


def test_the_first_three_concepts_are_kept_and_a_line_a_value(file: Path) -> None:
    write(file, [row(0, k, TS=0.5) for k in range(1, 8)])
    assert [v["rank"] for v in json.loads(file.read_text())["values"]] == [1, 2, 3]
    assert sum('"rank"' in line for line in file.read_text().splitlines()) == 3


def test_a_broken_run_writes_no_baseline(file: Path) -> None:
    (found,) = write(file, [row(0, TS=0.9)], broken="1 cell(s) failed")
    assert found.fails
    assert not file.exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"seeds": [0, 1]}, r"seeds \[0\], this run has \[0, 1\]"),
        ({"budget": {"samples": 16}}, "budget.samples 60, this run has 16"),
        ({"set": {"craft": {"k": 3}}}, "set.craft None"),
        ({"classifiers": ["other"]}, "classifiers"),
    ],
)
def test_a_baseline_of_other_settings_is_refused(file: Path, keys: dict[str, Any], said: str) -> None:
    write(file, [row(0, TS=0.9)])
    with pytest.raises(UsageError, match=said):
        Baseline(Comparison(file), plan(**keys), METRICS)


def test_a_baseline_of_other_draws_of_the_data_is_refused(file: Path) -> None:
    write(file, [row(0, TS=0.9)])
    held = json.loads(file.read_text())
    held["settings"] |= {"data_seed": 0, "seeds": [0]}  # as written before the draw followed the seed
    file.write_text(json.dumps(held))
    Baseline(Comparison(file), plan(seeds=[0]), METRICS)  # with the seed 0 alone, nothing has changed
    held["settings"]["seeds"] = [0, 1]
    file.write_text(json.dumps(held))
    with pytest.raises(UsageError, match=r"data_seed \[0, 0\], this run has \[0, 1\]"):
        Baseline(Comparison(file), plan(seeds=[0, 1]), METRICS)


@pytest.mark.parametrize("spoil", ["{", "[]", '{"schema": 1}', "value", "schema"])
def test_a_damaged_baseline_is_one_line(file: Path, spoil: str) -> None:
    write(file, [row(0, TS=0.9)])
    held = json.loads(file.read_text())
    if spoil == "value":
        held["values"][0]["value"] = "high"
    elif spoil == "schema":
        held["schema"] = 99
    file.write_text(json.dumps(held) if spoil in ("value", "schema") else spoil)
    with pytest.raises(UsageError, match=r"baseline\.json") as caught:
        Baseline(Comparison(file), plan(), METRICS)
    assert "\n" not in str(caught.value)


def test_what_excludes_one_another_and_what_is_not_there(file: Path) -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        Baseline(Comparison(file, update=True, fail=True), plan(), METRICS)
    with pytest.raises(UsageError, match="no baseline"):
        Baseline(Comparison(file), plan(), METRICS)
