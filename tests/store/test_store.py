"""Records: whole or not at all, and read back as they were written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from xcore.base.files import write_if_changed
from xcore.base.seeding import seeded
from xcore.contract import Cell, Concept, Cost, Dictionary, Explanation, Ref, Samples, Score, UsageError, XcoreError
from xcore.session import read_json, slug, write_json, write_text
from xcore.store.codec import decode_score, encode_score
from xcore.store.records import Damaged, read_record, write_record
from xcore.store.run_directory import RunShape, Store


@pytest.fixture
def explanation(tmp_path):
    picture = tmp_path / "made.txt"
    picture.write_text("hello")
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(2, 3, 4, 6, generator=generator) * 255).round() / 255
    concept = Concept(
        "striped / texture",
        0.25,
        Samples("image", images, ("a", "b")),
        words=("stripes",),
        render="crop:4>6",
        source=torch.tensor([0, -1]),
        directions={"layer.1": torch.rand(5, generator=generator)},
        atom=1,
        maps=torch.tensor([[[0.0, 0.5], [1.0, 0.25]]]),
        local=torch.tensor([0.1]),
        evidence={"p": 0.5},
    )
    text = Concept("words", 0.1, Samples("text", ("one", "zwei"), ("0", "1")), parent=0)
    dictionary = Dictionary("layer.1", torch.rand(2, 5), torch.rand(3, 1, 2), "nnls", {"shift": torch.ones(5)})
    part = Explanation("m", "t", "u", (text,))
    return Explanation(
        "m",
        "t",
        "u",
        (concept, text),
        dictionary,
        (part,),
        ({"step": 1},),
        {"note.txt": picture},
        Cost(1.5),
        ("careful",),
    )


CELL = Cell("my label", Ref("m"), Ref("c"), Ref("folder:/x/y"), "../../etc", 3)


def test_round_trip(tmp_path, explanation):
    store = Store(tmp_path / "run")
    name = store.record_name(CELL, "abc")
    store.write(name, {"status": "ok"}, explanation)
    back = store.load("abc")
    one, two = explanation.concepts[0], back.concepts[0]
    assert torch.equal(one.samples.images, two.samples.images)
    assert torch.equal(one.directions["layer.1"], two.directions["layer.1"])
    assert torch.equal(one.maps, two.maps)
    assert torch.equal(one.source, two.source)
    assert torch.equal(one.local, two.local)
    assert (two.name, two.words, two.render, two.atom, two.evidence) == (
        one.name,
        one.words,
        one.render,
        1,
        {"p": 0.5},
    )
    assert back.concepts[1].samples.texts == ("one", "zwei")
    assert back.concepts[1].parent == 0
    assert torch.equal(back.dictionary.codes, explanation.dictionary.codes)
    assert torch.equal(back.dictionary.state["shift"], torch.ones(5))
    assert back.parts[0].concepts[0].name == "words"
    assert (back.trace, back.cost, back.notes) == (({"step": 1},), Cost(1.5), ("careful",))
    assert back.files["note.txt"].read_text() == "hello"


def test_names_from_users_never_leave_the_run_directory(tmp_path):
    store = Store(tmp_path / "run")
    path = store.write(store.record_name(CELL, "abc"), {"status": "failed"})
    assert path.parent == tmp_path / "run" / "explanations"
    assert slug("../..") == "x"


def test_files_outside_of_the_record_are_refused(tmp_path, explanation):
    store = Store(tmp_path / "run")
    evil = Explanation("m", "t", "u", explanation.concepts, files={"../evil": tmp_path / "made.txt"})
    with pytest.raises(XcoreError, match="outside"):
        store.write("x.1", {}, evil)
    assert not list((tmp_path / "run" / "explanations").iterdir())


def test_two_files_of_one_name_are_refused_before_one_is_lost(tmp_path, explanation):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(folder)
    part = Explanation("m", "p", "u", explanation.concepts, files={"x.txt": tmp_path / "b" / "x.txt"})
    whole = Explanation("m", "t", "u", explanation.concepts, parts=(part,), files={"x.txt": tmp_path / "a" / "x.txt"})
    with pytest.raises(XcoreError, match=r"method 'm' names two files 'x.txt'"):
        Store(tmp_path / "run").write("x.1", {}, whole)
    assert [(tmp_path / folder / "x.txt").read_text() for folder in ("a", "b")] == ["a", "b"]


def test_a_failed_write_leaves_nothing(tmp_path):
    store = Store(tmp_path / "run")

    def broken(folder):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.write("x.1", {"status": "ok"}, None, broken)
    assert not list((tmp_path / "run" / "explanations").iterdir())


def test_a_record_is_replaced(tmp_path):
    store = Store(tmp_path / "run")
    store.write("x.1", {"status": "failed"})
    store.write("x.1", {"status": "skipped"})
    assert store.read("1")["status"] == "skipped"


def test_records_of_another_process_are_seen_without_reading_the_folder_for_each_cell(tmp_path, monkeypatch):
    mine, other = Store(tmp_path / "run"), Store(tmp_path / "run")
    for i in range(3):
        mine.write(f"x.{i}", {"status": "failed"})
    folder, read = tmp_path / "run" / "explanations", []
    os.utime(folder, ns=(0, 0))  # nothing has changed for long
    listed = os.listdir
    monkeypatch.setattr("xcore.store.run_directory.os.listdir", lambda where: read.append(where) or listed(where))
    assert [mine.find(f"{i}") for i in range(3)] == [folder / f"x.{i}" for i in range(3)]
    assert not read  # it wrote them itself
    assert {mine.find(f"missing-{i}") for i in range(100)} == {None}
    assert len(read) == 1
    other.write("y.there", {"status": "failed"})
    assert mine.find("there") == folder / "y.there"
    (folder / "y.there").rename(folder / "z.there")
    assert mine.find("there") == folder / "z.there"
    (folder / "z.there" / "record.json").unlink()
    (folder / "z.there").rmdir()
    assert mine.find("there") is None


def test_nan_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir()) or all(p.name.startswith(".writing-") for p in tmp_path.iterdir())


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json"):
        read_json(tmp_path / "run.json")


def test_artifact_is_made_once_and_only_whole(tmp_path):
    store, made = Store(tmp_path / "run"), []

    def make(folder):
        made.append(1)
        (folder / "x").write_text("1")
        if len(made) == 1:
            raise RuntimeError("killed in the middle")

    with pytest.raises(RuntimeError):
        store.artifact("pool", {"k": 1}, make)
    first = store.artifact("pool", {"k": 1}, make)
    assert store.artifact("pool", {"k": 1}, make) == first
    assert len(made) == 2
    assert json.loads((first / "key.json").read_text())["k"] == 1
    assert store.artifact("pool", {"k": 2}, make) != first


def test_scores_round_trip(tmp_path):
    store = Store(tmp_path / "run")
    scores = [
        Score("TS", 0, 0.5, None, "layer", 0.1, "random sets", 20, (0.4, 0.6), {"p": 0.01}),
        Score("TS", 1, reason="x"),
    ]
    store.write_scores("1", scores, {"direction": "higher"})
    assert store.read_scores("1") == scores
    assert store.read_scores("2") is None
    assert decode_score(encode_score(scores[0])) == scores[0]


@pytest.mark.parametrize("forged", ["abc", [1], {"null_mean": None}, 3.5])
def test_scores_of_another_shape_are_damaged_whatever_their_checksum(tmp_path, forged):
    store = Store(tmp_path / "run")
    plain = encode_score(Score("TS", value=0.5))
    write_record(tmp_path / "run/scores/x.json", {"direction": "none", "scores": [{**plain, "details": forged}]})
    with pytest.raises(UsageError, match=r"scores\[0\].details"):
        store.read_scores("x")


@pytest.mark.parametrize(
    "sums", ["abc", {"a.json": 3}, {"a.json": [3]}, {"a.json": ["3", "abc"]}, {"a.json": [3, None]}]
)
def test_checksums_of_another_shape_are_damage_to_the_record(tmp_path, sums):
    write_record(tmp_path / "record.json", {"sums": sums})
    with pytest.raises(Damaged, match=r"record.json is damaged: sums"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("part", ["numerics", "distributions", "code", "files", "git"])
def test_a_run_record_of_another_shape_is_damaged_whatever_its_checksum(tmp_path, part):
    write_record(tmp_path / "run.json", {"plugins": [], "plan": {}, part: 1e308})
    with pytest.raises(UsageError, match=rf"{part} is 1e\+308 instead of an object"):
        read_record(tmp_path / "run.json", RunShape)
    write_record(tmp_path / "run.json", {"plugins": [], "plan": {}})  # of an older version
    assert read_record(tmp_path / "run.json", RunShape)["plan"] == {}


def test_a_score_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="either"):
        Score("TS")
    with pytest.raises(ValueError, match="either"):
        Score("TS", None, 1.0, "why")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        Store(tmp_path / "file" / "run")


def test_bytes_of_a_path_that_are_no_characters_are_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"data": "folder:d\udcffta", "class": "café"})
    assert read_json(tmp_path / "a.json") == {"data": "folder:d\udcffta", "class": "café"}
    write_text(tmp_path / "a.md", "d\udcffta café")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "d\\udcffta café"


def test_what_a_record_needs_is_on_the_disk_before_the_record_has_its_name(tmp_path, explanation, monkeypatch):
    """After a power failure, a record must not have its name and lack its content."""
    store, said = Store(tmp_path / "run"), []
    sync, rename = os.fsync, Path.rename

    def noted_sync(handle):
        said.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def noted_rename(self, target):
        said.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)

    def draw(folder):
        (folder / "picture.png").write_bytes(b"drawn")
        (folder / "gallery.json").write_text("{}")

    written = store.write("name.0123", {"status": "ok"}, explanation, draw)
    monkeypatch.undo()
    at = said.index("renamed")
    sums = store.read("0123")["sums"]
    assert {"record.json", "gallery.json", *(Path(name).name for name in sums)} <= set(said[:at])
    assert said[at + 1 :] == ["explanations"], "the new name"
    assert "picture.png" not in said, "it can be drawn again"
    assert len(said) <= len(sums) + 5, "and nothing is waited for twice"
    assert (written / "picture.png").is_file()


def test_a_file_that_says_it_already_is_left_alone(tmp_path):
    path = tmp_path / "table.md"
    for text in ("one", "one", "\udcff", "\udcff", "two"):
        before = path.stat().st_ino if path.exists() else 0
        was = path.read_bytes() if path.exists() else b""
        write_if_changed(path, text)
        assert (path.stat().st_ino == before) == (path.read_bytes() == was)
    assert path.read_text() == "two"


def test_seeding_is_that_of_torch():
    for seed in (0, 5, 2**40):
        with seeded(seed):
            found = torch.rand(4)
        torch.manual_seed(seed)
        assert torch.equal(found, torch.rand(4))
