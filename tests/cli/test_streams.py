"""What is printed comes out in every encoding, for people in ASCII where it must be, and into a closed pipe."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from xcore.base.streams import holds_all, printable, printable_output
from xcore.cli.main import main

PLUGIN = """
from xcore import hookimpl

@hookimpl
def register_explainers(register):
    register("caf\u00e9", "x:y", summary="r\u00e9sum\u00e9 \u2192 \u732b \u2264 3 \u00d7 4")
"""
SAMPLE = "TS ↑ 0.5 ± .1 · 3 × 4 → é 猫 \udcff"


def run(words, stream, monkeypatch):
    """The exit code of a command whose stdout is this stream."""
    monkeypatch.setattr("sys.argv", ["xcore", *words])
    monkeypatch.setattr("sys.stdout", stream)
    with pytest.raises(SystemExit) as left:
        main()
    stream.flush()
    return left.value.code or 0


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", "TS ^ 0.5 +- .1 - 3 x 4 -> \\xe9 \\u732b \\udcff"),
        ("latin-1", "TS ^ 0.5 ± .1 · 3 × 4 -> é \\u732b \\udcff"),
        ("utf-8", SAMPLE.replace("\udcff", "\\udcff")),
        (None, SAMPLE.replace("\udcff", "\\udcff")),
    ],
)
def test_characters_that_an_encoding_lacks_have_a_counterpart_or_are_escaped(encoding, said):
    assert printable(SAMPLE, encoding) == said
    said.encode(encoding or "utf-8")


def test_only_unicode_holds_all():
    assert [holds_all(name) for name in ("utf-8", "UTF8", "utf_16", None, "cp1252", "ascii")] == [True] * 4 + [
        False
    ] * 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run without any model."""
    from xcore.api import bench

    out = tmp_path_factory.mktemp("run") / "run"
    bench(["noise"], controls=[], metrics=["RCS"], seeds=[0], budget={"samples": 6, "heldout": 6}, out=out)
    return out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize("words", [[], ["--json"], ["--format", "md"]])
def test_a_report_comes_out_in_every_encoding(finished, encoding, words, monkeypatch):
    stream = encoded(encoding)
    assert run(["report", str(finished), *words], stream, monkeypatch) == 0
    said = stream.buffer.getvalue().decode(encoding)
    assert "\\u" not in said
    assert "zebra" in said
    assert "RCS" in said
    if not words:
        assert ("RCS ↓" if encoding == "utf-8" else "RCS v") in said
    if not words and encoding == "ascii":  # columns are aligned, although +- is longer than the sign
        rows = [line for line in said.splitlines() if " | " in line]
        columns = {tuple(i for i, c in enumerate(line) if c == "|") for line in rows}
        assert len(columns) == 1


def test_files_are_utf8_whatever_the_output_is(finished, monkeypatch):
    assert run(["report", str(finished)], encoded("ascii"), monkeypatch) == 0
    assert "↓" in (finished / "table.md").read_text("utf-8")


def test_json_in_another_encoding_says_every_character(tmp_path, monkeypatch):
    monkeypatch.setenv("XCORE_PLUGINS", "")
    (tmp_path / "names.py").write_text(PLUGIN, encoding="utf-8")
    for encoding in ("ascii", "utf-8"):
        stream = encoded(encoding)
        words = ["show", "café", "--plugin", str(tmp_path / "names.py"), "--json"]
        assert run(words, stream, monkeypatch) == 0
        assert json.loads(stream.buffer.getvalue().decode(encoding))["summary"] == "résumé → 猫 ≤ 3 × 4"
    stream = encoded("ascii")
    assert run(words[:-1], stream, monkeypatch) == 0
    assert "explainer caf\\xe9: r\\xe9sum\\xe9 -> \\u732b <= 3 x 4" in stream.buffer.getvalue().decode("ascii")


def test_a_closed_pipe_is_no_error_and_what_runs_goes_on(finished, monkeypatch):
    for words, code in ((["list"], 0), (["report", str(finished), "--gate", "noise.RCS >= 2"], 1)):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            assert run(words, stream, monkeypatch) == code


def test_the_streams_are_given_back_and_a_full_disk_is_an_error():
    before = sys.stdout, sys.stderr
    with printable_output():
        assert sys.stdout is not before[0]
        print("é", end="")
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line(monkeypatch, capsys):
    with open("/dev/full", "w", buffering=1) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["xcore", "--version"])
        patch.setattr("sys.stdout", stream)
        with pytest.raises(SystemExit) as left:
            main()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("xcore: No space left on device")
