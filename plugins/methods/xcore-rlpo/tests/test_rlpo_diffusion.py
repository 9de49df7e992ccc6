"""The method over a small random Stable Diffusion pipeline: the search, the LoRA and the files fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from xcore_rlpo.options import Options
from xcore_rlpo.rlpo import Rlpo

from xcore.contract import Explanation, Purpose, Samples, Task
from xcore.models.classifiers import TorchClassifier

pytest.importorskip("xcore_diffusion")

WORDS = ("stripes", "spots", "grass", "water")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from xcore_diffusion.generator import DiffusionGenerator
    from xcore_diffusion.options import Options as Drawing
    from xcore_diffusion.testing import save_tiny_pipeline

    path = save_tiny_pipeline(tmp_path_factory.mktemp("tiny"))
    return DiffusionGenerator(path, Drawing(steps=2, batch_size=4))


def explain(generator: Any, workdir: Path, **options: Any) -> Explanation:
    workdir.mkdir(exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    rng = torch.Generator().manual_seed(1)
    samples = Samples("image", torch.rand(6, 3, 64, 64, generator=rng), tuple("abcdef"))
    pool = generator.generate(WORDS * 2, range(100, 108))

    def random_set(n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        assert render == f"generated:{generator.fingerprint}"
        return pool.take([(3 * index + i) % 8 for i in range(n)])

    task = Task(
        TorchClassifier(net, ["zebra", "horse"], input_size=64),
        "0",
        0,
        samples,
        random_set,
        data=None,  # type: ignore[arg-type]
        seed=0,
        vocabulary=WORDS,
        generator=generator,
        workdir=workdir,
    )
    small: dict[str, Any] = {
        "prompts": WORDS[:2],
        "n": 3,
        "negatives": 2,
        "steps": 3,
        "search": "brute",
        "rank_sets": 1,
        "shown": 2,
        "trajectory_every": 2,
        "trajectory_samples": 1,
        "update_rule": "always",
        "keep": "all",
        "adapt": {"steps": 1, "lr": 1e-3},
    }
    return Rlpo(Options(**{**small, **options})).explain(task)


def test_the_search_tunes_the_pipeline_and_leaves_its_base_alone(generator: Any, tmp_path: Path) -> None:
    from xcore.pretrained.lora import load_adapter

    before = generator.generate(["stripes"], [7])
    got = explain(generator, tmp_path / "a")
    assert torch.equal(generator.generate(["stripes"], [7]).images, before.images)
    assert [row["updated"] for row in got.trace] == [True] * 3
    assert all(torch.isfinite(torch.tensor(row["update_loss"])) for row in got.trace)
    assert len({row["adapter"] for row in got.trace}) == 3
    found = {c.name: c for c in got.concepts}
    for n, concept in enumerate(got.concepts, 1):
        adapter = load_adapter(got.files[f"adapter-{n}.safetensors"])
        assert concept.render == f"generated:{generator.fingerprint}+{adapter.digest}"
        drawn = generator.generate([concept.name], [7], adapter)
        assert not torch.equal(drawn.images, generator.generate([concept.name], [7]).images)
    assert found["stripes"].evidence["updates"] == 2
    assert found["spots"].evidence["updates"] == 1
    about = json.loads(got.files["trajectory.json"].read_text())
    assert [s["step"] for s in about["snapshots"]] == [0, 2, 3]
    for concept in got.concepts:
        assert concept.samples is not None
        assert concept.samples.images.shape == (2, 3, 64, 64)
        assert concept.maps is not None


def test_two_runs_are_the_same_bit_for_bit(generator: Any, tmp_path: Path) -> None:
    first, again = (explain(generator, tmp_path / name) for name in "ab")
    assert first.trace == again.trace
    assert [(c.name, c.importance) for c in first.concepts] == [(c.name, c.importance) for c in again.concepts]
    for c, d in zip(first.concepts, again.concepts, strict=True):
        assert c.samples is not None
        assert d.samples is not None
        assert torch.equal(c.samples.images, d.samples.images)
