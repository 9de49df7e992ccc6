"""Splits by content: copies of a picture are never on both sides, and most of a small class is explained."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from xcore_vision import copies
from xcore_vision.folder import Folder
from xcore_vision.options import FolderOptions
from xcore_vision.splits import Item, deal, shares

from xcore.contract import Split, UsageError
from xcore.inputs.copies import description, groups
from xcore.inputs.splits import places
from xcore.registry import Registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

SPLITS = get_args(Split)


def scene(seed: int, side: int = 96) -> Image.Image:
    """A smooth picture that no other seed gives."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side + 20, side), Image.Resampling.BICUBIC)


def folder(root: Path, **options: Any) -> Folder:
    return Folder(FolderOptions(**{"size": 16, **options}), str(root))


def by_split(data: Folder, cls: str | None = None) -> dict[str, set[str]]:
    found = {}
    for split in SPLITS:
        try:
            found[split] = {name.rpartition("/")[2] for name in data.samples(cls, split, 10_000, 0).ids}
        except UsageError:
            found[split] = set()
    return found


def copy_of(picture: Image.Image, kind: str, path: Path) -> None:
    width, height = picture.size
    if kind == "jpeg":
        picture.save(path.with_suffix(".jpg"), quality=60)
    elif kind == "webp":
        picture.save(path.with_suffix(".webp"), quality=60)
    elif kind == "half":
        picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS).save(path.with_suffix(".jpg"), quality=80)
    elif kind == "double":
        picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC).save(path.with_suffix(".png"))
    elif kind == "turned":  # saved on its side with a tag that says so, as cameras do
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), quality=95, exif=exif)
    else:
        picture.save(path.with_suffix(".png"))


@pytest.mark.parametrize("kind", ["same", "jpeg", "webp", "half", "double", "turned"])
def test_copies_are_in_one_split_and_are_counted(tmp_path: Path, kind: str) -> None:
    for i in range(12):
        for cls in ("cat", "dog"):
            (tmp_path / cls).mkdir(exist_ok=True)
            picture = scene(i + 100 * (cls == "dog"))
            picture.save(tmp_path / cls / f"{i:02d}-original.png")
            copy_of(picture, kind, tmp_path / cls / f"{i:02d}-copy")
    data = folder(tmp_path)
    for cls in data.classes:
        found = by_split(data, cls)
        numbers = {split: {name[:2] for name in names} for split, names in found.items()}
        assert sum(map(len, numbers.values())) == 12
        assert [len(numbers[s]) for s in ("explain", "heldout", "train")] == [8, 2, 2]
        assert sum(map(len, found.values())) == 24
    assert any(note.startswith("24 of 48 pictures are copies of others") for note in data.notes)


def test_different_pictures_are_not_taken_for_copies(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for i in range(30):
        scene(i).save(tmp_path / "d" / f"scene{i}.png")
        Image.new("RGB", (40, 30), (100 + i, 90, 80)).save(tmp_path / "d" / f"plain{i}.png")
        Image.new("L", (40, 30), 3 * i).save(tmp_path / "d" / f"grey{i}.png")
    data = folder(tmp_path)
    by_split(data)
    assert not [note for note in data.notes if "copies" in note]


def test_photographs_keep_apart_and_their_copies_together() -> None:
    data = pytest.importorskip("skimage.data")
    photographs = [
        Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "cat", "rocket", "camera")
    ]
    described, of = [], []
    for i, photograph in enumerate(photographs):
        small = photograph.convert("RGB").resize((160, 120), Image.Resampling.LANCZOS)
        for quality in (30, 75):
            file = io.BytesIO()
            small.save(file, "JPEG", quality=quality)
            described.append(description(file.getvalue(), 10**8))
            of.append(i)
        described.append(description(np.asarray(photograph.convert("RGB")), 10**8))
        of.append(i)
    assert groups(np.stack(described)).tolist() == [3 * i for i in of]


def test_a_picture_in_two_classes_is_on_one_side_and_is_named(tmp_path: Path) -> None:
    for i in range(10):
        for cls in ("cat", "dog"):
            (tmp_path / cls).mkdir(exist_ok=True)
            scene(i if i < 4 else i + 50 * (cls == "dog")).save(tmp_path / cls / f"{i}.png")
    data = folder(tmp_path)
    cat, dog = by_split(data, "cat"), by_split(data, "dog")
    for split in SPLITS:
        assert {n for n in cat[split] if int(n[0]) < 4} == {n for n in dog[split] if int(n[0]) < 4}
    assert any(note.startswith("4 picture(s) are in two classes, such as ") for note in data.notes)


def test_splits_follow_the_content_not_the_names(tmp_path: Path) -> None:
    for root, names in (("one", range(20)), ("two", range(19, -1, -1))):
        (tmp_path / root / "d").mkdir(parents=True)
        for i, name in enumerate(names):
            scene(i).save(tmp_path / root / "d" / f"{name:02d}.png")
    one, two = by_split(folder(tmp_path / "one"), "d"), by_split(folder(tmp_path / "two"), "d")
    assert {s: {19 - int(n[:2]) for n in names} for s, names in two.items()} == {
        s: {int(n[:2]) for n in names} for s, names in one.items()
    }


@pytest.mark.parametrize(
    ("n", "expected"),
    [(0, [0, 0, 0]), (1, [1, 0, 0]), (3, [2, 1, 0]), (5, [3, 2, 0]), (20, [12, 4, 4]), (180, [60] * 3)],
)
def test_most_of_a_small_class_is_explained(n: int, expected: list[int]) -> None:
    assert list(shares(n).values()) == expected
    items = [Item("a", None, i, bytes([i])) for i in range(n)]
    dealt = deal(items, places({None}))
    assert [dealt.count(split) for split in ("explain", "heldout", "train")] == expected


def test_splits_that_the_data_names_win_and_copies_across_them_are_told(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split / "d").mkdir(parents=True)
        for i in range(6):
            scene(i if split != "train" and i < 2 else hash((split, i)) % 10_000).save(
                tmp_path / split / "d" / f"{i}.png"
            )
    data = folder(tmp_path)
    assert [len(data.samples("d", s, 99, 0)) for s in ("explain", "heldout", "train")] == [6, 6, 6]
    assert all("/val/" in name for name in data.samples("d", "explain", 99, 0).ids)
    assert any(note.startswith("2 picture(s) are in two splits of the data set, such as ") for note in data.notes)


def test_only_the_class_that_is_asked_for_is_described_in_a_large_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xcore_vision.pictures.COMPARED", 10)
    for cls in ("cat", "dog"):
        (tmp_path / cls).mkdir()
        for i in range(8):
            scene(i).save(tmp_path / cls / f"{i}.png")
    seen: list[Any] = []
    monkeypatch.setattr(copies, "description", lambda p, m: seen.append(p) or description(p, m))
    data = folder(tmp_path)
    assert not seen
    data.samples("cat", "explain", 5, 0)
    assert len(seen) == 8
    assert all(path.parent.name == "cat" for path in seen)


def test_descriptions_are_kept_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(copies, "WORTH_KEEPING", 4)
    (tmp_path / "d").mkdir()
    for i in range(8):
        scene(i).save(tmp_path / "d" / f"{i}.png")
    first = by_split(folder(tmp_path / "d"))
    seen: list[Any] = []
    monkeypatch.setattr(copies, "description", lambda p, m: seen.append(p) or description(p, m))
    assert by_split(folder(tmp_path / "d")) == first
    assert not seen
    scene(77).save(tmp_path / "d" / "3.png")  # a file that changed is described anew
    by_split(folder(tmp_path / "d"))
    assert [path.name for path in seen] == ["3.png"]
    for kept in (tmp_path / "cache").rglob("kept.npz"):
        kept.write_bytes(kept.read_bytes()[:100])  # cut off
    assert set.union(*by_split(folder(tmp_path / "d")).values()) == {f"{i}.png" for i in range(8)}


def test_pictures_that_are_held_out_by_name_are_no_copies_of_explained_ones(tmp_path: Path, registry: Registry) -> None:
    for i in range(8):
        for root, cls in (("mine", "cat"), ("mine", "dog"), ("other", "cat")):
            (tmp_path / root / cls).mkdir(parents=True, exist_ok=True)
            picture = scene(i + 100 * (cls == "dog") + 500 * (root == "other" and i >= 5))
            picture.resize((87, 72) if root == "other" else picture.size).save(
                tmp_path / root / cls / f"{i}.jpg", quality=70 if root == "other" else 95
            )
    classifier = {"pretrained": False, "classes": ["cat", "dog"], "input_size": 32}
    keys: dict[str, Any] = {"methods": ["craft"], "classifiers": ["timm:resnet18"], "set": {"timm": classifier}}
    data = {"data": f"folder:{tmp_path / 'mine'}", "heldout": f"folder:{tmp_path / 'other'}", "classes": ["cat"]}
    (cell,) = make_plan(Suite(**keys, **data), registry).cells
    bench = Workbench(registry, Store(tmp_path / "run"))
    explained = {name.rpartition("/")[2] for name in bench.explained(cell).ids}
    heldout = {name.rpartition("/")[2] for name in bench.heldout(cell).ids}
    assert heldout == {f"{i}.jpg" for i in range(8) if i >= 5 or f"{i}.jpg" not in explained}
