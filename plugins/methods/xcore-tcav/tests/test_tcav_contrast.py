"""Random sets made of the other concepts' pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from xcore_tcav.contrast import OTHERS, renderings, with_others
from xcore_tcav.options import TcavOptions
from xcore_tcav.sources import ConceptSet

import xcore
from xcore.contract import Explanation, Samples, UsageError

SIDE = 8
TONES = {"bright": 60, "plain": 0, "even": 0, "dull": -20, "dim": -40}
"""Concept -> how much brighter its red is than that of the paper that all are painted on."""


class Red(nn.Module):
    """Two logits that rise and fall with the red of each quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        rise = torch.tanh(3 * self.pool(x)[:, 0]).mean((1, 2))
        return torch.stack((rise, -rise), 1)


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    """Concepts that are all painted on reddish paper."""
    rng = np.random.default_rng(0)
    for name, tone in TONES.items():
        (tmp_path / "concepts" / name).mkdir(parents=True)
        for i in range(24):
            pixels = np.array([170 + tone, 60, 60]) + rng.normal(0, 20, (SIDE, SIDE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "concepts" / name / f"{i:02d}.png")
    return tmp_path / "concepts"


def explained(folders: list[str], **options: Any) -> Explanation:
    grey = torch.rand(80, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1) * 0.5
    return xcore.explain(
        "tcav",
        Red(),
        grey[:16].clone(),
        target="red",
        class_names=["red", "not"],
        contrast=grey[16:].clone(),
        layer="pool",
        options={"folders": folders, "negatives": 6, "maps": 0, **options},
    )


def test_what_all_pictures_of_concepts_share_is_no_concept(paintings: Path) -> None:
    """Against photographs even the dullest painting is red; against other paintings only the bright one is."""
    pytest.importorskip("xcore_vision")
    photographs = explained([str(paintings)], contrast="random")
    assert all(c.importance > 0.3 and c.evidence["outside"] for c in photographs.concepts)
    alike = {c.name: c for c in explained([str(paintings)]).concepts}
    assert alike["bright"].importance > 0.3
    assert alike["bright"].evidence["outside"]
    assert alike["dim"].importance < -0.3
    assert max(abs(alike[name].importance) for name in ("plain", "even")) < alike["bright"].importance
    assert any("pictures of the other concepts" in note for note in explained([str(paintings)]).notes)


def test_pictures_of_the_other_concepts_count_as_forward_passes(paintings: Path) -> None:
    """16 of the class, 10 of each of 5 concepts that CAVs are fitted on, and 20 of each in random sets."""
    pytest.importorskip("xcore_vision")
    assert explained([str(paintings)]).cost.forwards == 16 + 5 * 10 + 5 * 20


def test_few_concepts_are_compared_with_samples_of_other_classes(paintings: Path) -> None:
    pytest.importorskip("xcore_vision")
    got = explained([str(paintings)], concepts=("bright", "plain", "dull"))
    assert any("at least 4 concepts are needed, and there are 3" in note for note in got.notes)
    assert all(c.importance > 0 for c in got.concepts)
    with pytest.raises(UsageError, match="at least 4 concepts are needed"):
        explained([str(paintings)], concepts=("bright", "plain"), contrast="others")


def concept(name: str, n: int) -> ConceptSet:
    made = Samples("image", torch.rand(n, 3, 2, 2), tuple(f"{name}/{i}" for i in range(n)))
    return ConceptSet(name, made.take(slice(n // 2)), made.take(slice(n // 2, n)), "as-is")


def test_sets_leave_out_the_concept_and_share_nothing_with_the_null() -> None:
    sets = [concept(name, 12) for name in "abcd"]
    draw = with_others(lambda *asked: pytest.fail("no other samples are needed"), sets, 0)
    seen: dict[str, set[str]] = {}
    for purpose in ("negative", "null"):
        drawn = [draw(6, i, f"{OTHERS}b", purpose) for i in range(40)]  # type: ignore[arg-type]
        seen[purpose] = {name for s in drawn for name in s.ids}
        assert len({s.ids for s in drawn}) > 30
        assert drawn[0].ids == draw(6, 0, f"{OTHERS}b", purpose).ids  # type: ignore[arg-type]
    assert not seen["negative"] & seen["null"]
    assert {name[0] for name in seen["negative"] | seen["null"]} == {"a", "c", "d"}
    assert {name[0] for i in range(40) for name in draw(6, i, OTHERS, "null").ids} == set("abcd")


def test_too_few_pictures_are_said() -> None:
    sets = [concept(name, 4) for name in "abcd"] + [concept("e", 40)]
    found, notes = renderings(sets, TcavOptions(folders=("DIR",)))
    assert found == ["as-is"] * 5
    assert "too few pictures for random sets of 20" in notes[0]
    assert renderings(sets[:4], TcavOptions(folders=("DIR",)))[0][0] == f"{OTHERS}a"
    assert renderings(sets[:4], TcavOptions()) == (["as-is"] * 4, [])
    assert renderings(sets[:4], TcavOptions(folders=("DIR",), against="others")) == (["as-is"] * 4, [])
