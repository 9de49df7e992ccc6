"""The data, the classifier and the user each say a class their way, and pictures come framed as the classifier's."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from xcore.contract import MissingError, UsageError
from xcore.registry import Registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

PLUGIN = '''
import torch
from torch import nn
from xcore import hookimpl
from xcore.contract import Samples
from xcore.inputs.images import Framing
from xcore.models.classifiers import TorchClassifier


class Data:
    """Two pictures of each class in each split, all of one value; the size is that of the framing."""

    modality, concepts, vocabulary, defaults = "image", (), (), {}
    skipped, notes = (), ()

    def __init__(self, classes, aliases={}, size=8, empty=()):
        self.classes, self.aliases, self.size, self.empty = classes, aliases, size, empty

    def framed(self, framing):
        return Data(self.classes, self.aliases, framing.size[0], self.empty)

    def samples(self, cls, split, n, seed):
        index = -1 if cls is None else self.classes.index(cls)
        n = 0 if split in self.empty else min(n, 4)
        images = torch.full((n, 3, self.size, self.size), (index + 1) / 10)
        ids = tuple(f"{cls}/{split}/{i}" for i in range(n))
        return Samples("image", images, ids, torch.full((n,), index))

    def truth(self, classifier):
        return None


class Copies(Data):
    """Every second picture is one that the data `synsets` explains."""

    def framed(self, framing):
        return Copies(self.classes, self.aliases, framing.size[0], self.empty)

    def samples(self, cls, split, n, seed):
        made = super().samples(cls, split, n, seed)
        made.images[1::2] += 0.5
        return made


class Apart(Data):
    """Every picture is another one."""

    def framed(self, framing):
        return Apart(self.classes, self.aliases, framing.size[0], self.empty)

    def samples(self, cls, split, n, seed):
        made = super().samples(cls, split, n, seed)
        for name, image in zip(made.ids, made.images):
            image.copy_(torch.rand(image.shape, generator=torch.Generator().manual_seed(sum(name.encode()))))
        return made


@hookimpl
def register_datasets(register):
    register("synsets", lambda *_: Data(("n02391049", "n02129604", "junk"), {"n02391049": ("Equus",)}), summary="x")
    register("names", lambda *_: Data(("Tiger", "ZEBRA")), summary="x")
    register("both", lambda *_: Data(("zebra", "n02391049")), summary="x")
    register("one", lambda *_: Data(("zebra",), empty=("heldout",)), summary="x")
    register("copies", lambda *_: Copies(("zebra", "tiger")), summary="x")
    register("apart", lambda *_: Apart(("zebra", "n02391049"), {"n02391049": ("Equus",)}), summary="x")
    register("commas", lambda *_: Data(("hare, sp.", "zoo")), summary="x")
    register("cranes", lambda *_: Data(("crane", "tiger")), summary="x")


@hookimpl
def register_classifiers(register):
    def make(*_):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
        aliases = {"zebra": ("n02391049", "striped horse"), "tiger": ("n02129604",)}
        names = ["crane", "zebra", "tiger", "crane"]
        return TorchClassifier(net, names, aliases=aliases, framing=Framing((16, 16), 20))
    register("net", make, summary="x")

    def without_aliases(*_):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
        return TorchClassifier(net, ["crane", "equus", "tiger", "zebra"], framing=Framing((16, 16), 20))
    register("other-net", without_aliases, summary="x")


@hookimpl
def register_explainers(register):
    register("nothing", lambda *_: None, summary="x")
'''


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "plugin.py").write_text(textwrap.dedent(PLUGIN))
    made = Registry()
    made.load_file(tmp_path / "plugin.py")
    return made


def opened(registry: Registry, folder: Path, **keys: Any) -> tuple[Workbench, Any]:
    suite = Suite(**{"methods": ["nothing"], "classifiers": ["net"], "data": "synsets", **keys})
    (cell,) = make_plan(suite, registry).cells
    bench = Workbench(registry, Store(folder / "run"))
    bench.check(cell)
    return bench, cell


SAID = ["n02391049", "Zebra", "striped-horse", "1"]


@pytest.mark.parametrize(
    ("data", "said"), [(d, s) for d in ("synsets", "names") for s in SAID] + [("synsets", "equus")]
)
def test_the_class_is_the_same_whoever_names_it(registry: Registry, tmp_path: Path, said: str, data: str) -> None:
    bench, cell = opened(registry, tmp_path, data=data, classes=[said])
    task = bench.task(cell, tmp_path, lambda *_: None)
    assert task.target_name == "zebra"
    assert cell.cls == {"synsets": "n02391049", "names": "ZEBRA"}[data]
    assert task.samples.ids[0].startswith(cell.cls)
    assert task.data.classes == {"synsets": ("zebra", "tiger", "junk"), "names": ("tiger", "zebra")}[data]
    others = {i.partition("/")[0] for i in task.random_set(2, 0).ids}
    assert others <= {"n02129604", "junk", "Tiger"}
    assert task.data.samples("tiger", "train", 1, 0).ids[0].startswith(("n02129604", "Tiger"))


def test_pictures_come_as_the_classifier_frames_them(registry: Registry, tmp_path: Path) -> None:
    bench, cell = opened(registry, tmp_path, classes=["zebra"], heldout="names", contrast="names")
    task = bench.task(cell, tmp_path, lambda *_: None)
    for samples in (task.samples, bench.heldout(cell), task.random_set(2, 0), task.data.samples(None, "train", 1, 0)):
        assert samples.images.shape[2:] == (16, 16)


def test_held_out_samples_may_come_from_data_that_say_the_class_otherwise(registry: Registry, tmp_path: Path) -> None:
    bench, cell = opened(registry, tmp_path, classes=["zebra"], heldout="names")
    assert bench.heldout(cell).ids[0] == "ZEBRA/heldout/0"
    alone, cell = opened(registry, tmp_path, data="one", contrast="names", classes=["zebra"])
    with pytest.raises(MissingError, match=r"no held-out samples of class .zebra..*--heldout REF"):
        alone.heldout(cell)
    with pytest.raises(UsageError, match=r"unknown class of data set cranes, to be held out: 'zebra'"):
        opened(registry, tmp_path, data="one", heldout="cranes", contrast="names", classes=["zebra"])


def test_what_a_method_sees_is_never_held_out(registry: Registry, tmp_path: Path) -> None:
    bench, cell = opened(registry, tmp_path, classes=["zebra"], heldout="copies")
    assert [i.rpartition("/")[2] for i in bench.heldout(cell).ids] == ["1", "3"] * 3  # of each of its splits
    assert bench.notes(cell)[-1] == "6 held-out sample(s) of copies are explained, too, and are left out"


def cell_of(registry: Registry, **keys: Any) -> Any:
    """The zebras of `synsets`, to be explained; keys change the suite."""
    made = {
        "methods": ["nothing"],
        "classifiers": ["net"],
        "data": "synsets",
        "classes": ["n02391049"],
        "contrast": "names",
        **keys,
    }
    (cell,) = make_plan(Suite(**made), registry).cells
    return cell


def heldout_and_others(bench: Workbench, cell: Any) -> tuple[Any, ...]:
    others = bench.random_sets(cell, "train")
    return bench.heldout(cell).ids, {i.partition("/")[0] for index in range(8) for i in others(2, index).ids}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # The second classifier takes n02391049 for its "equus": what it calls "zebra" is another class.
        ({"heldout": "apart"}, {"classifiers": ["other-net"], "heldout": "apart"}),
        ({}, {"classifiers": ["other-net"]}),
        # The first cell sees nothing else of the data that are held out, so all of their splits may be.
        (
            {"data": "copies", "classes": ["zebra"], "heldout": "apart"},
            {"data": "apart", "classes": ["zebra"], "heldout": "apart"},
        ),
    ],
    ids=["heldout", "random sets", "splits"],
)
def test_a_cell_sees_the_same_samples_whichever_cells_went_before(
    registry: Registry, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    cells = [cell_of(registry, **keys) for keys in (first, second)]
    alone = [heldout_and_others(Workbench(registry, Store(tmp_path / f"alone{i}")), c) for i, c in enumerate(cells)]
    bench = Workbench(registry, Store(tmp_path / "together"))
    assert [heldout_and_others(bench, cell) for cell in cells] == alone
    bench = Workbench(registry, Store(tmp_path / "turned"))
    assert [heldout_and_others(bench, cell) for cell in reversed(cells)] == alone[::-1]


def test_a_class_that_nobody_knows_is_refused_once_and_for_both(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"classifier knows the class 'tiger'.*the data set has no samples"):
        opened(registry, tmp_path, data="one", classes=["n02129604"])
    with pytest.raises(UsageError, match="unknown class 'okapi'"):
        opened(registry, tmp_path, classes=["okapi"])
    with pytest.raises(UsageError, match=r"class of classifier net: 'junk'.*have a name, an index or a synset id"):
        opened(registry, tmp_path, classes=["junk"])
    with pytest.raises(UsageError, match=r"'crane' may be any of 2 classes .*'crane \(0\)'.*'crane \(3\)'"):
        opened(registry, tmp_path, data="cranes", classes=["crane"])
    with pytest.raises(UsageError, match=r"class 'crane' may be 'crane \(0\)' or .*call it 'crane \(3\)' in the data"):
        opened(registry, tmp_path, data="cranes", classes=["crane (3)"])
    with pytest.raises(UsageError, match=r"no samples of it \(it has 'hare, sp\.', 'zoo'; .* of the class in common\)"):
        opened(registry, tmp_path, data="commas", classes=["zebra"])
    with pytest.raises(UsageError, match="'zebra' and 'n02391049' of both are both 'zebra' of net"):
        opened(registry, tmp_path, data="both", classes=["zebra"])
