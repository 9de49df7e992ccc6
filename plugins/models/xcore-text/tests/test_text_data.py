"""Tables and folders of texts: splits, bad input, classes, concepts, fingerprints."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_files import all_texts, write_csv, write_folder
from xcore_text.fingerprint import table as table_fingerprint
from xcore_text.fingerprint import texts as texts_fingerprint
from xcore_text.folder import TextFolder
from xcore_text.options import TableOptions, TextsOptions
from xcore_text.table import Table

from xcore.contract import MissingError, Ref, UsageError
from xcore.inputs.splits import SPLITS
from xcore.inputs.words import content_words
from xcore.registry import Registry
from xcore.testing import DatasetTests, OptionsTests

ROWS = [(f"the {word} number {i}", label) for i in range(30) for word, label in (("nice", "good"), ("grim", "bad"))]


@pytest.fixture
def reviews(tmp_path: Path) -> str:
    return write_csv(tmp_path / "reviews.csv", ROWS, ("review", "sentiment"))


def test_splits_share_nothing_and_cover_all(reviews: str) -> None:
    data = Table(TableOptions(), reviews)
    assert data.modality == "text"
    assert data.classes == ("bad", "good")
    parts = [all_texts(data, split) for split in SPLITS]
    assert [len(p) for p in parts] == [20, 20, 20]
    assert set.union(*parts) == {text for text, _ in ROWS}
    assert all(len(all_texts(data, split, "bad")) == 10 for split in SPLITS)
    assert data.skipped == ()


def test_draws_follow_the_seed_and_splits_do_not(reviews: str) -> None:
    data = Table(TableOptions(), reviews)
    one, same, other = (data.samples("good", "train", 4, seed) for seed in (0, 0, 1))
    assert one.ids == same.ids != other.ids
    assert one.ids[0].startswith("reviews.csv/")
    assert ROWS[int(one.ids[0].split("/")[1]) - 1][0] == one.texts[0]
    assert one.labels is not None
    assert one.labels.tolist() == [1] * 4
    again = Table(TableOptions(split_seed=1), reviews)
    assert all_texts(again, "train") != all_texts(data, "train")


def test_vocabulary_is_of_the_training_texts(reviews: str) -> None:
    data = Table(TableOptions(), reviews)
    assert data.vocabulary == content_words(all_texts(data, "train"))
    assert set(data.vocabulary) == {"number", "nice", "grim"}


def test_fewer_than_asked_for_is_noted_once(reviews: str) -> None:
    data = Table(TableOptions(), reviews)
    for _ in range(2):
        assert len(data.samples("bad", "explain", 11, 0)) == 10
    assert data.notes == ["class 'bad', split 'explain': there are 10 texts, 11 were requested; all of them are used"]


def as_tsv(path: Path) -> str:
    return write_csv(path.with_suffix(".tsv"), ROWS, ("text", "label"), "\t")


def as_jsonl(path: Path) -> str:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in ROWS), encoding="utf-8")
    return str(path)


def as_parquet(path: Path) -> str:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = path.with_suffix(".parquet")
    parquet.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [c for _, c in ROWS]}), path)
    return str(path)


@pytest.mark.parametrize("write", [as_tsv, as_jsonl, as_parquet])
def test_every_format_gives_the_same(write: Callable[[Path], str], reviews: str, tmp_path: Path) -> None:
    data, known = Table(TableOptions(), write(tmp_path / "other")), Table(TableOptions(), reviews)
    assert data.classes == known.classes
    for split in SPLITS:
        assert all_texts(data, split, "bad") == all_texts(known, split, "bad")


def test_names_of_labels_in_a_parquet_file(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}
    made = pa.table({"text": [f"text {i}" for i in range(12)], "label": [i % 2 for i in range(12)]})
    made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(made, tmp_path / "named.parquet")
    data = Table(TableOptions(), str(tmp_path / "named.parquet"))
    assert data.classes == ("neg", "pos")
    assert {int(t.split()[1]) % 2 for t in data.samples("pos", "train", 9, 0).texts} == {1}


def test_parquet_without_pyarrow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"")
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match="pip install pyarrow"):
        Table(TableOptions(), str(tmp_path / "t.parquet"))


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"nothing at all")
    with pytest.raises(UsageError, match=r"t\.parquet cannot be read as a Parquet file"):
        Table(TableOptions(), str(tmp_path / "t.parquet"))


def test_columns_are_guessed_and_named_wrong_ones_refused(tmp_path: Path) -> None:
    rows = [(i, f"some text {i}", i % 2) for i in range(12)]
    path = write_csv(tmp_path / "t.csv", rows, ("id", "Sentence", "Class"))
    assert Table(TableOptions(), path).classes == ("0", "1")
    with pytest.raises(UsageError, match=r"unknown column of t.csv: 'sentense' \(did you mean 'Sentence'\?\)"):
        Table(TableOptions(text="sentense"), path)
    odd = write_csv(tmp_path / "odd.csv", rows, ("a", "b", "c"))
    with pytest.raises(UsageError, match=r"no column 'text'.*text=COLUMN, one of a, b, c"):
        Table(TableOptions(), odd)
    with pytest.raises(UsageError, match=r"no column 'label'.*label=COLUMN"):
        Table(TableOptions(text="b"), odd)
    assert len(all_texts(Table(TableOptions(text="b", label="c"), odd), "train")) == 4


def test_names_for_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"text {i}", "label": float(i % 11)}) for i in range(66)))
    assert Table(TableOptions(), str(path)).classes == tuple(str(i) for i in range(11))
    two = write_csv(tmp_path / "two.csv", [(f"text {i}", i % 2) for i in range(12)], ("text", "label"))
    data = Table(TableOptions(classes=("negative", "positive")), two)
    assert data.classes == ("negative", "positive")
    assert {int(t.split()[1]) % 2 for t in data.samples("positive", "train", 9, 0).texts} == {1}
    with pytest.raises(UsageError, match="2 labels but there are 1 class names"):
        Table(TableOptions(classes=("negative",)), two)


def test_bad_rows_are_counted_with_reasons(tmp_path: Path) -> None:
    good = b"".join(f"fine text {i},{'ab'[i % 2]}\n".encode() for i in range(12))
    bad = b'text,label\n ,a\nno label,\ncaf\xe9 closed,a\nonly text\ntoo,many,cells\n"open "quote,a\n'
    (tmp_path / "t.csv").write_bytes(bad + good)
    data = Table(TableOptions(encoding="utf-8"), str(tmp_path / "t.csv"))
    assert data.classes == ("a", "b")
    assert sum(len(all_texts(data, split)) for split in SPLITS) == 12
    assert data.skipped[:5] == (
        "t.csv, row 1: empty text",
        "t.csv, row 2: no label in column 'label'",
        "t.csv, row 3: not UTF-8",
        "t.csv, row 4: no label in column 'label'",
        "t.csv, row 5: it has 3 cells, the heading has 2",
    )
    assert data.skipped[5].startswith("t.csv, row 6: not CSV")
    assert len(data.skipped) == 6


def test_quotes_may_be_plain_text(tmp_path: Path) -> None:
    lines = "".join(f'"so called" text {i}\t{i % 2}\n' for i in range(9))
    (tmp_path / "t.tsv").write_text(f"text\tlabel\n{lines}", encoding="utf-8")
    data = Table(TableOptions(quotes=False), str(tmp_path / "t.tsv"))
    assert '"so called" text' in next(iter(all_texts(data, "train")))
    assert data.skipped == ()


def test_bad_json_lines_are_counted(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"text {i}", "label": bool(i % 2)}) for i in range(6)]
    lines = [
        "[" * 100_000,
        "{",
        "[1]",
        '{"text": "x", "label": [1]}',
        '{"text": null, "label": "a"}',
        '{"text": 3, "label": "a"}',
        '{"text": "x"}',
        *good,
    ]
    content = (
        "\n".join(lines).encode() + b'\n{"text": "caf\xe9", "label": "True"}\n\n{"text": "\\ud83d", "label": "True"}\n'
    )
    (tmp_path / "t.jsonl").write_bytes(content)
    data = Table(TableOptions(encoding="utf-8"), str(tmp_path / "t.jsonl"))
    assert data.classes == ("False", "True")
    reasons = [line.split(": ", 1)[1] for line in data.skipped]
    assert reasons[0].startswith("not JSON")
    assert reasons[1].startswith("not JSON")
    assert reasons[2:] == [
        "not a JSON object",
        "no label in column 'label'",
        "empty text",
        "no text in column 'text'",
        "no label in column 'label'",
        "not UTF-8",
        "not UTF-8",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"text,label\n", "no texts with a class"),
        ("t.csv", b"text,label\n,a\n", r"no texts with a class.*skipped inputs: 1.*empty text"),
        ("t.jsonl", b"", "holds no JSON object"),
        ("t.xlsx", b"", "is no table.*must end in"),
    ],
)
def test_files_without_a_text_are_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        Table(TableOptions(), str(tmp_path / name))
    with pytest.raises(UsageError, match="did you mean"):
        Table(TableOptions(), str(tmp_path / f"{name}x"))


def test_a_split_column_is_kept(tmp_path: Path) -> None:
    marks = ["train", "test", "validation", "odd"]
    rows = [(f"text {i}", "ab"[i // 4 % 2], marks[i % 4]) for i in range(32)]
    data = Table(TableOptions(), write_csv(tmp_path / "t.csv", rows, ("text", "label", "split")))
    for split, mark in (("train", "train"), ("heldout", "test"), ("explain", "validation")):
        assert all_texts(data, split) == {t for t, _, m in rows if m == mark}
    assert len(data.skipped) == 8
    assert "its split 'odd' is none of train" in data.skipped[0]


def test_one_other_split_serves_twice_and_one_alone_is_dealt(tmp_path: Path) -> None:
    rows = [(f"text {i}", "ab"[i // 2 % 2], ("train", "test")[i % 2]) for i in range(24)]
    data = Table(TableOptions(), write_csv(tmp_path / "t.csv", rows, ("text", "label", "split")))
    assert all_texts(data, "train") == {t for t, _, m in rows if m == "train"}
    parts = all_texts(data, "explain"), all_texts(data, "heldout")
    assert [len(p) for p in parts] == [6, 6]
    assert not parts[0] & parts[1]
    data = Table(
        TableOptions(), write_csv(tmp_path / "u.csv", [(*r[:2], "test") for r in rows], ("text", "label", "split"))
    )
    assert [len(all_texts(data, split)) for split in SPLITS] == [8, 8, 8]


def test_texts_that_come_again_never_reach_two_splits(tmp_path: Path) -> None:
    rows = [(f"text {i}", "a", m) for i in range(4) for m in ("test", "train", "validation")]
    rows += [("text 0", "b", "test"), *((f"other {i}", "b", m) for i, (*_, m) in enumerate(rows))]
    data = Table(TableOptions(), write_csv(tmp_path / "t.csv", rows, ("text", "label", "split")))
    assert all_texts(data, "train", "a") == {"text 0", "text 1", "text 2", "text 3"}
    assert not all_texts(data, "train") & all_texts(data, "heldout")
    assert data.notes[0] == "8 texts of t.csv repeat another text and are left out"
    assert data.skipped == ("t.csv/13: the same text as t.csv/2, which is labelled 'a'",)


def test_a_folder_a_class(tmp_path: Path) -> None:
    data = TextFolder(TextsOptions(), write_folder(tmp_path / "films"))
    assert data.classes == ("neg", "pos")
    x = data.samples("pos", "train", 2, 0)
    assert len(x) == 2
    assert all(i.startswith("films/pos/") for i in x.ids)
    assert all(t.startswith("a pos text") for t in x.texts)


def test_the_layout_of_the_imdb_reviews(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "aclImdb", ("train", "test"))
    (tmp_path / "aclImdb" / "train" / "unsup").mkdir()
    (tmp_path / "aclImdb" / "train" / "unsup" / "0.txt").write_text("no class")
    (tmp_path / "aclImdb" / "README").write_text("about")
    data = TextFolder(TextsOptions(), root)
    assert data.classes == ("neg", "pos")
    assert all("train" in t for t in all_texts(data, "train"))
    assert len(all_texts(data, "train")) == 12
    assert all("test" in t for split in ("explain", "heldout") for t in all_texts(data, split))
    assert [line.rpartition(": ")[2] for line in data.skipped] == ["texts without a class"]


def test_bad_files_are_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "films")
    (tmp_path / "films" / "pos" / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"1 of \d+ files are not UTF-8; the first, .*a\.txt.*reads as cp1252"):
        TextFolder(TextsOptions(), root)
    (tmp_path / "films" / "pos" / "b.txt").write_text("  \n")
    (tmp_path / "films" / "neg" / "c.html").write_text("<p>")
    (tmp_path / "films" / "top.txt").write_text("a text without a class")
    data = TextFolder(TextsOptions(encoding="utf-8"), root)
    reasons = sorted(line.removeprefix(str(tmp_path)) for line in data.skipped)
    assert reasons == [
        "/films/neg/c.html: not a .txt file",
        "/films/pos/a.txt: not UTF-8",
        "/films/pos/b.txt: empty",
        "/films/top.txt: is beside the folders of the classes, not in one of them",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no texts in"):
        TextFolder(TextsOptions(), str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="did you mean"):
        TextFolder(TextsOptions(), str(tmp_path / "film"))


def test_concepts_from_lines_and_folders(tmp_path: Path, reviews: str) -> None:
    root = tmp_path / "concepts"
    (root / "long").mkdir(parents=True)
    (root / "praise.txt").write_text("good, great\n\nsuperb\n", encoding="utf-8")
    (root / "long" / "one.txt").write_text("one long\nexample", encoding="utf-8")
    (root / "long" / "two.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"two\.txt is not UTF-8 .*encoding=cp1252"):
        Table(TableOptions(concepts=str(root)), reviews)
    data = Table(TableOptions(concepts=str(root), encoding="utf-8"), reviews)
    assert data.concepts == ("long", "praise")
    x = data.concept("praise", 2, 0)
    assert set(x.texts) == {"good, great", "superb"}
    assert set(x.ids) == {"concepts/praise.txt/1", "concepts/praise.txt/3"}
    assert data.concept("long", 1, 0).texts == ("one long\nexample",)
    assert "not UTF-8" in data.skipped[0]
    with pytest.raises(UsageError, match="did you mean 'praise'"):
        data.concept("prais", 2, 0)
    (root / "none.txt").write_text("\n")
    with pytest.raises(UsageError, match=r"'none'.*has no text"):
        Table(TableOptions(concepts=str(root), encoding="utf-8"), reviews)


def test_unknown_names_and_defaults(reviews: str) -> None:
    data = Table(TableOptions(classifier="textcnn:model"), reviews)
    assert data.defaults == {"classifier": "textcnn:model"}
    assert data.truth("any") is None
    with pytest.raises(UsageError, match="did you mean 'good'"):
        data.samples("goood", "train", 1, 0)
    with pytest.raises(UsageError, match="unknown split"):
        data.samples("good", "test", 1, 0)  # type: ignore[arg-type]


def test_fingerprints_follow_the_content(tmp_path: Path, reviews: str) -> None:
    one = table_fingerprint(TableOptions(), reviews)
    assert table_fingerprint(TableOptions(), reviews) == one
    Path(reviews).write_text("text,label\nother,a\n")
    assert table_fingerprint(TableOptions(), reviews) != one
    root = write_folder(tmp_path / "films")
    two = texts_fingerprint(TextsOptions(), root)
    (tmp_path / "films" / "pos" / "0.txt").write_text("another text")
    assert texts_fingerprint(TextsOptions(), root) != two


def test_cards_make_them(reviews: str, tmp_path: Path, registry: Registry) -> None:
    assert isinstance(registry.create("dataset", Ref(f"table:{reviews}")), Table)
    assert isinstance(registry.create("dataset", Ref(f"texts:{write_folder(tmp_path / 'films')}")), TextFolder)


class TestTable(DatasetTests):
    @pytest.fixture
    def data(self, reviews: str, tmp_path: Path) -> Table:
        (tmp_path / "concepts").mkdir()
        (tmp_path / "concepts" / "praise.txt").write_text("good, great\nsuperb\nfine")
        return Table(TableOptions(concepts=str(tmp_path / "concepts")), reviews)


class TestTexts(DatasetTests):
    @pytest.fixture
    def data(self, tmp_path: Path) -> TextFolder:
        return TextFolder(TextsOptions(), write_folder(tmp_path / "films", ("train", "test")))


class TestTableOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[TableOptions]:
        return TableOptions


class TestTextsOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[TextsOptions]:
        return TextsOptions


def test_spellings_of_a_label_are_one_class_and_counted(tmp_path: Path) -> None:
    labels = ["negative", "Negative ", "negative", "NEGATIVE", "very_good", "very good", "very good", "-1", "1"]
    path = write_csv(tmp_path / "t.csv", [(f"text {i}", label) for i, label in enumerate(labels)], ("text", "label"))
    data = Table(TableOptions(), path)
    assert data.classes == ("-1", "1", "negative", "very good")
    assert data.notes[0].startswith("3 text(s) have labels that differ from others in spelling only")
    assert "1 of 'NEGATIVE' with 'negative'" in data.notes[0]


def test_a_file_says_what_the_classes_are_called_in_the_classifier(reviews: str, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("good;positive;LABEL_1\nbad;negative\n", encoding="utf-8")
    data = Table(TableOptions(names=str(names)), reviews)
    assert data.classes == ("negative", "positive")
    assert data.aliases == {"positive": ("good", "LABEL_1"), "negative": ("bad",)}
    assert all("nice" in text for text in data.samples("positive", "train", 5, 0).texts)
    plain = table_fingerprint(TableOptions(), reviews)
    assert table_fingerprint(TableOptions(names=str(names)), reviews) != plain
    names.write_bytes("good;tr\xe8s bien\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"names\.csv is not UTF-8 .*iconv -f cp1252 -t utf-8"):
        Table(TableOptions(names=str(names)), reviews)
