"""How often the network is asked, by hooks on it: nothing grows with the number of concepts or of random sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from counted_world import Passes, content, pictures
from small_networks import net, opened

from xcore.contract import Explanation, Task
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets

N, SET, POOL = 9, 5, 20


@pytest.mark.parametrize(("concepts", "negatives"), [(1, 3), (7, 3), (7, 30)])
def test_one_backward_pass_whatever_is_asked_of_it(
    tmp_path: Path, explain: Callable[..., Explanation], concepts: int, negatives: int
) -> None:
    module, samples = net(), pictures("bars", N, 1)
    passes = Passes(module.f1[0], module.fc)
    data = LiveData(samples, "a", pictures("dots", 60, 2), ())

    def task(seed: int) -> Task:
        return Task(
            classifier=classifier,
            layer="f2",
            target=0,
            samples=pictures("bars", N, 1),
            random_set=RandomSets(data, "a", "train", seed=0, pool_size=POOL),
            data=TrainingData(data),
            seed=seed,
            concepts={f"c{i}": pictures("lines", 2 * SET, 10 + i) for i in range(concepts)},
            workdir=tmp_path,
        )

    classifier = opened(module)
    classifier.open("f2").activations(samples.take([0]))  # the first look at a layer runs to the end
    passes.clear()
    made = [explain(task(seed), n=SET, negatives=negatives) for seed in (0, 1)]
    assert set(passes.images.values()) == {1}, "two seeds share one pass of every picture"
    assert all(passes.images[content(image)] == 1 for image in samples.images)
    assert len(passes.images) == made[0].cost.forwards <= N + 2 * POOL + concepts * SET
    assert (passes.rows_back, passes.backwards) == (N, 1) == (made[0].cost.backwards, 1)
    assert passes.logits == N, "the head is run for the gradients alone"
