"""What a small bench asks for, in numbers that do not depend on how busy the machine is: see docs/performance.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from counted_world import GIVEN, WATCHED, Passes, content, pictures

from xcore.api import bench
from xcore.contract import samples as samples_module

PLUGIN = Path(__file__).parents[1] / "plugins" / "counted_plugin.py"
ALL, CLASSES, SEEDS, CONCEPTS = ("bars", "dots", "plain", "grid"), ["bars", "dots"], [0, 1], ("lines", "spots", "mist")
EXPLAIN, TRAIN, HELDOUT = 1, 0, 2
"""What the data set adds to a seed for each split."""
N = 12
"""Pictures of a class that are explained, and as many that are held out."""
POOL = 24
"""Pictures in the pool of random sets that CAVs are fitted against, and as many in that of their counterparts."""
SET = 5
"""Pictures of a concept that are fitted, as many that are shown, and those in each random set."""
LOOK = 2
"""Held-out pictures by which TS sees whether the model is the one that it has kept gradients of."""
PASSES = 309
"""Pictures that pass the network, at most: those of the world, and those that tell how the network is made."""
HASHED = 392
"""Pictures, 128 of them for the pools."""
WRITTEN = {"explanations": 4_000_000, "scores": 500_000}
"""Bytes, at most: a fifth more than there were of explanations."""
MODULES = {"--help": 360, "list": 360}
"""Modules that a command has imported when it ends, at most, where no cards are kept: a fifth more than there were."""
KEPT = 220
"""The same for `xcore list` with the cards of the first time."""


@dataclass
class Counted:
    """What a bench asked for."""

    passes: Passes
    hashed: int
    given: Mapping[str, int]
    out: Path


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """TCAV and its metric for two classes and two seeds, which explain the same pictures."""
    out, hashed = tmp_path_factory.mktemp("counted") / "run", 0
    digest = samples_module._digest

    def counting(modality: Any, data: Any) -> str:
        nonlocal hashed
        hashed += len(data)
        return digest(modality, data)

    GIVEN.clear()
    WATCHED.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xcore.run.random_sets.POOL", POOL)
        patch.setattr(samples_module, "_digest", counting)
        done = bench(
            ["tcav"],
            out=out,
            plugins=[PLUGIN],
            data="counted",
            classes=CLASSES,
            seeds=SEEDS,
            data_seed=0,
            metrics=["TS"],
            controls=[],
            budget={"samples": N, "heldout": N},
            set={"tcav": {"n": SET, "shown": SET, "maps": 0, "null": 39}, "TS": {"n": SET, "null": 39}},
        )
    assert len(done.rows) == len(CLASSES) * len(SEEDS) * len(CONCEPTS)
    assert all(row["scores"]["TS"]["value"] is not None for row in done.rows)
    (passes,) = WATCHED  # one network for all cells
    return Counted(passes, hashed, dict(GIVEN), out)


def contents(kind: str, rows: slice, seed: int) -> list[str]:
    return [content(image) for image in pictures(kind, rows.stop, seed).images[rows]]


def test_each_picture_passes_once_for_its_class(counted: Counted) -> None:
    share = 2 * POOL // (len(ALL) - 1)
    expected = Counter[str]()
    for cls in CLASSES:
        expected.update(2 * contents(cls, slice(0, N), EXPLAIN))  # for their logits, and to the layer
        expected.update(contents(cls, slice(0, N), HELDOUT))
        expected.update(contents(cls, slice(0, LOOK), HELDOUT))
        for other in set(ALL) - {cls}:
            for split in (TRAIN, HELDOUT):
                expected.update(contents(other, slice(0, share), split))
    for concept in CONCEPTS:  # two sets: what is fitted, and what is shown, which TS scores; for all classes
        expected.update(contents(concept, slice(0, 2 * SET), 0))
    found = counted.passes.images
    over = {key: n - expected[key] for key, n in found.items() if key in expected and n > expected[key]}
    assert len(over) <= 2, "only the first two pictures are tried before the network runs"
    assert set(over.values()) <= {1}
    assert found.total() <= PASSES


def test_one_backward_pass_of_the_class_pictures_for_all_concepts_and_seeds(counted: Counted) -> None:
    assert counted.passes.rows_back == len(CLASSES) * (N + N + LOOK)
    assert counted.passes.backwards == len(CLASSES) * 3


def test_pictures_are_drawn_once_for_all_seeds_and_classes(counted: Counted) -> None:
    pools = len(ALL) * (2 * POOL // (len(ALL) - 1))  # what each class gives to the pools of all others
    assert counted.given["train"] == pools
    assert counted.given["explain"] == len(CLASSES) * N
    assert counted.given["heldout"] == pools + len(CLASSES) * N
    assert counted.given["concept"] <= len(CLASSES) * len(SEEDS) * len(CONCEPTS) * N  # each cell draws its own


def test_pictures_of_pools_are_hashed_once(counted: Counted) -> None:
    assert counted.hashed <= HASHED, counted.hashed


def test_what_is_written_is_small(counted: Counted) -> None:
    for folder, most in WRITTEN.items():
        written = sum(path.stat().st_size for path in (counted.out / folder).rglob("*") if path.is_file())
        assert 0 < written <= most


def imported(word: str, cache: Path) -> int:
    """How many modules `xcore WORD` has imported when it ends."""
    code = (
        "import sys\n"
        "from xcore.cli.main import main\n"
        f"sys.argv = ['xcore', {word!r}]\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "print(len(sys.modules))"
    )
    env = {**os.environ, "XCORE_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return int(done.stdout.splitlines()[-1])


def test_commands_import_few_modules(tmp_path: Path) -> None:
    for word, most in MODULES.items():
        assert imported(word, tmp_path / word) <= most
    assert imported("list", tmp_path / "list") <= KEPT
