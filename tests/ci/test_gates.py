"""Gates: what they read of a table, how far they are missed, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from xcore.ci.gates import Gate, check_labels, check_metrics, judge, merge, parse
from xcore.ci.verdict import tally
from xcore.contract import UsageError
from xcore.report import MetricInfo, Table, build

METRICS = {
    "TS": MetricInfo("higher"),
    "CS": MetricInfo("lower"),
    "recovery": MetricInfo("higher"),
    "cost": MetricInfo("lower", column=False, details=("peak_mb", "forwards")),
}


def score(metric: str, value: float | None, variant: str = "", **more: Any) -> dict[str, Any]:
    reason = None if value is not None else "no images"
    base = {"metric": metric, "value": value, "spread": None, "over": "", "n": 1, "variant": variant, "reason": reason}
    return {**base, "details": {}, **more}


def row(seed: int = 0, rank: int | None = 1, label: str = "craft", cls: str = "zebra", **more: Any) -> dict[str, Any]:
    base = {"method": "craft", "label": label, "classifier": "net", "data": "d", "class": cls, "seed": seed}
    rest = {"concept": f"c{rank}", "rank": rank, "status": "ok", "reason": "", "scores": {}, "overall": {}}
    return {**base, **rest, "seconds": 2.0, "cached": False, "note": "", **more}


def failed(seed: int, **more: Any) -> dict[str, Any]:
    return row(seed, None, concept=None, status="failed", reason="out of memory", **more)


def texts(rows: list[dict[str, Any]], *gates: str) -> list[str]:
    return [v.text for v in judge(build(rows, METRICS), map(parse, gates), METRICS)]


def seeds(*values: float, cls: str = "zebra") -> list[dict[str, Any]]:
    return [row(s, cls=cls, scores={"TS": score("TS", v)}) for s, v in enumerate(values)]


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("craft.TS>=0.9", Gate("craft", "TS", ">=", 0.9)),
        (" craft.seconds <= 2e1 ", Gate("craft", "seconds", "<=", 20.0)),
        ("craft.TS[C2]>-.5", Gate("craft", "TS", ">", -0.5, rank=2)),
        ("a.0.5.CS[crop:32>64][C12] on St. B < 1", Gate("a.0.5", "CS", "<", 1.0, "crop:32>64", 12, "St. B")),
        ("craft.C-ins[region] on cat on mat >= 0", Gate("craft", "C-ins", ">=", 0.0, "region", cls="cat on mat")),
    ],
)
def test_what_a_gate_says(text: str, gate: Gate) -> None:
    assert parse(text) == gate
    assert parse(str(gate)) == gate


@pytest.mark.parametrize(
    "wrong",
    ["craft.TS", "TS>=1", "craft.TS==1", "craft.TS>=x", "craft.TS>=nan", "craft.TS>=inf", "craft.TS[C1][C2]>0", ""],
)
def test_one_line_for_a_gate_that_cannot_be_read(wrong: str) -> None:
    with pytest.raises(UsageError, match="gate") as caught:
        parse(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("carft.TS>=1", "did you mean 'craft'"),
        ("craft.Ts>=1", "did you mean 'TS'"),
        ("craft.second<=1", "did you mean 'seconds'"),
        ("craft.peak_mb<=1", "reads the metric 'cost'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(gate: str, said: str) -> None:
    asked = {name: METRICS[name] for name in ("TS", "CS")}

    def check(gates: list[str], labels: list[str], asked: dict[str, MetricInfo]) -> None:
        check_labels(gates, labels)
        check_metrics(gates, asked, METRICS)

    with pytest.raises(UsageError, match=said):
        check([gate], ["craft", "rlpo"], asked)
    check(["craft.CS<1", "rlpo.seconds<1"], ["craft", "rlpo"], asked)
    check(["craft.peak_mb<=1"], ["craft"], METRICS)


def test_a_missed_gate_says_by_how_much() -> None:
    assert texts(seeds(0.83, 0.87, 0.91), "craft.TS>=0.9", "craft.TS<=0.87", "craft.TS>0.5") == [
        "craft.TS on zebra: 0.87 ± .04, gate >= 0.9 missed by 0.03",
        "craft.TS on zebra: 0.87 ± .04, gate <= 0.87 met",
        "craft.TS on zebra: 0.87 ± .04, gate > 0.5 met",
    ]


def test_a_near_miss_shows_enough_decimals() -> None:
    assert texts(seeds(0.8996), "craft.TS>=0.9") == ["craft.TS on zebra: 0.8996, gate >= 0.9 missed by 0.0004"]
    assert texts(seeds(0.9), "craft.TS>0.9") == ["craft.TS on zebra: 0.90, gate > 0.9 missed by 0.00"]


def test_rounding_is_no_miss_but_a_millionth_is() -> None:
    assert texts(seeds(0.3), f"craft.TS>={0.1 + 0.2!r}")[0].endswith("met")
    assert "missed" in texts(seeds(0.299999), "craft.TS>=0.3")[0]


def test_every_class_is_judged_or_the_one_that_is_named() -> None:
    rows = [*seeds(0.95), *seeds(0.5, cls="horse")]
    assert [t.split(":")[0] for t in texts(rows, "craft.TS>=0.9")] == ["craft.TS on zebra", "craft.TS on horse"]
    assert texts(rows, "craft.TS on horse>=0.9") == ["craft.TS on horse: 0.50, gate >= 0.9 missed by 0.40"]


def test_two_classifiers_are_told_apart() -> None:
    rows = [*seeds(0.95), *({**r, "classifier": "biased"} for r in seeds(0.5))]
    assert [t.split(":")[0] for t in texts(rows, "craft.TS>0")] == [
        "craft.TS on zebra (net)",
        "craft.TS on zebra (biased)",
    ]


def test_the_first_concept_or_the_one_that_is_named() -> None:
    rows = [row(0, k, scores={"CS": score("CS", k / 10)}) for k in (1, 2)]
    assert texts(rows, "craft.CS<=0.1", "craft.CS[C2]<=0.1", "craft.CS[C3]<=0.1") == [
        "craft.CS on zebra: 0.10, gate <= 0.1 met",
        "craft.CS[C2] on zebra: 0.20, gate <= 0.1 missed by 0.10",
        "craft.CS[C3] on zebra: n/a (no concept C3), gate <= 0.1 missed",
    ]


def test_the_whole_explanation_where_a_metric_judges_it_else_the_concept_that_is_named() -> None:
    rows = [row(scores={"recovery": score("recovery", 1.0)}, overall={"recovery": score("recovery", 0.67)})]
    assert texts(rows, "craft.recovery>=0.6", "craft.recovery[C1]>=0.9") == [
        "craft.recovery on zebra: 0.67, gate >= 0.6 met",
        "craft.recovery[C1] on zebra: 1.00, gate >= 0.9 met",
    ]


def test_every_variant_is_judged_or_the_one_that_is_named() -> None:
    scores = {"TS": score("TS", 0.9, "layer3"), "TS [layer4]": score("TS", 0.4, "layer4")}
    assert texts([row(scores=scores)], "craft.TS>=0.5") == [
        "craft.TS[layer3] on zebra: 0.90, gate >= 0.5 met",
        "craft.TS[layer4] on zebra: 0.40, gate >= 0.5 missed by 0.10",
    ]
    assert texts([row(scores=scores)], "craft.TS[layer4]>=0.3") == ["craft.TS[layer4] on zebra: 0.40, gate >= 0.3 met"]
    assert "missed" in texts([row(scores=scores)], "craft.TS[layer5]>=0.3")[0]


def test_what_is_missing_is_missed_with_its_reason_however_good_the_rest_is() -> None:
    assert texts([*seeds(1.0), failed(1)], "craft.TS>=0.5") == [
        "craft.TS on zebra: n/a (seed 1: failed: out of memory), gate >= 0.5 missed"
    ]
    assert texts([failed(0), failed(1)], "craft.TS>=0.5", "craft.seconds<=9") == [
        "craft.TS on zebra: n/a (failed: out of memory), gate >= 0.5 missed",
        "craft.seconds on zebra: n/a (failed: out of memory), gate <= 9 missed",
    ]
    assert texts([row(scores={"TS": score("TS", None)})], "craft.TS>=0.5") == [
        "craft.TS on zebra: n/a (no images), gate >= 0.5 missed"
    ]
    some = [*seeds(1.0), row(1, scores={"TS": score("TS", None)})]
    assert texts(some, "craft.TS>=0.5") == ["craft.TS on zebra: n/a (seed 1: no images), gate >= 0.5 missed"]
    both = [row(0, scores={"TS": score("TS", None)}), failed(1)]
    assert "(seed 0: no images; seed 1: failed: out of memory)" in texts(both, "craft.TS>=0.5")[0]
    fewer = [row(0, 1), row(0, 2, scores={"TS": score("TS", 1.0)}), row(1, 1)]
    assert "seed 1: no" in texts(fewer, "craft.TS[C2]>=0.5")[0]


def test_seconds_and_memory() -> None:
    cost = score("cost", 2.0, details={"peak_mb": 900.0, "forwards": 160.0})
    rows = [row(s, seconds=2.0 + s, overall={"cost": cost}) for s in (0, 1)]
    assert texts(rows, "craft.seconds<=2", "craft.peak_mb<=1000", "craft.forwards<=100") == [
        "craft.seconds on zebra: 2.50, gate <= 2 missed by 0.50",
        "craft.peak_mb on zebra: 900.00, gate <= 1000 met",
        "craft.forwards on zebra: 160.00, gate <= 100 missed by 60.00",
    ]
    rows[1]["overall"] = {"cost": score("cost", None)}
    assert texts(rows, "craft.peak_mb<=1000") == [
        "craft.peak_mb on zebra: n/a (seed 1: no images), gate <= 1000 missed"
    ]
    for gate in ("craft.seconds[C2]<=2", "craft.peak_mb[layer3]<=2"):
        with pytest.raises(UsageError, match="of the whole explanation"):
            check_metrics([gate], METRICS, METRICS)


def test_gates_given_win_over_the_suites_on_the_same_side_of_the_same_value() -> None:
    suite = ["craft.TS>=0.9", "craft.TS<=1", "craft.TS on zebra>=0.8"]
    assert merge(suite, ["craft.TS > 0.5"]) == ["craft.TS<=1", "craft.TS on zebra>=0.8", "craft.TS > 0.5"]


def test_of_several_bounds_from_one_source_none_is_lost() -> None:
    both = ["craft.TS>=0.9", "craft.TS>=0.8"]
    assert merge(both, []) == merge([], both) == merge(["craft.TS>=0.1"], both) == merge(both, both) == both


def test_names_that_the_table_cleans_are_found_in_it() -> None:
    odd = "tab\tand  two\u200dspaces"
    assert texts([{**r, "label": odd} for r in seeds(0.5)], f"{odd}.TS>=0.9")[0].endswith("missed by 0.40")
    assert texts(seeds(0.5, cls=odd), f"craft.TS on {odd} >= 0.9")[0].endswith("missed by 0.40")


def test_a_gate_on_what_was_left_out_of_the_run_is_noted() -> None:
    found = judge(build(seeds(1.0), METRICS), map(parse, ["rlpo.TS>1", "craft.AUC>1", "craft.TS on cow>1"]), METRICS)
    assert [v.status for v in found] == ["noted"] * 3
    assert tally(found) == ""


def test_no_table_no_gate_met() -> None:
    assert not any(v.status == "met" for v in judge(Table(()), [parse("craft.TS>0")], METRICS))
