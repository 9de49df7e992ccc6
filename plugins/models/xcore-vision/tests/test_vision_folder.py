"""Folders of images: splits, every kind of file, and one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_vision import fingerprint
from xcore_vision.folder import Folder
from xcore_vision.options import FolderOptions

from xcore.contract import Dataset, UsageError
from xcore.registry import Registry
from xcore.run.plan import Suite, make_plan


def paint(
    path: Path, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (20, 10), mode: str = "RGB"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def folder(root: Path, **options: Any) -> Folder:
    return Folder(FolderOptions(**{"size": 8, **options}), str(root))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    for i in range(10):
        paint(tmp_path / "zoo" / "zebra" / f"{i}.png", (i * 20 + 9, 0, 0))
        paint(tmp_path / "zoo" / "horse" / "deep" / f"{i}.png", (0, i * 20 + 9, 0))
    return tmp_path / "zoo"


def test_classes_are_sub_folders(zoo: Path) -> None:
    data = folder(zoo)
    assert isinstance(data.samples("zebra", "explain", 2, 0).images, torch.Tensor)
    assert data.classes == ("horse", "zebra")
    assert data.vocabulary == data.concepts == data.skipped == ()
    assert data.truth("any") is None
    everything: Dataset = data  # the protocol, as the type checker sees it
    assert everything.modality == "image"


def test_splits_share_nothing_and_do_not_depend_on_the_seed(zoo: Path) -> None:
    data = folder(zoo)
    ids = {s: set(data.samples("zebra", s, 99, 0).ids) for s in ("explain", "heldout", "train")}
    assert [len(v) for v in ids.values()] == [6, 2, 2]
    assert len(set.union(*ids.values())) == 10
    assert all(set(folder(zoo).samples("zebra", s, 99, 5).ids) == v for s, v in ids.items())


def test_draws_follow_the_seed(zoo: Path) -> None:
    data = folder(zoo)
    one, same, other = (data.samples(None, "explain", 4, seed) for seed in (1, 1, 2))
    assert one.ids == same.ids
    assert torch.equal(one.images, same.images)
    assert one.ids != other.ids
    assert one.labels is not None
    assert [data.classes[i] for i in one.labels] == [i.split("/")[1] for i in one.ids]


def test_images_at_the_top_are_one_class(tmp_path: Path) -> None:
    paint(tmp_path / "cats" / "a.png")
    assert folder(tmp_path / "cats").classes == ("cats",)


def test_one_note_says_of_all_classes_that_they_have_few_pictures(zoo: Path) -> None:
    data = folder(zoo)
    for cls in data.classes:
        assert len(data.samples(cls, "explain", 60, 0)) == 6
        assert len(data.samples(cls, "heldout", 60, 0)) == 2
    data.samples(None, "train", 60, 0)
    each = "{} has 10 (6 explained, 2 held out)"
    sizes = f"{each.format('horse')}, {each.format('zebra')}"
    assert data.notes == [f"few pictures in {zoo}: {sizes}; all of them are used"]


def test_a_split_without_images_is_empty_but_the_explained_one_is_an_error(tmp_path: Path) -> None:
    paint(tmp_path / "d" / "a" / "1.png")
    assert folder(tmp_path / "d").samples("a", "heldout", 5, 0).images.shape == (0, 3, 8, 8)
    (tmp_path / "d" / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"class 'a' of .* has no readable image \(1 files were skipped\)"):
        folder(tmp_path / "d").samples("a", "explain", 5, 0)


def test_what_cannot_be_read_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "d" / "a"
    for i in range(9):
        paint(root / f"good{i}.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "text.png").write_text("hello")
    (root / "notes.txt").write_text("hello")
    (root / ".hidden").write_text("hello")
    paint(root / "huge.png", size=(200, 200))
    paint(tmp_path / "d" / "top.png")
    (tmp_path / "d" / "nothing").mkdir()
    data = folder(tmp_path / "d", max_pixels=10_000)
    found = [i for s in ("explain", "heldout", "train") for i in data.samples("a", s, 99, 0).ids]
    assert sorted(found) == [f"d/a/good{i}.png" for i in range(9)]
    reasons = {Path(line.split(": ")[0]).name: line.split(": ")[1] for line in data.skipped}
    assert set(reasons) == {"cut.jpg", "empty.png", "text.png", "notes.txt", "huge.png", "top.png", "nothing"}
    assert "truncated" in reasons["cut.jpg"]
    assert "200x200 pixels" in reasons["huge.png"]
    assert "not a picture" in reasons["text.png"]
    assert "no images in this folder" in reasons["nothing"]


def test_a_draw_is_filled_up_past_unreadable_files(tmp_path: Path) -> None:
    for i in range(30):
        paint(tmp_path / "a" / f"{i}.png")
    data = folder(tmp_path / "a")
    drawn = {data.samples("a", "explain", 3, s).ids for s in range(5)}
    victim = next(iter(drawn))[0]
    (tmp_path / victim).write_bytes(b"x")
    data = folder(tmp_path / "a")
    assert all(len(data.samples("a", "explain", 3, s)) == 3 for s in range(5))
    assert len(data.skipped) == 1


def test_errors_name_the_nearest(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'zebra'"):
        folder(zoo).samples("zebras", "train", 1, 0)
    with pytest.raises(UsageError, match=r"no image folder .*did you mean .*zoo'"):
        folder(tmp_path / "zooo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no images in .*empty"):
        folder(tmp_path / "empty")
    with pytest.raises(UsageError, match="it is a file"):
        folder(zoo / "zebra" / "1.png")
    with pytest.raises(UsageError, match="unknown concept 'stripes'"):
        folder(zoo).concept("stripes", 1, 0)


def test_an_error_says_that_a_class_has_no_images(zoo: Path, registry: Registry) -> None:
    (zoo / "missile").mkdir()
    (zoo / "missile" / "notes.txt").write_text("none yet")
    keys: dict[str, Any] = {"data": f"folder:{zoo}", "methods": ["craft"], "classifiers": ["timm:resnet18"]}
    with pytest.raises(UsageError, match=r"^class 'missile' cannot be explained: no images in the folder '.*missile'$"):
        make_plan(Suite(**keys, classes=["zebra", "missile"]), registry)
    with pytest.raises(UsageError, match=r"^unknown class 'lion' \(known: horse, zebra\)$"):
        make_plan(Suite(**keys, classes=["lion"]), registry)


def test_concepts_and_vocabulary(zoo: Path, tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / "concepts" / "striped" / f"{i}.png", (255, 255, 255))
    (zoo / "vocabulary.txt").write_text("# words\nstriped texture\n\n green grass \nstriped texture\n")
    data = folder(zoo, concepts=str(tmp_path / "concepts"))
    assert data.concepts == ("striped",)
    assert data.concept("striped", 2, 0).images.mean() == 1
    assert data.vocabulary == ("striped texture", "green grass")
    assert data.skipped == ()
    (zoo / "hollow" / "striped").mkdir(parents=True)
    with pytest.raises(UsageError, match="no images in the concept folder"):
        folder(zoo, concepts=str(zoo / "hollow"))


def test_a_concept_folder_of_one_concept_is_told_how_to_be_named(zoo: Path) -> None:
    one = next(folder for folder in sorted(zoo.iterdir()) if folder.is_dir() and list(folder.glob("*.png")))
    with pytest.raises(UsageError, match=rf"lie in no sub-folder .*{one.name}={one} makes all of them one concept"):
        Folder(FolderOptions(concepts=str(one)), str(zoo))


def test_fingerprint_follows_the_files(zoo: Path) -> None:
    options = FolderOptions()
    before = fingerprint.folder(options, str(zoo))
    assert fingerprint.folder(options, str(zoo)) == before
    paint(zoo / "zebra" / "new.png")
    assert fingerprint.folder(options, str(zoo)) != before
