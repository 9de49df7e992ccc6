"""CSV files that we write: no name is run by a spreadsheet; and headings that are no headings are refused at once."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

from xcore.base.csv_files import csv_text
from xcore.contract import UsageError
from xcore.findings import Column, Found, to_csv
from xcore.inputs.tables import first_row, read_table
from xcore.report import data
from xcore.report.table import Row, Section, Table

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\r=x", "=", "-", "-1-1"]
PLAIN = ["zebra", "a=b", "-1.5", "+2e-3", "-inf", "", "é", 'a "quoted", cell', "two\nlines"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_shown_as_text(text):
    (cell,) = [row["a"] for row in csv.DictReader(io.StringIO(csv_text(["a"], [{"a": text}]), newline=""))]
    assert cell == "'" + text.replace("\r", "\n")


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_are_kept(text):
    (row,) = csv.DictReader(io.StringIO(csv_text(["a", "b"], [{"a": text, "b": -1.5}]), newline=""))
    assert row == {"a": text, "b": "-1.5"}


def test_both_tables_of_ours_are_written_so():
    found = Found("", (Column("class", "class", ""), Column("p", "p", "")), ({"class": "=1+1", "p": -0.5},))
    assert to_csv(found) == "class,p\n'=1+1,-0.5\n"
    row = Row("@m", "+l", "failed", (0,), "-because of =this")
    table = Table((Section("data", "net", "=HYPERLINK()", (), (row,)),))
    (read,) = csv.DictReader(io.StringIO(data.to_csv(table)))
    assert [read[k] for k in ("class", "method", "label", "reason")] == [
        "'=HYPERLINK()",
        "'@m",
        "'+l",
        "'-because of =this",
    ]


@pytest.mark.parametrize("name", ["many.csv", "many.tsv", "many.jsonl"])
def test_very_many_names_in_a_heading_are_refused_at_once(tmp_path, name):
    few, many = (refusal_takes(tmp_path / name, names) for names in (10_001, 100_000))
    assert many < 40 * max(few, 0.01), "ten times the names may take ten times as long, not a hundred times"


def refusal_takes(path, names):
    """Seconds of the processor until a heading of so many names is refused."""
    columns = [f"c{i}" for i in range(names)]
    text = (
        json.dumps(dict.fromkeys(columns, 1))
        if path.suffix == ".jsonl"
        else ("\t" if path.suffix == ".tsv" else ",").join(columns)
    )
    path.write_text(text + "\n")
    began = time.process_time()
    with pytest.raises(UsageError, match="10000 that are read") as error:
        read_table(path)
    assert len(str(error.value)) < 200
    if path.suffix != ".jsonl":  # of which it reads the beginning only
        with pytest.raises(UsageError, match="10000 that are read"):
            first_row(path)
    return time.process_time() - began
