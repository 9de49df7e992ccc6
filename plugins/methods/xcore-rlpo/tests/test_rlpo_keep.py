"""Updates are kept where they help, and taken back elsewhere: by scripted scores, and in a world of colours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_rlpo.algorithm import Search
from xcore_rlpo.keeping import NOT_RISEN, NOT_SHOWN, ROSE
from xcore_rlpo.options import Options
from xcore_rlpo.policy import RoundRobin
from xcore_rlpo.rlpo import Rlpo
from xcore_rlpo.testing import COLOURS, Painter, Reader

from xcore.contract import Explanation, Samples, Task
from xcore.models.classifiers import TorchClassifier
from xcore.store.run_directory import Artifacts

GRAY: dict[str, Any] = {"prompts": ["gray"], "rank": "tcav", "search": "brute", "patience": 0, "eta": 1.0}


class Hues:
    """An image-text model that tells hues apart: it embeds pictures by their mean colour."""

    name = "hues"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([COLOURS[t] for t in texts])


def tuned_gray(tmp_path: Path, roles: Sequence[str] = (), **options: Any) -> Explanation:
    """What becomes of the prompt "gray" for a class of red pictures."""
    rng = torch.Generator().manual_seed(5)
    images = torch.rand(20, 3, 8, 8, generator=rng) * 0.5
    images[:, 0, :, 2:6] += 0.4

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        colours = ("red", "green", "blue", "gray", "pale green")
        return Painter().generate([colours[(index + i) % 5] for i in range(n)], range(n * index, n * index + n))

    task = Task(
        TorchClassifier(Reader(), ["a red class", "a leafy class"], input_size=8),
        "mix",
        0,
        Samples("image", images, tuple(f"class/{i}" for i in range(20))),
        random_set,  # type: ignore[arg-type]
        data=None,  # type: ignore[arg-type]
        seed=0,
        generator=Painter(),
        model=lambda role: Hues(),
        roles=tuple(roles),
        artifact=Artifacts(tmp_path / "artifacts").get,
        workdir=tmp_path,
    )
    return Rlpo(Options(**{**GRAY, "n": 5, "negatives": 6, "shown": 4, **options})).explain(task)


class Scripted:
    """A scorer that gives prepared effects, for the two groups of one call after the other."""

    def __init__(self, *script: tuple[float, float]) -> None:
        self.script = iter(script)

    def score_many(self, sets: Sequence[Samples], render: str) -> list[Any]:
        return [SimpleNamespace(ts=0.5, effect=effect, ts_each=[0.5]) for effect in next(self.script)]


def search_of(script: Scripted, steps: int, prompts: Sequence[str] = ("red",), **options: Any) -> Search:
    o = Options(**{"n": 3, "adapt": {"lr": 1.0}, "trajectory_every": 1, "patience": 0, **options})
    made = Search(Painter(), script, prompts, o, steps=steps, seed=0, render="as-is")  # type: ignore[arg-type]
    made.run(RoundRobin(len(prompts)))
    return made


def test_an_update_is_judged_when_its_prompt_is_drawn_again_and_taken_back_with_its_adapter() -> None:
    made = search_of(
        Scripted(
            (0.1, 0.0),  # step 1: an update
            *((0.4, 0.2), (0.1, 0.1)),  # step 2: drawn by the update, and by the original generator: kept, a second one
            *((0.2, 0.2), (0.3, 0.3)),  # step 3: the second one is worse; its groups make way for those of before
        ),
        steps=3,
    )
    first, second, third = made.trace
    assert (first["kept"], first["why"], first["gain"]) == (True, ROSE, pytest.approx(0.2))
    assert (second["kept"], second["why"], second["gain"]) == (False, NOT_RISEN, pytest.approx(-0.1))
    assert [row["effect"] for row in made.trace] == [[0.1, 0.0], [0.4, 0.2], [0.3, 0.3]]
    assert [row["reward"] for row in made.trace] == pytest.approx([0, 0.2, -0.1])
    assert (third["updated"], third["rule"]) == (False, "tie")
    assert [row["images"] for row in made.trace] == [6, 18, 30]
    assert first["adapter"] == third["adapter"] != second["adapter"], "the adapter of the first update is back"
    assert made.adapters["red"].digest == first["adapter"]
    assert (made.updates, made.kept) == ([2], [1])
    known = [made.adapter_of("red", at) for at in (1, 2, 3)]
    assert [a.digest if a else None for a in known] == [None, first["adapter"], first["adapter"]]
    of_steps: list[list[tuple[int, str]]] = [[(s, a) for _, s, a in made.generator.drawn[6:][:12]]]  # type: ignore[attr-defined]
    tuned, before = of_steps[0][:6], of_steps[0][6:]
    assert [s for s, _ in tuned] == [s for s, _ in before], "both draw the same noise"
    assert {a for _, a in before} == {""} != {a for _, a in tuned}


def test_updates_that_are_left_at_the_end_are_judged_by_one_more_pair_of_groups() -> None:
    made = search_of(
        Scripted((0.1, 0.0), (0.1, 0.0), *((0.3, 0.3), (0.2, 0.2)), *((0.1, 0.1), (0.2, 0.2))),
        steps=2,
        prompts=("red", "blue"),
    )
    assert [row["kept"] for row in made.trace] == [True, False]
    assert set(made.adapters) == {"red"}
    assert made.drawn == 2 * 6 + 2 * 12


def test_the_state_of_the_optimiser_is_taken_back_too() -> None:
    script = ((0.1, 0.0), *((0.4, 0.2), (0.1, 0.1)), *((0.2, 0.2), (0.3, 0.3)))
    for steps in (2, 3):  # of two steps the second update is judged at the end, by the same scores
        made = search_of(Scripted(*script), steps=steps)
        assert made.updates == [2]
        assert made.adapters["red"].optimiser["updates"] == 1


def test_all_updates_are_kept_on_demand_and_their_gains_are_told_all_the_same() -> None:
    made = search_of(Scripted((0.1, 0.0), *((0.2, 0.1), (0.3, 0.3))), steps=2, keep="all", updates=1)
    assert (made.trace[0]["kept"], made.trace[0]["gain"]) == (True, pytest.approx(-0.15))
    assert (made.updates, made.kept) == ([1], [1])
    assert made.trace[1]["reward"] == pytest.approx(-0.15)


def test_drawings_that_no_longer_show_their_prompt_are_taken_back(tmp_path: Path) -> None:
    tuned = tuned_gray(tmp_path, steps=12, adapt={"lr": 10.0})
    assert {row["why"] for row in tuned.trace if row["updated"]} <= {ROSE, NOT_RISEN}
    assert tuned.concepts[0].evidence["updates_kept"] > 0
    held = tuned_gray(tmp_path, ("image-text",), steps=12, adapt={"lr": 10.0})
    spoiled = [row for row in held.trace if row.get("why") == NOT_SHOWN]
    assert spoiled, "gray that turns red reads as gray no more"
    assert all(row["reading"] < row["reading_before"] - row["reading_sd"] and row["gain"] > 0 for row in spoiled)
    for row in held.trace:
        if row["updated"] and row["kept"]:
            assert row["reading"] >= row["reading_before"] - row["reading_sd"]
            assert row["gain"] > 0
    assert f" because {NOT_SHOWN}" in " ".join(held.notes)
    wrong = held.concepts[0].samples.images.mean((0, 2, 3)), tuned.concepts[0].samples.images.mean((0, 2, 3))
    assert wrong[0].std() < wrong[1].std(), "what is kept is grayer"


def test_where_nothing_helps_the_generator_is_left_as_it_was(tmp_path: Path) -> None:
    still = tuned_gray(tmp_path, steps=8, update=False, reward="ts")
    for lr in (0.0, -3.0):  # updates that change nothing, and updates towards the worse group
        got = tuned_gray(tmp_path, steps=8, adapt={"lr": lr})
        made = [row for row in got.trace if row["updated"]]
        assert len(made) == 8
        if lr == 0:
            assert {row["gain"] for row in made} == {0.0}, "a gain has no bias: nothing is gained by nothing"
            assert {row["reward"] for row in got.trace} == {0.0}
        kept = sum(row["kept"] for row in made)
        assert kept == got.concepts[0].evidence["updates_kept"]
        if not kept:
            assert got.files == {}
            assert got.concepts[0].render == "generated:painter"
            assert torch.equal(got.concepts[0].samples.images, still.concepts[0].samples.images)
    assert lr < 0
    assert kept < 4


def test_the_trajectory_shows_what_was_kept(tmp_path: Path) -> None:
    got = tuned_gray(tmp_path, steps=6, adapt={"lr": 3.0}, trajectory_every=1)
    about = json.loads(got.files["trajectory.json"].read_text())
    shown = [s["adapter"] for s in about["snapshots"]]
    kept = [row["adapter"] for row in got.trace if row["updated"] and row["kept"]]
    assert [d for i, d in enumerate(shown) if d and d not in shown[:i]] == kept


@pytest.mark.parametrize("images", [12, 17, 60, 61])
def test_the_budget_of_images_holds_with_all_that_judging_draws(images: int) -> None:
    class Falling(Scripted):
        def score_many(self, sets: Sequence[Samples], render: str) -> list[Any]:
            return [SimpleNamespace(ts=0.5, effect=e, ts_each=[0.5]) for e in (0.1, 0.0)]

    made = search_of(Falling(), steps=images // 6, prompts=("red", "blue"), images=images)
    assert made.drawn == len(made.generator.drawn) <= images  # type: ignore[attr-defined]
    assert images - made.drawn < 18, "nothing is left over that a step with an update could be paid by"
    assert all("kept" in row for row in made.trace if row["updated"])
    assert any(row["rule"] == "images spent" for row in made.trace)
