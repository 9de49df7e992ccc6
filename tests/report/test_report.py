"""Rows to tables: seeds combined by rank, reasons kept, nothing invented."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import pytest

from xcore.contract import UsageError
from xcore.report import Column, MetricInfo, Row, Table, Value, build, render, write_all


@pytest.fixture
def failed(row):
    """A function that makes the row of a cell without concepts."""

    def make(label="rlpo", seed=0, reason="out of memory", status="failed"):
        return row(label, seed, rank=None, concept=None, status=status, reason=reason)

    return make


def only(table: Table) -> tuple[Row, ...]:
    assert len(table.sections) == 1
    return table.sections[0].rows


def value(found: Row, metric: str) -> Value:
    return next(v for c, v in found.values.items() if c.metric == metric)


def test_seeds_are_combined_by_rank_with_the_sample_deviation(row, score, metrics):
    rows = [row(seed=s, scores={"CS": score(v)}) for s, v in enumerate([0.2, 0.4, 0.9])]
    cell = value(only(build(rows, metrics))[0], "CS")
    assert cell.value == pytest.approx(0.5)
    assert cell.spread == pytest.approx(0.13**0.5)  # (0.09 + 0.01 + 0.16) / (3 - 1)
    assert (cell.over, cell.n, cell.by_seed) == ("seeds", 3, {0: 0.2, 1: 0.4, 2: 0.9})


def test_the_legend_says_what_a_spread_over_seeds_is_over(row, score, printed, metrics):
    def legend(*data_seeds):
        rows = [row(seed=s, scores={"CS": score(0.2)}) | {"data_seed": d} for s, d in enumerate(data_seeds)]
        return printed(build(rows, metrics))

    assert "each of which draws its own samples of the class, explained and held out" in legend(0, 1, 2)
    assert "all of which have the same samples of the class" in legend(0, 0, 0)
    assert "over seeds; concepts" in printed(build([row(seed=s, scores={"CS": score(0.2)}) for s in (0, 1)], metrics))


def test_one_seed_keeps_the_scores_own_spread(row, score, printed, metrics):
    table = build([row(scores={"CS": score(0.41)})], metrics)
    cell = value(only(table)[0], "CS")
    assert (cell.spread, cell.over, cell.n) == (0.05, "pairs", 600)
    assert "one seed: spread over pairs (CS)" in printed(table)


def test_the_most_frequent_name_is_shown_with_its_count(row, printed, metrics):
    rows = [row(seed=s, concept=c) for s, c in enumerate(["dots", "stripes", "stripes"])]
    table = build(rows, metrics)
    assert only(table)[0].names == {"stripes": 2, "dots": 1}
    assert "C1 stripes (2/3)" in printed(table)


def test_order_of_labels_classes_and_metrics_is_as_given(row, score, metrics):
    rows = [row(label, scores={"ED": score(1.0), "CS": score(1.0)}) for label in ("b", "a")]
    rows += [row(label) | {"class": "ant"} for label in ("c", "b")]
    table = build(rows, metrics)
    assert [s.cls for s in table.sections] == ["zebra", "ant"]
    assert [r.label for r in table.sections[0].rows] == ["b", "a"]
    assert [r.label for r in table.sections[1].rows] == ["b", "c"]
    assert [c.metric for c in table.sections[0].columns] == ["CS", "ED"]


def test_the_table_does_not_depend_on_the_order_of_seeds(row, score, metrics):
    rows = [row(seed=s, concept=f"c{s % 2}", scores={"CS": score(v)}) for s, v in enumerate([0.1, 0.7, 0.35])]
    assert render(build(rows, metrics), "json") == render(build(rows[::-1], metrics), "json")


def test_failed_and_skipped_cells_are_rows_with_reasons(row, score, failed, printed, metrics):
    rows = [
        row(scores={"CS": score(0.5)}),
        failed(seed=1),
        failed(seed=2),
        failed("eac", reason="wants text", status="skipped"),
    ]
    table = build(rows, metrics)
    assert [(r.label, r.status, r.seeds) for r in only(table)] == [
        ("rlpo", "ok", (0,)),
        ("rlpo", "failed", (1, 2)),
        ("eac", "skipped", (0,)),
    ]
    for shown in (printed(table), *(render(table, f) for f in ("md", "tex"))):
        assert "failed (seeds 1, 2): out of memory" in shown
        assert "skipped (seed 0): wants text" in shown
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [(x["status"], x["reason"]) for x in lines[1:]] == [("failed", "out of memory"), ("skipped", "wants text")]


def test_all_cells_failed_is_still_a_table(failed, printed, metrics):
    table = build([failed()], metrics)
    for shown in (printed(table), printed(table, 30), *(render(table, f) for f in ("md", "tex", "csv", "json"))):
        assert "memory" in shown


def test_no_rows_is_an_empty_table(printed, metrics, tmp_path):
    table = build([], metrics)
    assert table.sections == ()
    assert printed(table) == ""
    assert len(write_all(table, tmp_path)) == 4


def test_an_explanation_without_concepts_says_so(row, printed, metrics):
    assert "no concept found (seed 0)" in printed(build([row(rank=None, concept=None)], metrics))


def test_a_missing_value_is_na_with_its_reason_and_never_nan(row, score, printed, metrics):
    rows = [
        row(
            seed=0,
            scores={"CS": score(None, variant=""), "ED": score(float("nan"))},
            overall={"recovery": score(float("inf"))},
        )
    ]
    rows.append(row(seed=1, scores={"CS": score(0.4), "ED": score(2.0, spread=float("nan"))}))
    table = build(rows, metrics)
    first = only(table)[0]
    assert (value(first, "CS").value, value(first, "CS").reasons) == (0.4, {0: "no samples"})
    assert value(first, "ED").spread is None
    assert value(first, "recovery").value is None
    shown = [printed(table), *(render(table, f) for f in ("md", "tex", "csv", "json"))]
    for one in shown:
        assert "nan" not in one.replace("not finite (nan)", "").lower()
    assert "CS n/a in seed 0: no samples" in shown[0]
    assert "n/a" in shown[0]
    json.loads(shown[-1], parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


def test_one_reason_is_one_line(row, score, printed, metrics):
    none = score(None, variant="")
    rows = [row("a", rank=r, scores={"CS": none, "ED": none, "TS": none if r == 2 else score(1.0)}) for r in (1, 2)]
    assert "CS, ED n/a: no samples" in printed(build(rows, metrics)).replace("\n ", "\n").splitlines()
    rows.append(row("b", scores={"CS": none, "ED": score(1.0), "TS": score(1.0)}))
    notes = build(rows, metrics).sections[0].notes
    assert {n for n in notes if "n/a" in n} == {
        "TS n/a for a C2: no samples",
        "CS n/a: no samples",
        "ED n/a for a: no samples",
    }


def test_a_concept_named_by_its_rank_is_named_once(row, printed, metrics):
    assert "C1 C1" not in printed(build([row(concept="C1")], metrics))


def test_variants_are_never_averaged(row, score, printed):
    rows = [row(seed=s, scores={"del": score(v, variant=k)}) for s, v, k in [(0, 0.1, "codes"), (1, 0.9, "pixels")]]
    found = only(build(rows, {"del": MetricInfo(direction="lower")}))[0].values
    assert {(c.variant, v.value) for c, v in found.items()} == {("codes", 0.1), ("pixels", 0.9)}
    shown = printed(build(rows, {"del": MetricInfo(direction="lower")}))
    assert "del [codes] ↓" in shown
    assert "del [pixels] ↓" in shown


def test_a_score_without_value_and_variant_stands_in_the_first_column_of_its_metric(row, score):
    scores = [score(0.1, variant="codes"), score(0.9, variant="pixels"), score(None, variant="")]
    found = only(build([row(seed=s, scores={"del": made}) for s, made in enumerate(scores)], {}))[0].values
    assert {c.variant: dict(v.reasons) for c, v in found.items()} == {"codes": {2: "no samples"}, "pixels": {}}


def test_a_caveat_is_a_sentence_about_its_metrics(row, score):
    infos = {name: MetricInfo(caveat="never asks the model: read it beside TS") for name in ("CS", "ED", "RCS")}
    one = build([row(scores={"CS": score(0.5), "TS": score(1.0)})], infos)
    assert one.notes[-1] == "CS never asks the model: read it beside TS"
    several = build([row(scores={name: score(0.5) for name in infos})], infos)
    assert several.notes[-1] == "each of CS, ED and RCS never asks the model: read it beside TS"


def test_null_mean_mark_and_dimming(row, score, printed, metrics):
    def ts(label, *outside):
        details = [{"null_mean": 0.48, "outside": o} for o in outside]
        return [row(label, seed=s, scores={"TS": score(1.0, details=d)}) for s, d in enumerate(details)]

    table = build([*ts("all", 1, 1, 1), *ts("most", 1, 0, 1), *ts("few", 1, 0, 0), *ts("none", 0, 0, 0)], metrics)
    by_label = {r.label: r for r in only(table)}
    assert {k: value(r, "TS").outside for k, r in by_label.items()} == {
        "all": (3, 3),
        "most": (2, 3),
        "few": (1, 3),
        "none": (0, 3),
    }
    assert {k for k, r in by_label.items() if r.irrelevant} == {"few", "none"}
    lines = printed(table).splitlines()
    words = [line.split() for line in lines if line]
    marks = {w[0]: "".join(p for p in w if p.startswith("*")) for w in words if w[0] in by_label}
    assert marks == {"all": "*", "most": "*2/3", "few": "*1/3", "none": ""}
    assert "TS ↑ (null)" in printed(table)


def test_a_lowered_class_has_a_sign_of_its_own(row, score, printed, metrics):
    def ts(label, *marks):
        details = [{"null_mean": 0.48, "outside": float(m != 0), "mark": m} for m in marks]
        return [row(label, seed=s, scores={"TS": score(1.0, details=d)}) for s, d in enumerate(details)]

    marks = {"up": (1, 1, 1), "down": (-1, -1, -1), "once": (0, -1, 0), "torn": (1, -1, 1), "none": (0, 0, 0)}
    table = build([r for label, signs in marks.items() for r in ts(label, *signs)], metrics)
    lines = {line.split()[0]: line for line in printed(table).splitlines() if line}
    shown = {label: "".join(p for p in lines[label].split() if p[0] in "*†") for label in marks}
    assert shown == {"up": "*", "down": "†", "once": "†1/3", "torn": "*2/3†1/3", "none": ""}
    assert {r.label for r in only(table) if r.irrelevant} == {"once", "none"}
    legend = next(note for note in table.notes if "† lowers it" in note)
    for sign, count in re.findall(r"([*†])(\d/\d)?", "".join(shown.values())):
        assert f"{sign}{'k/n' if count else ' '}" in legend, "each mark that stands in a cell is explained"
    assert r"\dag" in render(table, "tex")
    lowered = {r["label"]: r["lowers_class_seeds"] for r in csv.DictReader(io.StringIO(render(table, "csv")))}
    assert lowered == {"up": "0", "down": "3", "once": "1", "torn": "1", "none": "0"}


def test_seconds_include_an_equal_share_of_what_explanations_have_in_common(row, printed, metrics):
    first = [row("a", 0) | {"shared_seconds": 30.0}, row("a", 0, rank=2) | {"shared_seconds": 30.0}]
    others = [row("a", 1) | {"class": c, "shared_seconds": 0.0} for c in ("ant", "bee")]
    table = build([*first, *others, row("b", 0) | {"method": "alone"}], metrics)
    made, second, alone = table.sections[0].rows
    assert (made.seconds, made.shared_seconds, second.shared_seconds, alone.shared_seconds) == (48.0, 10.0, None, 0.0)
    assert " 58" in printed(table)
    assert "an equal share of the work that explanations of a method have in common" in printed(table)
    assert table.sections[0].notes[-1].endswith(": a 10.0")


def test_recovery_and_seconds_stand_once_a_method(row, score, printed, metrics):
    good = score(1.0, variant="", spread=None, details={"chance": 0.35})
    rows = [row(rank=1, overall={"recovery": good}), row(rank=2)]
    table = build(rows, metrics)
    first, second = only(table)
    assert Column("recovery", "", "higher", whole=True) in first.values
    assert (second.values, second.seconds, first.seconds) == ({}, None, 48.0)
    assert "recovery ↑ (chance)" in printed(table)
    assert "1.00 (.35)" in printed(table)


def test_people_see_the_first_concepts_and_machines_all(row, printed, metrics):
    table = build([row(rank=r, concept=f"concept{r}") for r in (1, 2, 3, 4, 5)], metrics)
    assert "concept3" in printed(table)
    assert "concept4" not in printed(table)
    assert "the first 3 concepts a method" in printed(table)
    assert "concept5" in render(table, "csv")
    assert "concept5" in render(table, "json")


def test_markup_is_escaped(row, score, printed, metrics):
    evil = "a|b \\ <img> 50%_$x\n\x1b[31m & [red]"
    table = build([row(concept=evil, scores={"CS": score(0.5)})], metrics)
    line = next(x for x in render(table, "md").splitlines() if "a\\|b" in x)
    assert line.replace("\\|", "").count("|") == 5  # method, concept, CS, seconds
    assert "\\<img>" in line
    tex = render(table, "tex")
    assert r"a\textbar{}b \textbackslash{} \textless{}img\textgreater{} 50\%\_\$x" in tex
    assert r"\& [red]" in tex
    assert "\x1b" not in printed(table)
    assert "[red]" in printed(table)


def test_a_narrow_terminal_loses_no_column(row, score, printed, metrics):
    scores = {m: score(12.346) for m in ("TS", "CS", "ED")}
    table = build([row(concept="a rather long name of a concept", scores=scores)], metrics)
    shown = printed(table, 50)
    assert max(map(len, shown.splitlines())) <= 50
    assert shown.count("12.35 ± .05") == 3


def test_csv_and_json_have_full_precision(row, score, metrics):
    table = build([row(scores={"CS": score(1 / 3)})], metrics)
    assert next(csv.DictReader(io.StringIO(render(table, "csv"))))["value"] == repr(1 / 3)
    cell = json.loads(render(table, "json"))["sections"][0]["rows"][0]["values"][0]
    assert (cell["value"], cell["by_seed"]) == (1 / 3, {"0": 1 / 3})


def test_write_all_replaces_and_leaves_nothing_else(row, metrics, tmp_path):
    for concept in ("old", "new"):
        paths = write_all(build([row(concept=concept)], metrics), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["table.csv", "table.json", "table.md", "table.tex"]
    assert all("new" in p.read_text() and "old" not in p.read_text() for p in paths)


def test_a_failed_write_leaves_the_old_file(row, metrics, tmp_path, monkeypatch):
    write_all(build([row(concept="old")], metrics), tmp_path)
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_all(build([row(concept="new")], metrics), tmp_path)
    assert "old" in (tmp_path / "table.md").read_text()
    assert len(list(tmp_path.iterdir())) == 4


def test_an_unknown_format_names_the_nearest(metrics):
    with pytest.raises(UsageError, match="did you mean 'json'"):
        render(build([], metrics), "jsn")


def test_importing_the_report_is_light():
    code = "import sys, xcore.report; print(*sorted({heavy!r} & set(sys.modules)))"
    heavy = {"rich", "torch", "numpy", "pandas", "pyarrow", "jinja2", "pydantic"}
    call = [sys.executable, "-c", code.format(heavy=heavy)]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout == "\n"
