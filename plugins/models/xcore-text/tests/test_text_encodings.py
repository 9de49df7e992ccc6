"""Tables and folders in other encodings: read where a file says its encoding, otherwise named with what to do."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from text_files import all_texts, write_folder
from xcore_text.fingerprint import holds_texts
from xcore_text.folder import TextFolder
from xcore_text.options import TableOptions, TextsOptions
from xcore_text.table import Table

from xcore.contract import UsageError
from xcore.inputs.splits import SPLITS

CAFE = [
    ("a nice café in a good place", "good"),
    ("a grim café", "très mauvais"),
    ("grim", "très mauvais"),
    ("ok", "good"),
]


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom", "utf-32"])
def test_utf_8_and_what_a_byte_order_mark_says_is_read(encoding: str, tmp_path: Path) -> None:
    bom = encoding == "utf-16-be-bom"
    content = (codecs.BOM_UTF16_BE if bom else b"") + as_csv(CAFE).encode("utf-16-be" if bom else encoding)
    (tmp_path / "t.csv").write_bytes(content)
    assert holds_texts(str(tmp_path / "t.csv"))
    data = Table(TableOptions(), str(tmp_path / "t.csv"))
    assert data.classes == ("good", "très mauvais")
    assert data.skipped == ()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_another_encoding_is_named_with_the_lines_that_read_or_convert_it(
    suffix: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / f"t.{suffix}"
    text = as_csv(CAFE).replace(",", "\t" if suffix == "tsv" else ",")
    if suffix == "jsonl":
        text = "".join(json.dumps({"text": t, "label": c}, ensure_ascii=False) + "\n" for t, c in CAFE)
    path.write_bytes(text.encode(encoding))
    with pytest.raises(UsageError) as caught:
        Table(TableOptions(), str(path))
    assert f"t.{suffix} is not UTF-8 (line {1 if suffix == 'jsonl' else 2}, byte 0xe9)" in caught.value.message
    assert "reads as cp1252, such as 'café'" in caught.value.message
    assert "--set table.encoding=cp1252" in caught.value.hint
    assert f"iconv -f cp1252 -t utf-8 {path} > utf8.{suffix}" in caught.value.hint
    data = Table(TableOptions(encoding="cp1252"), str(path))
    assert data.classes == ("good", "très mauvais")
    assert sum(len(all_texts(data, split)) for split in SPLITS) == 4


def test_a_file_of_two_encodings_is_read_line_by_line_or_without_the_lines_that_are_not_utf_8(tmp_path: Path) -> None:
    first, *rest = as_csv(CAFE).splitlines(keepends=True)
    content = first.encode() + rest[0].encode() + "".join(rest[1:]).encode("cp1252")
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"mixes encodings: of 3 lines .* 2 are not UTF-8.*table\.encoding=mixed"):
        Table(TableOptions(), str(tmp_path / "t.csv"))
    mixed = Table(TableOptions(encoding="mixed"), str(tmp_path / "t.csv"))
    assert mixed.classes == ("good", "très mauvais")
    assert mixed.skipped == ()
    assert len(Table(TableOptions(encoding="utf-8"), str(tmp_path / "t.csv")).skipped) == 2


def test_no_encoding_is_named_that_is_not_likely(tmp_path: Path) -> None:
    rows = [("плохой фильм", "плохо"), ("хороший фильм", "хорошо")]
    (tmp_path / "t.csv").write_bytes(as_csv(rows).encode("cp1251"))
    with pytest.raises(UsageError, match=r"no encoding is likely.*table\.encoding=ENCODING, such as cp1251"):
        Table(TableOptions(), str(tmp_path / "t.csv"))
    assert Table(TableOptions(encoding="cp1251"), str(tmp_path / "t.csv")).classes == ("плохо", "хорошо")
    (tmp_path / "t.csv").write_bytes(as_csv(rows).encode("utf-16-le"))
    with pytest.raises(UsageError, match=r"by its zero bytes it is UTF-16.*table\.encoding=utf-16-le"):
        Table(TableOptions(), str(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_bytes(as_csv(rows).encode())
    with pytest.raises(UsageError, match=r"cannot be read as ascii"):
        Table(TableOptions(encoding="ascii"), str(tmp_path / "t.csv"))
    with pytest.raises(ValueError, match=r"unknown encoding 'cp1521' \(did you mean 'cp125"):
        TableOptions(encoding="cp1521")


def test_folders_in_another_encoding_are_read_in_it(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "films")
    (tmp_path / "films" / "pos" / "a.txt").write_bytes("café".encode("cp1252"))
    (tmp_path / "films" / "neg" / "b.txt").write_bytes("à la carte".encode())
    with pytest.raises(UsageError, match=r"read it with --set texts\.encoding=mixed"):
        TextFolder(TextsOptions(), root)
    data = TextFolder(TextsOptions(encoding="mixed"), root)
    assert {"café", "à la carte"} <= {text for split in SPLITS for text in all_texts(data, split)}


def test_the_name_of_a_class_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "films") + b"/tr\xe8s bien"
    try:
        os.makedirs(folder)
    except OSError:
        pytest.skip("this file system keeps names as UTF-8 only")
    (Path(os.fsdecode(folder)) / "a.txt").write_text("nice")
    with pytest.raises(UsageError, match=r"is not UTF-8, and reads as cp1252 as 'très bien'"):
        TextFolder(TextsOptions(), str(tmp_path / "films"))
