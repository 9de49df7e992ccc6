"""Which samples are explained: those of a split and of a group, of data whose metadata name them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xcore.api import load_registry
from xcore.cli.main import main
from xcore.contract import MissingError, UsageError, digest
from xcore.run.plan import Suite, make_plan
from xcore.run.plan_record import plan_from_record
from xcore.run.workbench import Workbench
from xcore.store import identity as identities
from xcore.store.run_directory import Store

PLUGIN = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Red and blue pictures, a third of each in a split, and every second one of each on water."""
    folder, lines, rng = tmp_path / "photos", ["file,class,split,group"], np.random.default_rng(0)
    for cls, channel in (("red", 0), ("blue", 2)):
        (folder / cls).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / cls / f"{i}.png")
            lines.append(f"{cls}/{i}.png,{cls},{('train', 'val', 'test')[i % 3]},{('water', 'land')[i // 3 % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def cells(photos: Path, **keys: Any) -> Any:
    registry = load_registry([str(PLUGIN)])
    about = {"data": f"folder:{photos}", "classifiers": ["toy-net"], "classes": ["red"], "methods": ["toy"], **keys}
    return make_plan(Suite(**about), registry), registry


def numbers(samples: Any) -> set[int]:
    return {int(Path(name).stem) for name in samples.ids}


def test_samples_are_those_of_the_split_and_of_the_group(photos: Path, tmp_path: Path) -> None:
    for split, place in (("train", 0), ("explain", 1), ("val", 1), ("test", 2)):
        for group, half in (("", None), ("water", 0), ("land", 1)):
            plan, registry = cells(photos, split=split, group=group)
            found = numbers(Workbench(registry, Store(tmp_path / "work")).explained(plan.cells[0]))
            expected = {i for i in range(30) if i % 3 == place and half in (None, i // 3 % 2)}
            assert found == expected, (split, group)
            told = [note for note in plan.notes if "the explained samples are" in note]
            assert bool(told) == ((plan.cells[0].split, group) != ("explain", ""))
            assert plan_from_record(plan.as_plain()).cells == plan.cells


def test_what_is_not_there_is_told(photos: Path, tmp_path: Path) -> None:
    bench = Workbench(cells(photos)[1], Store(tmp_path / "work"))
    with pytest.raises(UsageError, match="unknown group of 'red' in the split 'train': 'watr'") as near:
        bench.explained(cells(photos, split="train", group="watr")[0].cells[0])
    assert "water" in near.value.hint
    with pytest.raises(UsageError, match="unknown split"):
        cells(photos, split="trian")
    with pytest.raises(UsageError, match="metrics judge by held-out samples, and these are to be explained"):
        cells(photos, split="test", metrics=["brightness"])
    assert cells(photos, split="test", metrics=["brightness"], heldout="toy")[0].cells[0].split == "heldout"
    (photos / "metadata.csv").unlink()
    bench = Workbench(cells(photos)[1], Store(tmp_path / "other"))
    with pytest.raises(MissingError, match="have no groups, so that 'water' cannot be chosen"):
        bench.explained(cells(photos, group="water")[0].cells[0])


def test_explanations_of_the_usual_samples_keep_their_identity(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    real = identities.digest
    monkeypatch.setattr(identities, "digest", lambda value: kept.append(value) or real(value))

    def keys(**given: Any) -> set[str]:
        plan, registry = cells(photos, **given)
        identities.Identity(registry).explanation(plan.cells[0])
        return set(kept[-1])

    usual = {"contract", "method", "classifier", "layer", "data", "contrast", "class", "seed", "data_seed", "generator"}
    assert keys() == keys(split="val") == usual | {"models", "samples", "steps"}
    assert keys(split="train", group="land") == keys() | {"split", "group"}


def test_runs_know_the_cells_that_came_before_splits_and_groups(photos: Path) -> None:
    """``identities.json`` of an older run names its cells by the digest of the fields that there were then."""
    usual, other = cells(photos)[0].cells[0], cells(photos, split="train", group="land")[0].cells[0]
    before = {key: value for key, value in asdict(usual).items() if key not in ("split", "group")}
    assert identities.cell_key(usual) == digest(before)
    assert identities.cell_key(other) == digest(asdict(other))


def test_a_baseline_of_other_samples_is_none(photos: Path) -> None:
    from xcore.ci.baseline import _pairs, _settings

    def made(**keys: Any) -> Any:
        return _settings(cells(photos, **keys)[0])["settings"]

    usual, other = made(), made(split="train", group="land")
    assert not {"split", "group"} & set(usual), "baselines stay as they were"
    differ = {what: (a, b) for what, a, b in _pairs(usual, other, {}, {}) if a != b}
    assert differ == {"split": ("explain", "train"), "group": ("", "land")}
    assert not [what for what, a, b in _pairs(usual, made(), {}, {}) if a != b]


def test_the_command_explains_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["xcore", "explain", "toy", "--data", f"folder:{photos}", "--classifier", "toy-net", "--class", "red"]
    words += [
        "--set",
        "folder.size=16",
        "--plugin",
        str(PLUGIN),
        "--split",
        "train",
        "--group",
        "land",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, capsys.readouterr().err
    record = json.loads(next((tmp_path / "out" / "explanations").glob("*/record.json")).read_text())
    assert (record["cell"]["split"], record["cell"]["group"]) == ("train", "land")
    assert "split 'train' of the group 'land'" in (tmp_path / "out" / "table.md").read_text()
