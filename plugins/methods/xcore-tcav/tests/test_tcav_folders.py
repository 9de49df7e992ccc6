"""Concepts from folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from xcore_tcav.folders import Folders, fingerprint, parse
from xcore_tcav.options import TcavOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Explanation, MissingError, Ref, Samples, Task, UsageError
from xcore.inputs.images import Framing, read_picture
from xcore.models.classifiers import TorchClassifier
from xcore.registry import load_registry
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.store.identity import Identity

pytest.importorskip("xcore_vision")
SIDE = 8


def paint(folder: Path, colour: tuple[int, int, int], n: int, size: tuple[int, int] = (20, 14)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(colour))
    for i in range(n):
        pixels = np.clip(np.array(colour) + rng.normal(0, 20, (*size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    paint(tmp_path / "concepts" / "red", (220, 60, 60), 24)
    paint(tmp_path / "concepts" / "blue", (60, 60, 220), 24)
    return tmp_path / "concepts"


class Red(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.pool(x)
        rise = torch.tanh(3 * (a[:, 0] - a[:, 2])).mean((1, 2))
        return torch.stack((rise, -rise), 1)


def grey(n: int, seed: int, size: tuple[int, int]) -> Samples:
    x = torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    return Samples("image", 0.5 * x + 0.5 * x.mean((2, 3), keepdim=True), tuple(f"{seed}/{i}" for i in range(n)))


def run(workdir: Path, folders: Iterable[str], size: tuple[int, int] = (SIDE, SIDE), **options: Any) -> Explanation:
    samples = grey(16, 1, size)
    data = LiveData(samples, "red", grey(120, 2, size), ())
    task = Task(
        TorchClassifier(Red(), ["red", "not"], input_size=size),
        "pool",
        0,
        samples,
        RandomSets(data, "red", "train", seed=0, pool_size=60),
        TrainingData(data),
        seed=0,
        workdir=workdir,
    )
    made = Tcav(TcavOptions(negatives=6, folders=tuple(folders), **options)).explain(task)
    assert made.concepts
    return made


@pytest.mark.parametrize("size", [(SIDE, SIDE), (6, 10)])
def test_sub_folders_are_concepts(tmp_path: Path, root: Path, size: tuple[int, int]) -> None:
    got = run(tmp_path, [str(root)], size)
    assert [c.name for c in got.concepts] == ["red", "blue"]
    assert [c.evidence["outside"] for c in got.concepts] == [1, 1]
    red = got.concepts[0].samples
    assert red is not None
    assert red.images.shape == (10, 3, *size)
    assert float(red.images[:, 0].mean()) > 0.7 > 0.4 > float(red.images[:, 2].mean())
    assert red.ids[0].startswith("concepts/red/")
    assert [c.name for c in run(tmp_path, [str(root)], concepts="blue").concepts] == ["blue"]
    with pytest.raises(UsageError, match="did you mean 'blue'"):
        run(tmp_path, [str(root)], concepts="bleu")


def test_a_folder_by_name(tmp_path: Path, root: Path) -> None:
    got = run(tmp_path, [f"scarlet={root / 'red'}", f"any={root}"])
    assert [c.name for c in got.concepts] == ["scarlet", "any"]
    assert got.concepts[0].evidence["set_size"] == 10
    found = Folders([f"scarlet={root / 'red'}"], (SIDE, SIDE)).images("scarlet", 99)
    assert len(set(found.ids)) == 24
    few = Folders([f"scarlet={root / 'red'}"], (SIDE, SIDE)).images("scarlet", 5)
    assert few.ids == found.ids[:5]
    with pytest.raises(UsageError, match=r"two entries of tcav\.folders have a concept 'red'"):
        run(tmp_path, [str(root), f"red={root / 'blue'}"])


def test_entries(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse([str(odd), "x=y", "plain"]) == [("", str(odd)), ("x", "y"), ("", "plain")]


@pytest.mark.parametrize("entry", ["{root}", "red={root}/red"])
def test_unreadable_images_are_counted_and_named(tmp_path: Path, root: Path, entry: str) -> None:
    for i in range(7):
        (root / "red" / f"broken{i}.png").write_bytes(b"no picture")
    got = run(tmp_path, [entry.format(root=root)], n=15, shown=15)
    note = next(n for n in got.notes if "skipped" in n)
    assert note.startswith("7 file(s) were skipped: ")
    assert "broken0.png: not a picture" in note
    assert note.endswith("; and 2 more")
    assert got.concepts[0].evidence["set_size"] == 15


def test_an_empty_folder_is_one_clear_line(tmp_path: Path, root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no images in .*concepts/empty'"):
        run(tmp_path, [str(root)])
    with pytest.raises(UsageError, match=r"no images in .*concepts/empty'"):
        run(tmp_path, [f"nothing={root / 'empty'}"])
    with pytest.raises(UsageError, match=r"no image folder .*/rde'.*did you mean .*/red'"):
        run(tmp_path, [f"red={root / 'rde'}"])
    one = root.parent / "one"
    paint(one / "single", (0, 0, 0), 1)
    with pytest.raises(UsageError, match="'single' has 1 image"):
        run(tmp_path, [str(one)])
    for path in (root / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"'red' has 0 image.*24 file.*were skipped: .*the file is empty"):
        run(tmp_path, [f"red={root / 'red'}"])


def test_a_folder_needs_its_reader(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("XCORE_PLUGINS", "tcav")
    with pytest.raises(MissingError, match="xcore-vision"):
        Folders([str(root)], (SIDE, SIDE))


def test_other_images_make_another_explanation(root: Path) -> None:
    def identity(*folders: str) -> str:
        return Identity(load_registry()).component("explainer", Ref("tcav", {"folders": folders}))

    one = identity(str(root))
    assert one == identity(str(root))
    assert one != identity()
    paint(root / "green", (60, 220, 60), 2)
    two = identity(str(root))
    assert two != one
    os.utime(root / "green" / "00.png", (1, 1))
    assert identity(str(root)) != two
    assert fingerprint(TcavOptions(folders=(str(root),))) != fingerprint(TcavOptions(folders=(f"all={root}",)))
    assert fingerprint(TcavOptions()) == ""
    with pytest.raises(UsageError, match="no image folder"):
        identity(str(root / "gone"))


def test_replacing_the_size_reads_the_images_anew(root: Path) -> None:
    small, large = (Folders([str(root)], size).images("red", 3) for size in ((8, 8), (16, 16)))
    assert small.ids == large.ids
    assert replace(large).images.shape[-1] == 16


def test_concepts_are_framed_as_the_classifier_frames(root: Path) -> None:
    framing = Framing((16, 12), 20, "bilinear")
    for entry in (str(root), f"red={root / 'red'}"):
        found = Folders([entry], (16, 12), framing).images("red", 4)
        for name, image in zip(found.ids, found.images, strict=True):
            assert torch.equal(image, read_picture(root / "red" / Path(name).name, framing))
