"""The concepts of an explanation as rows, and `xcore explain`, which prints them without scoring unless it is asked."""

from __future__ import annotations

import io
import json

import pytest

from xcore.api import bench
from xcore.cli.main import main
from xcore.contract import Concept, Explanation
from xcore.report import build, show_concepts
from xcore.report.concepts import EVIDENCE, SHOWN, concept_rows


def made(*concepts):
    return Explanation("m", "zebra", "drop of the logit", concepts)


def printed(concepts, row, width=None, **more):
    rows = [row(**given, **more) for given in concepts]
    out = io.StringIO()
    show_concepts(build(rows, {}), rows, out, width)
    return out.getvalue()


def test_rows_hold_words_that_are_not_the_name_importance_and_evidence():
    stripes = Concept("stripes", 0.5, words=("Stripes", "bands", "lines"), evidence={"p": 0.01, "odd": 3})
    first, second = concept_rows(made(stripes, Concept("C2", -0.25)))
    assert first == {
        "rank": 1,
        "concept": "stripes",
        "words": ["bands", "lines"],
        "importance": 0.5,
        "importance_is": "drop of the logit",
        "evidence": {"p": 0.01, "odd": 3.0},
    }
    assert (second["rank"], second["words"], second["importance"], second["evidence"]) == (2, [], -0.25, {})


def test_the_unit_is_said_once_and_only_the_evidence_that_there_is_has_a_column(row):
    concepts = concept_rows(made(Concept("a", 0.5, evidence={"p": 0.012}), Concept("b", 0.0004)))
    said = printed(concepts, row)
    assert said.count("drop of the logit") == 1
    head, *_ = (line for line in said.splitlines() if "Concept" in line)
    assert head.split() == ["Concept", "Importance", "p"]
    assert "1   a              0.500   0.012" in said
    assert "2   b            4.0e-04" in said


def test_what_is_not_shown_is_counted(row):
    said = printed(concept_rows(made(*(Concept(f"C{i}", 1.0) for i in range(SHOWN + 2)))), row)
    assert f"the first {SHOWN} of {SHOWN + 2} concepts" in said
    assert f"C{SHOWN}" not in said


def test_columns_that_do_not_fit_are_printed_below(row):
    evidence = dict.fromkeys(EVIDENCE, 0.5)
    said = printed(concept_rows(made(Concept("stripes", 0.5, evidence=evidence))), row, width=60)
    assert max(map(len, said.splitlines())) <= 60
    assert said.count("stripes") > 1


def run_command(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_explain_scores_only_if_asked(tmp_path, monkeypatch, capsys):
    words = ["explain", "noise", "--class", "zebra", "--samples", "8", "--out", str(tmp_path / "run"), "--json"]
    assert not run_command(monkeypatch, *words)
    *rows, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["scores"] for row in rows] == [{}] * len(rows)
    assert {type(row["importance"]) for row in rows} == {float}
    assert not list((tmp_path / "run" / "scores").iterdir())
    assert not run_command(monkeypatch, *words, "--metrics", "RCS")
    *rows, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(rows[0]["scores"]) == {"RCS"}
    assert last["cells"]["cached"] == 1  # explained once
    assert not run_command(monkeypatch, *words[:-1], "--metrics", "RCS")
    (head,) = (line for line in capsys.readouterr().out.splitlines() if "Concept" in line)
    assert "Importance" in head
    assert "RCS" in head


def test_a_bench_without_metrics_and_a_report_of_it_show_the_concepts(tmp_path):
    run = bench(["noise"], controls=[], metrics=[], seeds=[0], budget={"samples": 8}, out=tmp_path / "run")
    assert not run.broken
    assert [row["scores"] for row in run.rows] == [{}] * len(run.rows)
    assert "CS" not in (run.path / "table.md").read_text("utf-8")


def test_an_effect_is_shown_beside_an_importance_in_another_unit(row):
    in_errors = concept_rows(made(Concept("stripes", 8.0, evidence={"effect": 0.25})))
    assert "effect" in printed(in_errors, row)
    assert "effect" not in printed(concept_rows(made(Concept("stripes", 0.25, evidence={"effect": 0.25}))), row)
