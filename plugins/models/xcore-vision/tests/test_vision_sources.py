"""Tables, saved data sets and arrays of pictures, and file names that are hard to read."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_vision import fingerprint
from xcore_vision.folder import Folder
from xcore_vision.hfdisk import Saved
from xcore_vision.npz import Arrays
from xcore_vision.options import ArrayOptions, FolderOptions, SavedOptions, TableOptions
from xcore_vision.table import Table

from xcore.contract import Dataset, Ref, Samples, UsageError
from xcore.inputs.images import Framing
from xcore.registry import Registry
from xcore.testing import DatasetTests


def picture(seed: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def every(data: Any, cls: str | None = None) -> Samples:
    parts = [data.samples(cls, split, 10_000, 0) for split in ("explain", "heldout", "train")]
    return Samples.concat([p for p in parts if len(p)])


class TestFolder(DatasetTests):
    @pytest.fixture
    def data(self, tmp_path: Path) -> Dataset:
        for i in range(40):
            path = tmp_path / "d" / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(i).save(path)
        return Folder(FolderOptions(size=16), str(tmp_path / "d"))


class TestTable(DatasetTests):
    @pytest.fixture
    def data(self, tmp_path: Path) -> Dataset:
        return table_of_files(tmp_path, 40)


class TestArrays(DatasetTests):
    @pytest.fixture
    def data(self, tmp_path: Path) -> Dataset:
        pixels = np.stack([np.asarray(picture(i)) for i in range(40)])
        np.savez(tmp_path / "d.npz", images=pixels, labels=np.arange(40) % 2, names=["cat", "dog"])
        return Arrays(ArrayOptions(size=16), str(tmp_path / "d.npz"))


def table_of_files(root: Path, n: int, **options: Any) -> Table:
    (root / "pictures").mkdir()
    rows = ["path,label,split,group,mask,caption,colour"]
    for i in range(n):
        picture(i).save(root / "pictures" / f"{i}.png")
        rows.append(f"pictures/{i}.png,{'cat' if i % 2 else 'dog'},,g{i % 3},pictures/{i}.png,caption {i},{i}")
    (root / "table.csv").write_text("\n".join(rows))
    return Table(TableOptions(**{"size": 16, **options}), str(root / "table.csv"))


def test_a_table_of_files(tmp_path: Path) -> None:
    data = table_of_files(tmp_path, 10)
    assert data.classes == ("cat", "dog")
    seen = data.samples("cat", "explain", 99, 0)
    assert set(seen.meta) == {"group", "caption", "attributes", "masks"}
    number = int(seen.ids[0].rpartition("/")[2].partition(".")[0])
    assert seen.meta["caption"][0] == f"caption {number}"
    assert seen.meta["attributes"][0] == {"colour": number}
    assert seen.meta["masks"].shape == (3, 16, 16)
    before = fingerprint.table(TableOptions(), str(tmp_path / "table.csv"))
    picture(99).save(tmp_path / "pictures" / "0.png")
    assert fingerprint.table(TableOptions(), str(tmp_path / "table.csv")) != before


def test_rows_without_a_picture_are_named(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "a.png")
    long = "x" * 5000
    rows = f"image,label\na.png,cat\nb.png,cat\na.png,dog\n{long}.png,cat\n,cat\na.png,\n"
    (tmp_path / "t.csv").write_text(rows)
    data = Table(TableOptions(size=8), str(tmp_path / "t.csv"))
    assert len(data.skipped) == 5
    assert any("no file" in line and "b.png" in line for line in data.skipped)
    assert all(len(line) < 300 for line in data.skipped)
    (tmp_path / "u.csv").write_text("one,two\n1,2\n")
    with pytest.raises(UsageError, match=r"no column of pictures \(name it: image=COLUMN, one of one, two\)"):
        Table(TableOptions(), str(tmp_path / "u.csv"))


def test_a_table_of_bytes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": png(i), "path": f"{i}.png"} for i in range(6)]
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"image": cells, "label": [i % 2 for i in range(6)]})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "t.parquet")
    data = Table(TableOptions(size=None), str(tmp_path / "t.parquet")).framed(Framing((20, 30), 20, whole=True))
    assert data.classes == ("cat", "dog")
    seen = every(data, "dog")
    wanted = {i: torch.from_numpy(np.array(picture(i))).permute(2, 0, 1) / 255 for i in (1, 3, 5)}
    for name, image in zip(seen.ids, seen.images, strict=True):
        assert torch.equal(image, wanted[int(name.rpartition("/")[2]) - 1])


def test_one_name_for_tables_of_texts_and_of_pictures(tmp_path: Path, registry: Registry) -> None:
    table_of_files(tmp_path, 4)
    (tmp_path / "reviews.csv").write_text("text,label\ngood,1\nbad,0\n")
    (tmp_path / "captions.csv").write_text("file_name,text,label\npictures/0.png,a picture,1\n")
    for name, modality in (("table.csv", "image"), ("captions.csv", "image"), ("reviews.csv", "text")):
        assert registry.create("dataset", Ref(f"table:{tmp_path / name}")).modality == modality
    (tmp_path / "neither.csv").write_text("words,mood\ngood,1\nbad,0\n")
    options = {"text": "words", "label": "mood"}
    assert registry.create("dataset", Ref(f"table:{tmp_path / 'neither.csv'}", options)).modality == "text"
    (tmp_path / "names.csv").write_text("image,label\n1,cat\n")
    with pytest.raises(UsageError, match=r"no pictures with a class|no images with a class"):
        registry.create("dataset", Ref(f"xcore-vision/table:{tmp_path / 'names.csv'}"))
    with pytest.raises(UsageError, match=r"no table .*did you mean .*reviews\.csv"):
        registry.find("dataset", f"table:{tmp_path / 'review.csv'}")


def test_a_data_set_on_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def made(start: int, n: int) -> Any:
            columns = {
                "image": [{"bytes": png(i), "path": None} for i in range(start, start + n)],
                "mask": [{"bytes": png(i), "path": None} for i in range(start, start + n)],
                "label": [i % 2 for i in range(n)],
                "place": ["land"] * n,
            }
            kinds = {"image": datasets.Image(), "mask": datasets.Image(), "place": datasets.Value("string")}
            kinds["label"] = datasets.ClassLabel(names=["cat", "dog"])
            return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))

        parts = datasets.DatasetDict({"train": made(0, 6), "validation": made(10, 4), "test": made(20, 4)})
        parts.save_to_disk(tmp_path / "parts")
        made(0, 10).save_to_disk(tmp_path / "whole", num_shards=3)
    check_saved(tmp_path)


def test_a_data_set_on_disk_without_the_library(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    features = {"image": {"_type": "Image"}, "mask": {"_type": "Image"}, "place": {"_type": "Value"}}
    features["label"] = {"_type": "ClassLabel", "names": ["cat", "dog"]}  # type: ignore[dict-item]

    def save(root: Path, start: int, n: int, shards: int = 1) -> None:
        root.mkdir(parents=True)
        files = []
        for shard in range(shards):
            rows = range(shard, n, shards)
            cells = [{"bytes": png(start + i), "path": None} for i in rows]
            labels = [i % 2 for i in rows]
            table = pa.table({"image": cells, "mask": cells, "label": labels, "place": ["land"] * len(rows)})
            files.append({"filename": f"data-{shard:05d}-of-{shards:05d}.arrow"})
            with (
                pa.OSFile(str(root / files[-1]["filename"]), "wb") as sink,
                pa.ipc.new_stream(sink, table.schema) as out,
            ):
                out.write_table(table)
        (root / "state.json").write_text(json.dumps({"_data_files": files, "_indices_data_files": None}))
        (root / "dataset_info.json").write_text(json.dumps({"features": features}))

    for split, start, n in (("train", 0, 6), ("validation", 10, 4), ("test", 20, 4)):
        save(tmp_path / "parts" / split, start, n)
    (tmp_path / "parts" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    save(tmp_path / "whole", 0, 10, shards=3)
    check_saved(tmp_path)


def check_saved(root: Path) -> None:
    data = Saved(SavedOptions(size=16), str(root / "parts"))
    assert data.classes == ("cat", "dog")
    assert [len(data.samples(None, s, 99, 0)) for s in ("train", "explain", "heldout")] == [6, 4, 4]
    seen = data.samples("dog", "train", 99, 0)
    assert [a["place"] for a in seen.meta["attributes"]] == ["land"] * 3
    assert seen.meta["masks"].shape == (3, 16, 16)
    assert float(seen.meta["masks"].mean()) > 0.2
    whole = Saved(SavedOptions(size=16), str(root / "whole"))
    assert sorted(every(whole).ids) == [f"whole/{i}" for i in range(10)]
    (root / "empty").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=r"not written by save_to_disk.*use folder:DIR"):
        Saved(SavedOptions(), str(root / "empty"))


@pytest.mark.parametrize("kind", ["HWC", "CHW", "grey", "float", "255", "bool", "RGBA"])
def test_arrays_of_every_kind(tmp_path: Path, kind: str) -> None:
    pixels = np.stack([np.asarray(picture(i, (16, 16))) for i in range(4)])
    if kind == "bool":
        pixels = (pixels > 127) * np.uint8(255)
    grey = pixels[..., 0]
    saved = {
        "HWC": pixels,
        "CHW": pixels.transpose(0, 3, 1, 2),
        "grey": grey,
        "float": pixels.astype(np.float32) / 255,
        "255": pixels.astype(np.float64),
        "bool": grey > 0,
        "RGBA": np.concatenate([pixels, np.full((*grey.shape, 1), 255, np.uint8)], 3),
    }[kind]
    np.savez(tmp_path / "a.npz", x=saved, y=np.zeros(4))
    data = Arrays(ArrayOptions(), str(tmp_path / "a.npz")).framed(Framing((16, 16), 16))
    wanted = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    if kind in ("grey", "bool"):
        wanted = wanted[:, :1].expand(-1, 3, -1, -1)
    seen = every(data)
    assert data.classes == ("0",)
    for name, image in zip(seen.ids, seen.images, strict=True):
        assert torch.allclose(image, wanted[int(name.rpartition("/")[2])], atol=1e-6)


def test_arrays_with_splits_masks_and_names(tmp_path: Path) -> None:
    pixels = np.stack([np.asarray(picture(i, (16, 12))) for i in range(9)])
    more = {"labels": np.arange(9)[:, None] % 3, "names": ["a", "b", "c"], "split": ["train", "val", "test"] * 3}
    np.savez(tmp_path / "a.npz", images=pixels, masks=pixels[..., 0] > 127, group=np.arange(9), **more)
    data = Arrays(ArrayOptions(size=None), str(tmp_path / "a.npz")).framed(Framing((12, 16), 12, whole=True))
    assert data.classes == ("a", "b", "c")
    seen = data.samples(None, "heldout", 9, 0)
    assert sorted(seen.meta["group"]) == ["2", "5", "8"]
    assert torch.equal(seen.meta["masks"], (seen.images[:, 0] > 0.5).float())
    np.savez(
        tmp_path / "m.npz", train_images=pixels, train_labels=np.zeros(9), x_test=pixels[:3] // 2, y_test=np.zeros(3)
    )
    assert len(Arrays(ArrayOptions(size=8), str(tmp_path / "m.npz")).samples("0", "train", 99, 0)) == 9


def test_pictures_in_arrays_without_a_class_or_with_an_unknown_split_are_named(tmp_path: Path) -> None:
    pixels = np.stack([np.asarray(picture(i, (16, 12))) for i in range(4)])
    np.savez(tmp_path / "a.npz", images=pixels, labels=["cat", "", "cat", "cat"], split=["", "", "tset", "2"])
    data = Arrays(ArrayOptions(size=8), str(tmp_path / "a.npz"))
    assert data.classes == ("cat",)
    assert data.skipped[0] == "a.npz/1: no class"
    assert data.skipped[1].startswith("a.npz/2: its split 'tset' is none of train, ")
    assert data.skipped[1].endswith(", 0, 1, 2")


def test_arrays_that_are_no_pictures_are_one_clear_line(tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no array of pictures.*images=ARRAY, one of some": {"some": np.zeros(3)},
        r"have shape \(3, 4\)": {"images": np.zeros((3, 4))},
        "values from -2 to 2.*before they were normalised": {"images": np.array([-2.0, 2.0] * 24).reshape(1, 4, 4, 3)},
        "9 pictures but 3 labels": {"images": np.zeros((9, 8, 8)), "labels": np.zeros(3)},
        "objects are refused": {"images": np.array([{}, {}], dtype=object)},
    }
    for i, (message, arrays) in enumerate(wrong.items()):
        np.savez(tmp_path / f"{i}.npz", **arrays)
        with pytest.raises(UsageError, match=message):
            Arrays(ArrayOptions(), str(tmp_path / f"{i}.npz"))
    np.save(tmp_path / "single.npy", np.zeros((2, 8, 8)))
    with pytest.raises(UsageError, match="is a single array"):
        Arrays(ArrayOptions(), str(tmp_path / "single.npy"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UsageError, match=r"is no file that np\.savez wrote"):
        Arrays(ArrayOptions(), str(tmp_path / "text.npz"))


@pytest.mark.skipif(os.name == "nt", reason="names of this kind exist on POSIX only")
def test_hostile_names_are_read_or_named(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/data"
    try:
        os.makedirs(root + b"/b\xffird")
    except OSError:
        pytest.skip("this file system keeps names as UTF-8 only")
    names = [b"\xff\xfe.png", b"new\nline.png", b"-rf.png", b"a" * 250 + b".png", b"back\\slash.png", b"'; rm.png"]
    for i, name in enumerate(names):
        with open(root + b"/b\xffird/" + name, "wb") as file:
            file.write(png(i))
    os.mkfifo(root + b"/b\xffird/pipe.png")
    os.symlink(root, root + b"/b\xffird/loop")
    os.symlink(b"itself.png", root + b"/b\xffird/itself.png")
    os.symlink(b"nowhere", root + b"/b\xffird/dead.png")
    os.symlink("/dev/zero", root + b"/b\xffird/zero.png")
    data = Folder(FolderOptions(size=8), str(tmp_path / "data"))
    seen = every(data)
    assert len(seen) == len(names)
    assert data.classes == ("b\\xffird",)
    lines = [*seen.ids, *data.skipped, *data.notes, *data.classes]
    assert all(line.isprintable() for line in lines)
    json.dumps(lines).encode()
    "\n".join(lines).encode()
    reasons = {line.partition(": ")[0].rpartition("/")[2]: line.partition(": ")[2] for line in data.skipped}
    assert set(reasons) == {"pipe.png", "loop", "itself.png", "dead.png", "zero.png"}
    assert reasons["pipe.png"] == reasons["zero.png"] == "not a regular file"
    assert reasons["loop"] == "a link to a folder that it lies in"
    assert reasons["dead.png"] == "a link to nothing"
    assert fingerprint.folder(FolderOptions(), str(tmp_path / "data"))


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for i in range(3):
        picture(i).save(tmp_path / "elsewhere" / f"{i}.png")
    (tmp_path / "data" / "cat").mkdir(parents=True)
    try:
        (tmp_path / "data" / "cat" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    data = Folder(FolderOptions(size=8), str(tmp_path / "data"))
    assert len(every(data, "cat")) == 3


def test_the_classifier_frames_a_folder_unless_a_size_is_given(tmp_path: Path) -> None:
    for cls in ("pictures", "concepts/dots"):
        (tmp_path / cls).mkdir(parents=True)
        for i in range(3):
            picture(i, (90, 70)).save(tmp_path / cls / f"{i}.png")
    options = {"concepts": str(tmp_path / "concepts")}
    data = Folder(FolderOptions(**options), str(tmp_path / "pictures"))
    assert data.samples(None, "explain", 1, 0).images.shape[2:] == (224, 224)
    framed = data.framed(Framing((32, 40), 48))
    assert framed.samples(None, "explain", 1, 0).images.shape[2:] == (32, 40)
    assert framed.concept("dots", 2, 0).images.shape[2:] == (32, 40)
    assert data.samples(None, "explain", 1, 0).images.shape[2:] == (224, 224)
    fixed = Folder(FolderOptions(size=20, **options), str(tmp_path / "pictures"))
    assert fixed.framed(Framing((32, 40), 48)).samples(None, "explain", 1, 0).images.shape[2:] == (20, 20)
