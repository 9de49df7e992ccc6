"""The long records of a table as CSV, as a pandas frame and as a Parquet file: the same rows, with proper types."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from xcore.api import bench
from xcore.cli.main import main
from xcore.report import build, render, to_pandas, write_parquet
from xcore.report.data import FIELDS, records

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"


@pytest.fixture
def table(row, score, metrics):
    """Two concepts and a whole explanation of one method, and a failed cell of another."""
    tested = score(0.9, variant="layer3", details={"null_mean": 0.5, "outside": 1.0})
    whole = score(1.0, variant="", spread=None, over="", n=0, details={"chance": 0.25})
    rows = [
        row(seed=0, scores={"TS": tested, "CS": score(1 / 3)}, overall={"recovery": whole}, words=["lines", "bars"]),
        row(seed=1, scores={"TS": tested, "CS": score(0.5)}, overall={"recovery": whole}),
        row(seed=0, rank=2, concept="a, b", scores={"TS": tested, "CS": score(None, variant="")}),
        row("eac", rank=None, concept=None, status="failed", reason="out of memory"),
    ]
    return build(rows, metrics)


def test_the_frame_has_the_rows_and_columns_of_the_csv(table):
    frame = to_pandas(table)
    read = pd.read_csv(io.StringIO(render(table, "csv")), dtype=dict(FIELDS))
    assert list(frame.columns) == list(read.columns) == list(FIELDS)
    assert len(frame) == 6
    pd.testing.assert_frame_equal(frame.replace("", pd.NA), read, check_exact=False, rtol=1e-15)


def test_the_frame_has_types_that_one_can_compute_with(table):
    frame = to_pandas(table)
    assert {name: str(frame[name].dtype) for name in FIELDS} == dict(FIELDS)
    measured = frame.dropna(subset="value").set_index(["rank", "metric"])
    assert measured.loc[(1, "CS"), "value"] == (1 / 3 + 0.5) / 2
    assert measured.loc[(1, "recovery"), ["whole_explanation", "chance"]].tolist() == [True, 0.25]
    assert measured.loc[(1, "TS"), ["n", "null_mean", "outside_null_seeds"]].tolist() == [2, 0.5, 2]
    missing = frame[frame.value.isna()]
    assert missing.reason.tolist() == ["no samples", "out of memory"]
    assert missing.metric.isna().tolist() == [False, True]
    assert frame.groupby("variant").value.count().to_dict() == {"": 1, "clip": 1, "layer3": 2}


def test_every_record_has_all_fields(table):
    assert {tuple(record) for record in records(table)} == {tuple(FIELDS)}


def test_an_empty_table_is_an_empty_frame_with_types(metrics, tmp_path):
    frame = to_pandas(build([], metrics))
    assert frame.empty
    assert {name: str(frame[name].dtype) for name in frame} == dict(FIELDS)
    assert pd.read_parquet(write_parquet(build([], metrics), tmp_path)).columns.tolist() == list(FIELDS)


def test_the_parquet_file_is_the_frame(table, tmp_path):
    path = write_parquet(table, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["table.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(path), to_pandas(table), check_exact=True)


def test_a_failed_write_leaves_the_old_parquet_file(table, tmp_path, monkeypatch):
    old = write_parquet(table, tmp_path).read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_parquet(table, tmp_path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [old]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the toy world."""
    wanted = {"plugins": [TOY], "data": "toy", "classes": ["red"], "metrics": ["brightness", "spread"], "controls": []}
    return bench(["toy"], out=tmp_path_factory.mktemp("toy") / "run", seeds=[0, 1], **wanted)


@pytest.fixture
def xcore(monkeypatch, capsys):
    """A function that runs the command line here and returns its exit code, stdout and stderr."""

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["xcore", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return command


def test_a_bench_as_a_frame(run):
    frame = run.to_pandas()
    assert frame.equals(to_pandas(run.table))
    assert set(frame.metric) == {"brightness", "spread"}
    wanted = [v.value for row in run.table.sections[0].rows for v in row.values.values()]
    assert frame.value.tolist() == wanted
    assert not frame.value.isna().any()


def test_the_report_writes_parquet_and_says_where(run, xcore):
    code, out, _ = xcore("report", run.path, "--format", "parquet")
    assert (code, out) == (0, f"saved {run.path}/table.parquet\n")
    assert pd.read_parquet(run.path / "table.parquet").equals(run.to_pandas())


def test_without_pyarrow_the_report_says_how_to_install_it(run, xcore, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (run.path / "table.parquet").unlink(missing_ok=True)
    code, out, err = xcore("report", run.path, "--format", "parquet")
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == (
        "xcore: a table in Parquet format needs pyarrow, which is not installed (pip install 'xcore-xai[parquet]')"
    )
    assert not (run.path / "table.parquet").exists()


def test_an_unknown_format_is_refused_before_the_run_is_read(tmp_path, xcore):
    code, _, err = xcore("report", tmp_path / "nowhere", "--format", "parket")
    assert (code, "did you mean 'parquet'?" in err) == (2, True)


def test_a_report_does_not_import_pandas(run):
    code = "import sys; from xcore.api import report; report(sys.argv[1]); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
