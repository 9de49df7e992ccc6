"""Published layouts, read as they are: classes, splits, groups, masks, captions and attributes arrive."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_vision import fingerprint
from xcore_vision.folder import Folder
from xcore_vision.options import FolderOptions

from xcore.contract import Samples, UsageError
from xcore.inputs.images import Framing

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "make_waterbirds_layout.py"


def paint(path: Path, seed: int = 0, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng([seed, *path.name.encode()]).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def folder(root: Path, **options: Any) -> Folder:
    return Folder(FolderOptions(**{"size": 16, **options}), str(root))


def every(data: Folder, cls: str | None = None) -> Samples:
    return data.samples(cls, "explain", 10_000, 0)


def counts(data: Folder) -> dict[str, int]:
    return {split: len(data.samples(None, split, 10_000, 0)) for split in ("train", "explain", "heldout")}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = runpy.run_path(str(SCRIPT))["make"](tmp_path_factory.mktemp("birds"), n=40, side=48)
    return made


def test_waterbirds(birds: Path) -> None:
    data = folder(birds, size=None)
    assert data.classes == ("landbird", "waterbird")
    assert data.skipped == ()
    assert counts(data) == {"train": 40, "explain": 40, "heldout": 40}
    train = data.samples(None, "train", 99, 0)
    assert Counter(train.meta["group"]) == {
        "landbird on land": 18,
        "landbird on water": 2,
        "waterbird on land": 2,
        "waterbird on water": 18,
    }
    assert {a["place"] for a in train.meta["attributes"]} == {0, 1}
    framed = data.framed(Framing((32, 32), 36))
    seen = framed.samples("waterbird", "explain", 5, 0)
    assert seen.images.shape == (5, 3, 32, 32)
    assert seen.meta["masks"].shape == (5, 32, 32)
    assert all(0.02 < float(mask.mean()) < 0.6 for mask in seen.meta["masks"])
    # the bird is bright where its mask is
    inside = (seen.images.mean(1) * seen.meta["masks"]).sum() / seen.meta["masks"].sum()
    outside = (seen.images.mean(1) * (1 - seen.meta["masks"])).sum() / (1 - seen.meta["masks"]).sum()
    assert inside > outside + 0.2
    assert all(len(seen.take([0, 2]).meta[key]) == 2 for key in ("group", "attributes", "masks"))


def test_masks_are_framed_like_the_pictures(tmp_path: Path) -> None:
    half = np.zeros((40, 60), dtype=np.uint8)
    half[:, :30] = 1  # a mask of 0 and 1
    (tmp_path / "d").mkdir()
    Image.fromarray(np.repeat(half[..., None] * 255, 3, 2)).save(tmp_path / "d" / "a.png")
    Image.fromarray(half).resize((30, 20), Image.Resampling.NEAREST).save(tmp_path / "a-mask.png")
    (tmp_path / "metadata.csv").write_text("filename,mask\nd/a.png,a-mask.png\n")
    for framing in (Framing((16, 16), 20), Framing((16, 16), 16, whole=True), Framing((16, 16), 24, "bilinear")):
        seen = every(folder(tmp_path, size=None).framed(framing))
        assert torch.allclose(seen.images[0].mean(0).round(), seen.meta["masks"][0].round())
        assert 0.3 < float(seen.meta["masks"].mean()) < 0.7


def test_a_mask_that_cannot_be_read_is_named_and_the_picture_stays(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("filename,mask,label\na.png,nothing.png,cat\n")
    data = folder(tmp_path)
    assert float(every(data).meta["masks"].sum()) == 0
    assert "nothing.png: the mask of" in data.skipped[0]


@pytest.mark.parametrize("ending", [".csv", ".txt"])
@pytest.mark.parametrize("nested", [False, True])
def test_celeba(tmp_path: Path, ending: str, nested: bool) -> None:
    pictures = tmp_path / "img_align_celeba" / ("img_align_celeba" if nested else "")
    rows, splits = [], []
    for i in range(12):
        name = f"{i + 1:06d}.jpg"
        paint(pictures / name)
        rows.append([name, "1" if i % 3 == 0 else "-1", "1" if i % 2 else "-1"])
        splits.append([name, str(i % 3 if i < 6 else i % 2)])
    if ending == ".csv":
        lines = ["image_id,Blond_Hair,Male", *(",".join(r) for r in rows)]
        (tmp_path / "list_eval_partition.csv").write_text(
            "\n".join(["image_id,partition", *(",".join(r) for r in splits)])
        )
    else:
        lines = [str(len(rows)), "Blond_Hair Male ", *("  ".join(r) for r in rows)]
        (tmp_path / "list_eval_partition.txt").write_text("\n".join(" ".join(r) for r in splits))
    (tmp_path / f"list_attr_celeba{ending}").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"2 attributes and no classes.*folder\.label=NAME, one of Blond_Hair, Male"):
        folder(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'Blond_Hair'"):
        folder(tmp_path, label="Blond_Hairs")
    data = folder(tmp_path, label="Blond_Hair", group=("Male",))
    assert data.classes == ("Blond_Hair", "not Blond_Hair")
    assert counts(data) == {"train": 5, "explain": 5, "heldout": 2}
    train = data.samples("Blond_Hair", "train", 99, 0)
    assert set(train.meta["group"]) <= {"Blond_Hair, Male", "Blond_Hair, not Male"}
    assert all(set(a) == {"Male"} and a["Male"] in (1, -1) for a in train.meta["attributes"])
    paint(tmp_path / "concepts" / "dots" / "1.png")
    assert folder(tmp_path / "concepts").classes == ("dots",)  # the table beside it names none of its pictures
    inner = folder(tmp_path / "img_align_celeba", label="Blond_Hair")  # the tables lie beside it
    assert inner.classes == data.classes


def test_imagenet_as_torchvision_has_it(tmp_path: Path) -> None:
    for split, n in (("train", 4), ("val", 5)):
        for synset in ("n02391049", "n02129604"):
            for i in range(n):
                paint(tmp_path / split / synset / f"{synset}_{split}_{i}.JPEG")
    data = folder(tmp_path)
    assert data.classes == ("n02129604", "n02391049")
    assert counts(data) == {"train": 8, "explain": 6, "heldout": 4}
    assert "zebra" in data.aliases["n02391049"]
    assert "tiger" in data.aliases["n02129604"]
    (tmp_path / "names.txt").write_text("n02391049 my zebra, Equus\nn02129604 my tiger\n")
    named = folder(tmp_path, names=str(tmp_path / "names.txt"))
    assert named.classes == ("my tiger", "my zebra")
    assert {"n02391049", "zebra", "Equus"} <= set(named.aliases["my zebra"])


def test_imagenet_as_the_challenge_has_it(tmp_path: Path) -> None:
    pictures = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    rows = ["ImageId,PredictionString"]
    for i in range(6):
        synset = ("n02391049", "n02129604")[i % 2]
        paint(pictures / "train" / synset / f"{synset}_{i}.JPEG")
        paint(pictures / "val" / f"ILSVRC2012_val_{i:08d}.JPEG")
        paint(pictures / "test" / f"ILSVRC2012_test_{i:08d}.JPEG")
        rows.append(f"ILSVRC2012_val_{i:08d},{synset} 10 20 30 40 {synset} 1 2 3 4 ")
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(rows))
    (tmp_path / "LOC_synset_mapping.txt").write_text("n02129604 tiger, Panthera tigris\nn02391049 zebra\n")
    for root in (tmp_path, pictures):
        data = folder(root)
        assert data.classes == ("n02129604", "n02391049")
        assert counts(data) == {"train": 6, "explain": 4, "heldout": 2}
        assert data.skipped == (
            f"{pictures / 'test'}: 6 images without a class: neither a folder nor a table says which",
        )
        assert "Panthera tigris" in data.aliases["n02129604"]
    flat = folder(pictures / "val")
    assert flat.classes == ("n02129604", "n02391049")
    assert counts(flat) == {"train": 0, "explain": 4, "heldout": 2}


def test_folders_of_splits_are_no_classes(tmp_path: Path) -> None:
    for split, n in (("Train", 6), ("valid", 3), ("test", 3)):
        for cls in ("cat", "dog"):
            for i in range(n):
                paint(tmp_path / "two" / split / cls / f"{split}{cls}{i}.png")
        for i in range(n):
            paint(tmp_path / "one" / split / f"{split}{i}.png")
    paint(tmp_path / "two" / "docs" / "logo.png")
    two, one = folder(tmp_path / "two"), folder(tmp_path / "one")
    assert two.classes == ("cat", "dog")
    assert counts(two) == {"train": 12, "explain": 6, "heldout": 6}
    assert two.skipped == (
        f"{tmp_path / 'two' / 'docs'}: 1 images without a class: it lies beside the folders of the splits",
    )
    assert one.classes == ("one",)
    assert counts(one) == {"train": 6, "explain": 3, "heldout": 3}
    for cls in ("train", "bus", "car"):
        paint(tmp_path / "vehicles" / cls / "1.png")
    assert folder(tmp_path / "vehicles").classes == ("bus", "car", "train")


def test_an_imagefolder_of_hugging_face(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = []
        for i in range(4):
            paint(tmp_path / split / f"{split}{i}.png")
            more = {"label": "cat" if i % 2 else "dog", "text": f"picture {i}", "attributes": {"fur": i}}
            lines.append(json.dumps({"file_name": f"{split}{i}.png", **more}))
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
    data = folder(tmp_path)
    assert data.classes == ("cat", "dog")
    assert counts(data)["train"] == 4
    seen = data.samples("cat", "train", 9, 0)
    assert set(seen.meta["caption"]) == {"picture 1", "picture 3"}
    assert {a["fur"] for a in seen.meta["attributes"]} == {1, 3}


def test_a_table_beside_the_folder_or_named(tmp_path: Path) -> None:
    for i in range(5):
        paint(tmp_path / "pictures" / "deep" / f"{i}.png")
    rows = "path;kind\n" + "".join(f"{i}.png;{'ab'[i % 2]}\n" for i in range(5)) + "nowhere.png;a\n"
    (tmp_path / "metadata.csv").write_text(rows.replace(";", ",").replace("kind", "class"))
    data = folder(tmp_path / "pictures")
    assert data.classes == ("a", "b")
    assert data.skipped == ()  # the table may describe other folders, too
    (tmp_path / "other.csv").write_text(rows.replace(";", ","))
    named = folder(tmp_path / "pictures", metadata=str(tmp_path / "other.csv"), label="kind")
    assert named.classes == ("a", "b")
    (tmp_path / "metadata.csv").rename(tmp_path / "pictures" / "metadata.csv")
    assert folder(tmp_path / "pictures").skipped == ("metadata.csv, row 6: no file 'nowhere.png'",)


def test_nothing_of_a_table_is_left_out_silently(tmp_path: Path) -> None:
    for i in range(4):
        paint(tmp_path / f"{i}.png")
    table = "filename,label,split\n0.png,a,train\n1.png,,train\n2.png,b,sometime\n0.png,b,train\n,a,train\n"
    (tmp_path / "metadata.csv").write_text(table)
    data = folder(tmp_path)
    reasons = {line.partition(": ")[0].rpartition("/")[2]: line.partition(": ")[2] for line in data.skipped}
    assert reasons["1.png"] == "no class in metadata.csv"
    assert reasons["3.png"] == "no row in metadata.csv"
    assert reasons["metadata.csv, row 3"].startswith("its split 'sometime' is none of train, ")
    assert reasons["metadata.csv, row 4"].endswith("0.png is in another row, too")
    assert reasons["metadata.csv, row 5"] == "no picture in column 'filename'"


def test_what_is_not_utf8_in_a_table_is_shown_with_escapes(tmp_path: Path) -> None:
    paint(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_bytes(b"filename,label,caption,group\n0.png,caf\xe9,\xff,\xfe\n")
    data = folder(tmp_path)
    seen = every(data)
    assert data.classes == ("caf\\xe9",)
    assert (seen.meta["caption"], seen.meta["group"]) == (("\\xff",), ("\\xfe",))


def test_a_table_without_names_of_pictures_says_so(tmp_path: Path) -> None:
    paint(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("number,label\n1,a\n")
    with pytest.raises(UsageError, match="no column that names the pictures"):
        folder(tmp_path)


def test_the_fingerprint_follows_tables_beside_the_folder(tmp_path: Path) -> None:
    paint(tmp_path / "pictures" / "0.png")
    before = fingerprint.folder(FolderOptions(), str(tmp_path / "pictures"))
    (tmp_path / "metadata.csv").write_text("filename,label\n0.png,a\n")
    assert fingerprint.folder(FolderOptions(), str(tmp_path / "pictures")) != before


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_semicolons_or_tabs_is_read(tmp_path: Path, mark: str) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / name)
    lines = [("file_name", "label", "note"), ("a.png", "zebra", "1,5"), ("b.png", "hare", "2,5")]
    (tmp_path / "metadata.csv").write_text("\n".join(mark.join(cells) for cells in lines), encoding="utf-8-sig")
    data = folder(tmp_path)
    assert data.classes == ("hare", "zebra")
    assert every(data, "zebra").meta["attributes"][0]["note"] == "1,5"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a.png,zebra,holdout\n", "row 1: its split 'holdout' is none of train"),
        ("c.png,zebra,test\n", "row 1: no file 'c.png'"),
        ("", "it has no rows"),
    ],
)
def test_a_table_that_describes_no_picture_makes_no_class_of_the_folder(tmp_path: Path, rows: str, reason: str) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,label,split\n" + rows)
    with pytest.raises(UsageError, match=f"metadata.csv describes none of the images .*{reason}"):
        folder(tmp_path)
    paint(tmp_path / "zebra" / "b.png")  # with folders of classes, a table about something else is in nobody's way
    assert folder(tmp_path).classes == ("zebra",)


def test_a_file_of_class_names_with_semicolons(tmp_path: Path) -> None:
    paint(tmp_path / "zoo" / "Hund" / "a.png")
    names = tmp_path / "names.csv"
    names.write_text("Hund;golden retriever\n", encoding="utf-8-sig")
    assert folder(tmp_path / "zoo", names=str(names)).classes == ("golden retriever",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.csv", "Hund,golden retriever\nHund,{}\n"),
        ("names.txt", "Hund golden retriever\nHund {}\n"),
        ("names.json", '{{"Hund": "golden retriever", "Hund": "{}"}}'),
    ],
)
def test_a_class_has_the_same_names_wherever_a_file_names_it(tmp_path: Path, name: str, text: str) -> None:
    paint(tmp_path / "zoo" / "Hund" / "a.png")
    names = tmp_path / name
    names.write_text(text.format("golden retriever"))
    assert folder(tmp_path / "zoo", names=str(names)).classes == ("golden retriever",)
    names.write_text(text.format("beagle"))
    with pytest.raises(UsageError, match=f"{name}': class 'Hund' is in it twice, with different names"):
        folder(tmp_path / "zoo", names=str(names))
