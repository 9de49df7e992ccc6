"""Audits of metrics: the rule, what is said of them, and the sign in tables."""

from __future__ import annotations

import json

import pytest

from xcore.cards import Card
from xcore.cli.listing import show_component
from xcore.report import MetricInfo, build
from xcore.report.audits import COMPARISONS, Audit, Share, audits_of, failures, from_plain, kinds_of, to_plain


def audit(better=20, of=20, kind="maps", ways=(), ranks=(1.0,) * 8, level=(10, 20), **more):
    """An audit in which every comparison came out the same."""
    power = dict.fromkeys(COMPARISONS, Share(better, of))
    return Audit(kind, ways, power | more.pop("power", {}), ranks, Share(*level), **more)


@pytest.mark.parametrize(
    ("better", "of", "passed"),
    [
        (20, 20, True),
        (15, 20, True),  # .75, lower end .53
        (14, 20, False),  # .70, lower end .48
        (10, 20, False),  # all equal
        (0, 20, False),
        (7, 7, None),  # too few to show anything
    ],
)
def test_a_comparison_is_passed_if_its_interval_is_above_one_half(better, of, passed):
    assert {audit(better, of).passed()[name] for name in COMPARISONS} == {passed}


@pytest.mark.parametrize(("middle", "passed"), [(1, True), (5, True), (5.5, False), (11, False)])
def test_the_right_explanation_has_to_be_among_the_best_quarter(middle, passed):
    ranks = (1.0, 1.0, 1.0, 1.0, float(middle), 21.0, 21.0, 21.0, 21.0)
    assert audit(ranks=ranks).passed()["right explanation"] is passed
    assert audit(ranks=ranks[:7]).passed()["right explanation"] is None


def test_the_level_is_failed_by_a_preference_among_random_ones_and_by_a_test_that_rejects_too_often():
    assert audit(level=(12, 20)).passed()["level"] is True
    assert audit(level=(17, 20)).passed()["level"] is False
    assert audit(rejected=(6, 100)).passed()["level"] is True
    assert audit(rejected=(15, 100)).passed()["level"] is False


def test_one_failed_part_fails_the_audit():
    shuffled = audit(power={"shuffled importances": Share(10, 20)})
    assert (shuffled.verdict, shuffled.failed) == ("failed", ("shuffled importances",))
    assert audit().verdict == "passed"
    assert audit(better=0, of=0, ranks=()).verdict == "not applicable"
    assert [s for s in shuffled.sentences() if s.startswith("FAILED")] == [
        "FAILED: the same concepts with shuffled importances score worse: in 10 of 20 (0.50 [0.30, 0.70]) pairs."
    ]


def test_an_audit_is_kept_as_json():
    made = audit(ways=("region blur",), rejected=(1, 20), left_out=3)
    assert from_plain("maps", json.loads(json.dumps(to_plain(made)))) == made


def test_the_kind_is_told_by_the_variant_and_else_by_the_explanation():
    audits = {
        "directions": audit(0, ways=("direction", "codes"), kind="directions"),
        "maps": audit(ways=("region blur",)),
    }
    assert failures(audits, "region mean", ("directions", "maps")) == ()
    assert failures(audits, "codes layer4", ("directions", "maps"))[0] == "random concepts"
    assert failures(audits, "", ("directions", "maps"))[0] == "random concepts"
    assert failures(audits, "", ("maps",)) == ()
    assert failures({}, "region mean", ("maps",)) == ()


def test_the_kinds_of_an_explanation_are_what_its_concepts_have():
    assert kinds_of([{"directions": {"4": {}}, "atom": None, "maps": None, "words": [], "samples": None}]) == (
        "directions",
    )
    assert kinds_of([{"atom": 0, "maps": {}, "words": ["a cat"]}]) == ("directions", "maps", "pictures")


def test_a_table_marks_what_failed_and_says_so_once(row, score, printed):
    marked = {"CS": score(0.5, failed_audit=["shuffled importances"]), "TS": score(0.7)}
    table = build([row(seed=s, scores=marked) for s in (0, 1)], {name: MetricInfo("higher") for name in marked})
    shown = printed(table)
    line = next(text for text in shown.splitlines() if "stripes" in text)
    assert line.count("‡") == 1
    assert shown.count("for this kind of explanation: CS (shuffled importances); `xcore show METRIC`") == 1
    plain = build([row(scores={"CS": score(0.5)})], {"CS": MetricInfo("higher")})
    assert "‡" not in printed(plain)


def test_a_metric_without_an_audit_says_so(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from xcore import hookimpl\n\n\n@hookimpl\ndef register_metrics(register):\n"
        "    register('bare', lambda options: None, summary='says nothing')\n"
    )
    show_component("bare", [str(file)], as_json=False)
    assert "not audited" in capsys.readouterr().out


def test_the_audit_lies_beside_the_metric(tmp_path, monkeypatch):
    package = tmp_path / "audited_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nobody imports this')\n")
    content = {"made": "by hand", "settings": {}, "metrics": {"mine": {"maps": to_plain(audit())}}}
    (package / "audit.json").write_text(json.dumps(content))
    monkeypatch.syspath_prepend(tmp_path)
    card = Card("metric", "mine", "audited_package.deep:made", "measures", "dist", "1")
    assert audits_of(card)["maps"].verdict == "passed"
    assert audits_of(Card("metric", "other", "audited_package.deep:made", "measures", "dist", "1")) == {}
