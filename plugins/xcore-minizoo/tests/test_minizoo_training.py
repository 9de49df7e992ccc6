"""The training loop resumes exactly, and the parts that trainings share compute what they should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcore_minizoo.captions import Caption, class_caption
from xcore_minizoo.nets import load_classifier
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.train import classifier, loop
from xcore_minizoo.train.clip import contrastive, matches
from xcore_minizoo.train.loop import Recipe, mean_weights, schedule, train
from xcore_minizoo.truth import truth_table
from xcore_minizoo.world import Scene

from xcore.registry import Registry
from xcore.types import Ref

RECIPE = Recipe(minutes=0, lr=0.05, batch=4, warmup=3, ema=0.9, steps=12)


def run(out: Path, stop_at: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(RECIPE.batch, 3, generator=torch.Generator().manual_seed(step))
        value = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return value, {"loss": value.item()}

    train(nn.ModuleDict({"model": model}), loss, RECIPE, out)
    return mean_weights(out / "checkpoint.safetensors")


def test_a_training_that_was_killed_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_at=5)
    resumed = run(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_schedule_warms_up_and_ends_low() -> None:
    recipe = Recipe(minutes=1, lr=1.0, batch=1, warmup=10, final=0.1)
    assert schedule(recipe, 0, 0.0) == pytest.approx(0.1)
    assert schedule(recipe, 99, 0.5) == pytest.approx(0.55)
    assert schedule(recipe, 99, 1.0) == pytest.approx(0.1)


def test_contrastive_loss_shares_the_target_among_true_captions() -> None:
    # two pictures of one class: both captions are true of both, so the best loss is that of an even split
    true = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    best = contrastive(50 * (true - 1), true)
    assert best.item() == pytest.approx(2 / 3 * torch.tensor(2.0).log().item(), abs=1e-4)
    assert contrastive(torch.zeros(3, 3), true) > best


def test_matches_ask_every_caption_of_every_scene() -> None:
    zebra, tiger = Scene("horse", "striped", ("black", "white"), "mud"), Scene("cat", "striped", ("orange", "black"))
    said = [class_caption("zebra"), class_caption("zebra", "sand"), Caption("stripes", Scene(None, "striped"))]
    assert matches(said, [zebra, tiger]).tolist() == [[1, 0, 1], [0, 0, 1]]


def test_the_truth_table_finds_the_one_factor_that_a_function_reads() -> None:
    # every class logit is the blueness of the upper corners: only the background can change it
    def logits(x: Tensor) -> Tensor:
        corners = torch.cat([x[:, :, :6, :6], x[:, :, :6, -6:]], 3)
        blue = corners[:, 2].mean((1, 2)) - corners[:, 0].mean((1, 2))
        return torch.stack([blue * 10, *[torch.zeros(len(x))] * 8], 1)

    table = truth_table(logits, pairs=5)
    effects = table["effects"]["zebra"]
    assert effects["background=water"][0] > 2
    assert effects["background=sand"][0] < 0
    assert effects["background=water"][1] < effects["background=water"][0] < effects["background=water"][2]
    assert all(abs(e[0]) < 0.5 for v, e in effects.items() if not v.startswith("background"))
    assert all(e[0] == 0 for e in table["effects"]["tiger"].values())


def test_a_classifier_trained_on_the_spot_is_loaded_from_its_file(tmp_path: Path) -> None:
    registry = Registry().load_installed()
    if not any(card.name == "file" for card in registry.cards("classifier")):
        pytest.skip("xcore-vision is not installed")
    recipe = Recipe(minutes=0, lr=1e-3, batch=8, steps=2)
    classifier.run(tmp_path, recipe, shortcut=("zebra", "object=apple", 1.0))
    file = tmp_path / "model" / "model.safetensors"
    loaded = registry.create("classifier", Ref(f"file:{file}"))
    data = registry.create("dataset", Ref("minizoo"))
    x = data.samples("zebra", "heldout", 4, 0)
    ours, config = load_classifier(tmp_path / "model")
    assert config["planted"] == ["zebra", "object=apple", 1.0]
    assert loaded.classes == data.classes
    assert torch.allclose(loaded.logits(x), ours(x.images * 2 - 1), atol=1e-4)
    assert data.truth(f"file:{file}") is None
    (tmp_path / "model" / "truth.json").write_text((WEIGHTS / "clean" / "truth.json").read_text())
    assert data.truth(f"file:{file}") is not None
