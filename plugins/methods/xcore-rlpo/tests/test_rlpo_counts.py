"""What one step of the search asks of the generator and of the network, by hooks on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from counted_world import Passes, content
from xcore_rlpo.algorithm import Search, States
from xcore_rlpo.options import Options
from xcore_rlpo.policy import RoundRobin
from xcore_rlpo.testing import COLOURS, Painter, Reader
from xcore_tcav.scorer import Scorer

from xcore.contract import Adapter, Samples
from xcore.models.classifiers import TorchClassifier
from xcore.run.random_sets import RandomSets

N, STEPS = 5, 8


class Asked(Painter):
    """Notes how many samples each generation was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        self.batches.append(len(prompts))
        return super().generate(prompts, seeds, adapter)


@pytest.mark.parametrize("keep", ["all", "gain"])
def test_a_step_is_one_generation_and_a_partial_forward_of_its_samples(keep: str) -> None:
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 0.5
    samples = Samples("image", images, tuple(f"class/{i}" for i in range(20)))
    reader, painter = Reader(), Asked()
    passes = Passes(reader.mix, reader.out)
    probe = TorchClassifier(reader, ["red", "green"], input_size=8).open("mix")
    random_sets = RandomSets(
        None,  # type: ignore[arg-type]
        "",
        "train",
        seed=0,
        generator=Painter(),
        vocabulary=tuple(COLOURS),
    )
    scorer = Scorer(probe, 0, samples, random_sets, negatives=6)
    options = Options.model_validate({"rank": "tcav", "n": N, "negatives": 6, "reward": "ts", "keep": keep})
    search = Search(painter, scorer, ["gray", "blue"], options, steps=STEPS, seed=0, render="generated:painter")
    seen: list[tuple[list[int], int, int, int, set[str]]] = []

    def on_step(_row: Mapping[str, Any]) -> None:
        forwards = passes.images.total()
        seen.append((painter.batches, forwards, passes.logits, passes.rows_back, {*passes.images}))
        painter.batches = []
        passes.clear()

    states = States(lambda s: probe.activations(s).mean((2, 3)), samples, N, 0)
    search.run(RoundRobin(2), states, on_step)
    assert painter.adapted, "some step has tuned the generator"
    class_images, tuned, judged = {*map(content, images)}, set[str](), 0
    for step, (row, (batches, forwards, logits, back, passed)) in enumerate(zip(search.trace, seen, strict=True)):
        # An update is judged when its prompt is drawn again: the generator of before draws the same noise once more.
        judging = keep == "gain" and row["prompt"] in tuned
        judged += judging
        assert batches == [2 * N] * (1 + judging)
        if step:  # the first one also runs the negative sets, and looks at how the network is made
            assert (forwards, logits, back) == (2 * N * (1 + judging), 0, 0)
            assert not passed & class_images
        (tuned.add if row["updated"] else tuned.discard)(row["prompt"])
    assert len(seen) > 3
    assert bool(judged) == (keep == "gain")
