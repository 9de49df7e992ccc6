"""Clouds side by side, versions by masks, and latents beside captions: the parts, and the commands on small worlds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_texplain import masked
from xcore_texplain.latents import agreement_rows, distances
from xcore_texplain.superclasses import ClassesOptions, images_of, read_mapping
from xcore_texplain.versions import prediction_rows, versions_of
from xcore_texplain.words import count_words, joined

from xcore.contract import MissingError, Samples, UsageError
from xcore.inputs.splits import split_of
from xcore.session import chosen

Run = Callable[..., Any]


class Places:
    """Three classes; every second image is on land and the others on water, and a square is covered by the mask."""

    modality, classes = "image", ("cat", "dog", "gull")
    concepts = vocabulary = skipped = notes = ()

    def __init__(self, masks: bool = True) -> None:
        self._masks = masks

    def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
        n = 0 if split == "heldout" and cls == "gull" else min(n, 40)
        images = torch.zeros(n, 3, 12, 12)
        images[:, 2] = 1.0
        images[:, 0, 3:7, 4:8] = 1.0 - 0.1 * self.classes.index(cls or "cat")
        where = torch.zeros(n, 12, 12)
        where[:, 3:7, 4:8] = 1
        if n > 1:
            where[1] = 0  # an image without a mask has an empty one
        meta: dict[str, Any] = {
            "group": tuple("land" if i % 2 else "water" for i in range(n)),
            "attributes": tuple({"kind": "bird" if cls == "gull" else "pet"} for _ in range(n)),
        }
        return Samples("image", images, tuple(f"{cls}/{split}/{i}" for i in range(n)), None,
                       {**meta, "masks": where} if self._masks else meta)  # fmt: skip


# -- which images ----------------------------------------------------------------------------------------------------
def test_images_of_a_group_are_looked_for_until_there_are_enough() -> None:
    found = chosen(Places(), "cat", "train", "land", 5, 0)  # type: ignore[arg-type]
    assert len(found) == 5
    assert set(found.meta["group"]) == {"land"}
    assert len(chosen(Places(), "cat", "train", "land", 30, 0)) == 20  # type: ignore[arg-type]  # there are no more
    assert split_of("Test") == "heldout"
    for split, group, says in (
        ("train", "lend", "did you mean 'land'"),
        ("heldout", "", "the split 'heldout' has no samples of class 'gull'"),
    ):
        with pytest.raises(UsageError, match=says):
            chosen(Places(), "gull", split, group, 4, 0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown split"):
        split_of("trian")


# -- super-classes ---------------------------------------------------------------------------------------------------
def test_super_classes_come_from_a_file_or_a_column(tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps({"pet": ["cat", "dog"], "bird": ["gull"]}))
    for given in (str(file), "kind"):
        parts, members = images_of(Places(), Places.classes, ClassesOptions(given), 8, 0)  # type: ignore[arg-type]
        assert {name: len(images) for name, images in parts.items()} == {"pet": 8, "bird": 8}
        assert members == {"pet": ["cat", "dog"], "bird": ["gull"]}
        assert [name.split("/")[0] for name in parts["pet"].ids] == ["cat"] * 4 + ["dog"] * 4
    parts, _ = images_of(Places(), ["cat", "gull"], ClassesOptions(), 3, 0)  # type: ignore[arg-type]
    assert list(parts) == ["cat", "gull"]
    with pytest.raises(UsageError, match=r"unknown file or column .*did you mean 'kind'"):
        images_of(Places(), Places.classes, ClassesOptions("kinds"), 8, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"pet": ["cat", "dgo"]}', "unknown class in the super-classes .*'dog'"),
        ('{"pet": ["cat"], "all": ["cat"]}', "'cat' is in the super-classes 'pet' and 'all'"),
        ('{"pet": "cat"}', "do not map names to lists"),
        ("pet: cat", "are no JSON"),
        (None, "cannot read the super-classes"),
    ],
)
def test_a_mapping_that_is_wrong_is_named(content: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=says):
        read_mapping(str(file), Places.classes)


def test_counts_are_joined_image_by_image() -> None:
    parts = [count_words([["a cat", "a dog"]]), count_words([["a dog"], ["a bird"]])]
    whole = joined(parts)
    assert whole.words == ("bird", "cat", "dog")
    np.testing.assert_array_equal(whole.shares, [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])


# -- versions --------------------------------------------------------------------------------------------------------
def test_versions_leave_what_they_do_not_change() -> None:
    made, notes = versions_of(Places(), "cat", "train", "", 6, 0)  # type: ignore[arg-type]
    assert list(made) == ["whole", "only foreground", "only background", "mixed"]
    assert notes == ["left out, since no mask covers a part of them: 1 images"]
    whole, front, back, mixed = (images.images for images in made.values())
    square = (slice(None), slice(None), slice(3, 7), slice(4, 8))
    assert torch.equal(front[square], whole[square])
    assert torch.equal(mixed[square], whole[square])
    assert (back[:, 0] == 0).all()  # nothing of the red square is left, in it there is what was beside it
    assert (back[:, 2] == 1).all()
    outside = front.clone()
    outside[square] = float("nan")
    assert (outside[~outside.isnan()] == 0.5).all()
    with pytest.raises(MissingError, match="have no masks"):
        versions_of(Places(masks=False), "cat", "train", "", 6, 0)  # type: ignore[arg-type]
    samples = Places().samples("cat", "train", 4, 0)
    samples.meta["masks"] = samples.meta["masks"][:, :6]  # type: ignore[index]
    with pytest.raises(UsageError, match="the masks have 6 x 12 pixels, the images 12 x 12"):
        masked.covered(samples, "cat")


def test_an_object_that_fills_its_image_is_filled_with_the_mean() -> None:
    images, masks = torch.rand(1, 3, 8, 8), torch.ones(1, 8, 8)
    masks[0, 0, 0] = 0
    made = masked.only_background(images, masks)
    assert torch.allclose(made, images[:, :, :1, :1].expand(-1, -1, 8, 8))


def test_predictions_are_ordered_by_probability_with_paired_changes() -> None:
    whole = np.array([[0.9, 0.1, 0.0]] * 10)
    bare = np.array([[0.2, 0.8, 0.0]] * 10)
    rows = prediction_rows("only background", bare, whole, ("cat", "dog", "gull"), 50, 0)
    assert [row["name"] for row in rows] == ["dog", "cat", "gull"]
    assert (rows[0]["share"], rows[0]["change"], rows[0]["change_lo"]) == (1.0, 1.0, pytest.approx(1))
    assert rows[1]["change"] == -1
    assert (rows[0]["lo"], rows[0]["hi"]) == (pytest.approx(0.7225, abs=1e-3), 1.0)


# -- latents beside captions -----------------------------------------------------------------------------------------
def test_agreement_is_that_of_the_same_category() -> None:
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(6)]
    spoken = [np.eye(6)[i] * 0.6 + 0.1 for i in range(6)]
    a = [rng.binomial(20, p, size=(15, 6)) / 20 for p in spoken]
    b = [rng.binomial(20, p, size=(15, 6)) / 20 for p in spoken]
    rows, p = agreement_rows(names, a, b, 0)
    assert all(row["nearest"] == row["category"] and row["ratio_hi"] < 0.6 for row in rows)
    assert all(row["cosine"] > row["cosine_others"] for row in rows)
    assert p < 0.01
    rows, p = agreement_rows(names, a, b[1:] + b[:1], 0)  # every category has the captions of another one
    assert p > 0.3
    assert rows[0]["nearest"] == "c5"
    assert distances([np.array([1.0, 0])], [np.array([0, 1.0])])[0, 0] == pytest.approx(1)


# -- commands --------------------------------------------------------------------------------------------------------
@pytest.fixture
def zoo(flags: list[str], decoder_and_pairs: Path) -> list[str]:
    """Flags of a data set of two classes in folders, with masks, beside the classifier and decoder of `flags`."""
    root = decoder_and_pairs / "zoo"
    for i, name in enumerate(("stripes", "contrast")):
        for place in ("", "masks"):
            (root / place / name).mkdir(parents=True, exist_ok=True)
        for j in range(12):
            rng = np.random.default_rng([i, j])
            array = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(array).save(root / name / f"{j}.png")
            mask = np.zeros((32, 32), np.uint8)
            mask[8:20, 8:20] = 255
            Image.fromarray(mask).save(root / "masks" / name / f"{j}.png")
    at = flags.index("--data")
    found = [*flags[: at + 1], f"folder:{root}", *flags[at + 2 :]]
    return [*found, f"--set=texplain.pairs={decoder_and_pairs}", "--set=folder.size=32"]


def test_classes_and_versions_are_found_once_and_shown(run: Run, zoo: list[str], tmp_path: Path) -> None:
    out = tmp_path / "classes"
    done = run("classes", *zoo, "--out", str(out))
    assert done.exit_code == 0, (done.output, done.exception)
    assert "2 classes" in done.output
    (record,) = out.glob("findings/*/record.json")
    assert {row["class"] for row in json.loads(record.read_text())["rows"]} == {"stripes", "contrast"}
    assert (record.parent / "clouds.png").is_file()
    assert (out / "texplain-classes.csv").is_file()
    before = record.stat().st_mtime_ns
    assert run("classes", *zoo, "--out", str(out)).exit_code == 0
    assert record.stat().st_mtime_ns == before
    done = run("classes", *zoo, "--class", "stripes", "--out", str(tmp_path / "one"))
    assert "there is only 'stripes' to describe" in str(done.exception)

    done = run("versions", *zoo, "--class", "stripes", "--out", str(out), "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["version"] for row in rows} == {"whole", "only foreground", "only background", "mixed"}
    assert {row["what"] for row in rows} == {"prediction", "word"}
    assert all(row["change"] == 0 for row in rows if row["version"] == "whole")


def test_split_and_group_say_which_images_are_explained(run: Run, zoo: list[str], tmp_path: Path) -> None:
    asked = ["--class", "stripes", "--samples", "3"]
    ids = {}
    for split in ("train", "explain", "test"):
        done = run("explain", *zoo, *asked, "--split", split, "--out", str(tmp_path / split))
        assert done.exit_code == 0, (done.output, done.exception)
        lines = (tmp_path / split / "sentences.jsonl").read_text().splitlines()
        ids[split] = {row["image"] for line in lines if (row := json.loads(line))["of"] == "class"}
    assert not ids["train"] & ids["explain"]
    assert not ids["test"] & (ids["train"] | ids["explain"])
    done = run("explain", *zoo, *asked, "--group", "water", "--out", str(tmp_path / "group"))
    assert isinstance(done.exception, MissingError)
    assert "have no groups" in str(done.exception)
