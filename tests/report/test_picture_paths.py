"""Pictures by paths that a person can read: nothing is mixed up, nothing stale is left, nothing foreign is removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from xcore.api import BenchResult, bench, report
from xcore.contract import Cell, Ref, UsageError
from xcore.report.picture_paths import check_free, folders, overviews, shown, write_pictures

KEYS = {"controls": [], "metrics": [], "seeds": [0], "budget": {"samples": 6}}


def cell(cls="zebra", label="craft", seed=0, classifier="c"):
    return Cell(label, Ref("craft"), Ref(classifier), Ref("d"), cls, seed)


def record(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{root.name} {name}")
    return root


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_folders_are_readable_and_different():
    assert folders([cell()]) == [""]
    assert folders([cell(), cell("tabby cat", seed=1)]) == [
        "pictures/craft-zebra-seed0",
        "pictures/craft-tabby-cat-seed1",
    ]
    alike = folders([cell("a/b"), cell("a b"), cell("A.b")])
    assert alike == ["pictures/craft-a-b-seed0", "pictures/craft-a-b-seed0-2", "pictures/craft-A-b-seed0-3"]
    assert folders([cell(), cell(classifier="other/net")])[1] == "pictures/craft-other-net-zebra-seed0"
    assert folders([cell("斑马"), cell("猫" * 100)])[0] == "pictures/craft-斑马-seed0"
    for name in folders([cell("../.."), cell("猫" * 100), cell("\udcff")]):
        assert len(name.encode()) < 255
        assert ".." not in name


def test_what_the_method_drew_lies_beside_the_concepts(tmp_path):
    made = record(
        tmp_path / "r", "concepts.png", "concepts/01-a.png", "files/bars.png", "files/maps.png", "files/x.json"
    )
    (tmp_path / "run").mkdir()
    (found,) = write_pictures(tmp_path / "run", [cell()], [made])
    names = [path.relative_to(tmp_path / "run").as_posix() for path in found]
    assert names == ["concepts.png", "concepts/01-a.png", "bars.png", "files/maps.png"]
    assert [path.name for path in overviews(found)] == ["concepts.png", "concepts", "bars.png", "maps.png"]


def test_another_explanation_in_the_same_folder_leaves_no_picture_of_the_last(tmp_path):
    root = tmp_path / "run"
    root.mkdir()
    one = record(tmp_path / "one", "concepts.png", "maps.png", "concepts/01-a.png", "concepts/02-b.png")
    two = record(tmp_path / "two", "concepts.png", "concepts/01-c.png")
    write_pictures(root, [cell()], [one])
    write_pictures(root, [cell("horse")], [two])
    assert files(root) == {"concepts.png", "concepts/01-c.png", "pictures.json"}
    assert (root / "concepts.png").read_text() == "two concepts.png"
    write_pictures(root, [cell(), cell("horse")], [one, two])
    assert {name.partition("/")[0] for name in files(root)} == {"pictures", "pictures.json"}
    assert not (root / "concepts").exists()
    write_pictures(root, [cell()], [None])
    assert files(root) == {"pictures.json"}


def test_files_of_others_are_neither_mixed_with_nor_removed(tmp_path):
    root = tmp_path / "run"
    record(root, "concepts/mine.txt")
    with pytest.raises(UsageError, match="concepts was not written by xcore"):
        check_free(root, [cell()])
    check_free(root, [cell(), cell("horse")])
    shutil.rmtree(root / "concepts")
    one = record(tmp_path / "one", "concepts/01-a.png")
    write_pictures(root, [cell()], [one])
    (root / "concepts" / "note.txt").write_text("mine")
    outside = tmp_path / "precious.png"
    outside.write_text("mine")
    listed = json.loads((root / "pictures.json").read_text())["files"]
    (root / "run.json").write_text("a record")
    more = [*listed, "../precious.png", str(outside), "run.json", "", ".", "concepts", "\0.png"]
    (root / "pictures.json").write_text(json.dumps({"written_by": "xcore", "files": more}))
    write_pictures(root, [cell()], [None])
    assert files(root) == {"concepts/note.txt", "pictures.json", "run.json"}
    assert outside.exists()


OURS_IN_NO_SHAPE = '{"written_by": "xcore", "files": 3}'


@pytest.mark.parametrize("text", ['{"files": ["mine.png"]}', '["mine.png"]', "mine.png", OURS_IN_NO_SHAPE])
def test_a_list_that_someone_else_wrote_is_neither_followed_nor_replaced(text, tmp_path):
    record(tmp_path, "mine.png")
    (tmp_path / "pictures.json").write_text(text)
    with pytest.raises(UsageError, match=r"pictures\.json was not written by xcore"):
        bench(["noise"], out=tmp_path, **KEYS)
    assert files(tmp_path) == {"mine.png", "pictures.json"}
    assert (tmp_path / "pictures.json").read_text() == text


def test_a_picture_of_the_method_does_not_replace_a_file_of_that_name(tmp_path):
    root, made = tmp_path / "run", record(tmp_path / "made", "concepts.png", "files/bars.png")
    record(root, "bars.png")
    with pytest.raises(UsageError, match=r"bars\.png was not written by xcore"):
        write_pictures(root, [cell()], [made])
    assert files(root) == {"bars.png"}
    assert (root / "bars.png").read_text() == "run bars.png"


def test_a_request_is_refused_before_it_puts_pictures_among_files_of_others(tmp_path):
    record(tmp_path, "concepts/stripes/1.png")
    with pytest.raises(UsageError, match="choose another folder with --out"):
        bench(["noise"], out=tmp_path, **KEYS)
    assert files(tmp_path) == {"concepts/stripes/1.png"}


def test_pictures_are_written_again_from_the_records_and_rows_say_where(tmp_path):
    run = bench(["noise"], out=tmp_path / "run", **KEYS)
    first = run.rows[0]
    assert first["pictures"] == ["concepts.png"]
    assert [(run.path / row["picture"]).is_file() for row in run.rows] == [True] * len(run.rows)
    assert Path(first["picture"]).name.startswith("01-")
    shutil.rmtree(run.path / "concepts")
    (run.path / "concepts.png").unlink()
    assert report(run.path).pictures == run.pictures
    assert all(path.is_file() for path in run.pictures)


def test_every_key_of_a_row_and_of_a_score_is_documented(tmp_path):
    run = bench(["noise"], out=tmp_path / "run", **{**KEYS, "metrics": ["cost", "TS"], "budget": {"samples": 4}})
    scores = [score for row in run.rows for field in ("scores", "overall") for score in row[field].values()]
    keys = {*run.rows[0], *scores[0]}
    assert keys >= {"rank", "evidence", "overall", "pictures", "metric", "joint"}
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
    assert [key for key in sorted(keys) if f"``{key}``" not in BenchResult.__doc__] == []
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_a_path_is_shown_as_it_is_shortest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "run" / "maps.png") == "run/maps.png"
    assert shown(Path("run")) == "run"
    assert shown(Path("/elsewhere/maps.png")) == "/elsewhere/maps.png"
