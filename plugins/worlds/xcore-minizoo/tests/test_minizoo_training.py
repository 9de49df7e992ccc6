"""The training loop resumes exactly, and the parts that trainings share compute what they should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from minizoo_training import __main__ as command
from minizoo_training.clip import contrastive, matches
from torch import Tensor, nn
from xcore_minizoo import planted, training, uses
from xcore_minizoo.captions import Caption, class_caption
from xcore_minizoo.collections import plant
from xcore_minizoo.nets import load_classifier
from xcore_minizoo.planted import Planted
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.training import Recipe, mean_weights, schedule, train, train_classifier
from xcore_minizoo.truth import truth_table
from xcore_minizoo.world import Scene

from xcore.contract import Ref, Truth, UsageError
from xcore.registry import Registry
from xcore.store.identity import Identity

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
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
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


def test_a_trained_classifier_is_loaded_from_its_file(tmp_path: Path, registry: Registry) -> None:
    if not any(card.name == "file" for card in registry.cards("classifier")):
        pytest.skip("xcore-vision is not installed")
    recipe = Recipe(minutes=0, lr=1e-3, batch=8, steps=2)
    shortcut = ("zebra", "object=apple", 1.0)
    train_classifier(tmp_path, tmp_path / "model", plant(*shortcut), recipe, shortcut)
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


ZEBRA = Planted("zebra", "object=apple", 0.5)
REFERENCE = "minizoo/planted:zebra:object=apple:0.5"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and trainings and truth tables that take seconds; gives the folder of the artefacts."""
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(training, "accuracy", lambda *_: {})
    monkeypatch.setattr(planted.trained, "__defaults__", (3,))
    monkeypatch.setattr(planted.truth_file, "__defaults__", (3, 2))
    return tmp_path / "artifacts"


def test_a_planted_classifier_is_trained_once(
    tiny: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    planted.trained(ZEBRA)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    made = registry.create("classifier", Ref(REFERENCE))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"training {REFERENCE}: 3 steps, about a minute; this is done once on this machine"
    ]
    data = registry.create("dataset", Ref("minizoo/planted", {"cls": "zebra", "factor": "object=apple", "rho": 0.5}))
    assert data.defaults["classifier"] == REFERENCE
    assert made.classes == data.classes
    assert made.default_layer == "layer3"
    x = data.samples("zebra", "explain", 4, 0)
    monkeypatch.setattr(training, "train_classifier", lambda *_: pytest.fail("trained again"))
    again = registry.create("classifier", Ref(f"{REFERENCE}:32"))  # 32 is the seed where none is named
    assert torch.equal(again.logits(x), made.logits(x))
    assert capsys.readouterr().err == ""
    assert [p.name for p in tiny.iterdir() if p.name.startswith(".")] == []


def test_a_planted_training_that_was_interrupted_is_resumed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (planted.trained(ZEBRA, 4) / "model.safetensors").read_bytes()
    monkeypatch.setenv("XCORE_CACHE", str(tiny.parent / "other"))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    paint, seen = training.pictures, []

    def stop_at_two(collection: Any, split: str, start: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
        seen.append(start // n)
        if seen[-1] == 2:
            raise KeyboardInterrupt
        return paint(collection, split, start, n, seed)

    monkeypatch.setattr(training, "pictures", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        planted.trained(ZEBRA, 4)
    left = [p for p in (tiny.parent / "other" / "artifacts").iterdir() if p.is_dir()]
    assert [p.name.split(".")[1] for p in left] == ["training-minizoo-planted"]
    assert (left[0] / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(training, "pictures", lambda *given: seen.append(given[2] // given[3]) or paint(*given))
    made = planted.trained(ZEBRA, 4)
    assert seen == [0, 1, 2, 2, 3]
    assert (made / "model.safetensors").read_bytes() == whole
    assert not left[0].exists()


@pytest.mark.usefixtures("tiny")
def test_the_truth_of_a_planted_classifier_is_measured_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = registry.create("dataset", Ref("minizoo"))
    truth = data.truth(REFERENCE)
    assert [line.partition(":")[0].partition(" ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "training",
        "measuring",
    ]
    table = truth_table_of(ZEBRA)
    assert truth is not None
    assert truth.gaps == table["gaps"]
    assert truth.effects["zebra"]["object=apple"] == tuple(table["effects"]["zebra"]["object=apple"])
    assert table["data"] == "minizoo+zebra:object=apple:0.5"
    assert table["split"] == "explain"
    monkeypatch.setattr("xcore_minizoo.truth.table_of", lambda *_: pytest.fail("measured again"))
    again = data.truth(f"xcore-minizoo/{REFERENCE}")
    assert again is not None
    assert again.effects == truth.effects
    assert registry.create("dataset", Ref("minizoo/cats-apples")).truth(REFERENCE) is None


def truth_table_of(shortcut: Planted) -> dict[str, Any]:
    """The table, measured directly from the trained classifier."""
    model, _ = load_classifier(planted.trained(shortcut))
    with torch.no_grad():
        return truth_table(lambda x: model(x * 2 - 1), shortcut.collection, 2, split="explain")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("zebra", "cannot read the shortcut 'zebra'.*CLASS:FACTOR=VALUE:RHO"),
        ("zebra:object=apple:1:2:3", "cannot read the shortcut"),
        ("zebra:object=apple:much", "rho and seed .* must be numbers"),
        ("zebra:object=apple:1:x", "rho and seed .* must be numbers"),
        ("zebra:object=apple:1:-1", "seed .* must be 0 or more"),
        ("zebra:object=apple:2", "must be from 0 to 1, got 2"),
        ("zebrra:object=apple:1", "did you mean 'zebra'"),
        ("zebra:object=appel:1", "did you mean 'object=apple'"),
        ("class=zebra,factor=object=appel", "did you mean 'object=apple'"),
        ("class=zebra,facter=object=apple", "part of the shortcut .*'facter'.*did you mean 'factor'"),
        ("class=zebra,rho=1", "names no factor.*class=cow,factor=background=grass"),
        ("class=zebra,class=cow", "names 'class' twice"),
        ("class=zebra,factor=object=apple,rho", "gives no value to 'rho'"),
        ("class=zebra,factor=object=apple,seed=x", "rho and seed .* must be numbers"),
    ],
)
def test_a_wrong_shortcut_is_refused_before_anything_is_trained(
    argument: str, message: str, tiny: Path, registry: Registry
) -> None:
    for make in (registry.create, Identity(registry).component):
        with pytest.raises(UsageError, match=message):
            make("classifier", Ref(f"minizoo/planted:{argument}"))
    assert not tiny.exists()


def test_a_shortcut_by_names_is_the_same_as_by_place() -> None:
    planted_by = Planted.parse
    assert planted_by("class=zebra,factor=object=apple,rho=0.5,seed=7") == planted_by("zebra:object=apple:0.5:7")
    assert planted_by("seed=7, factor=object=apple, class=zebra") == planted_by("zebra:object=apple:1:7")
    assert str(planted_by("class=zebra,factor=object=apple,rho=.5")) == REFERENCE
    assert Planted.parse("class=cow,factor=object=rock").seed == planted.SEED


@pytest.mark.parametrize("cls", ["zebra", "swan"])
def test_without_strength_a_shortcut_is_independent_of_the_class(cls: str) -> None:
    twin, other = plant("zebra", "object=apple", 0.0), plant("swan", "object=apple", 0.0)
    for split in ("train", "explain", "heldout"):
        for i in range(20):  # so the twins of all classes are trained on the same pictures
            assert twin.draw_scene(cls, split, i, 0) == other.draw_scene(cls, split, i, 0)


def test_one_line_says_whether_a_planting_counts() -> None:
    def line(effect: float, gap: float) -> str:
        truth = Truth({"zebra": {"object=apple": (effect, effect - 0.1, effect + 0.1)}}, {"zebra": gap}, {})
        return uses.planted_line(ZEBRA, truth)

    assert line(0.5, 4.0) == f"{REFERENCE}: effect 0.50 [0.40, 0.60], gap 4.00, 12.5% of it: used"
    assert line(0.3, 4.0).endswith("7.5% of it: not used")
    assert line(0.3, -1.0).endswith("the class is confused with another one: not used")


def test_what_a_shipped_classifier_uses_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    uses.main(["minizoo/shortcut"])
    printed = capsys.readouterr().out
    assert "  cow: gap " in printed
    assert "background=grass" in printed.partition("  cow:")[2].partition("; against")[0]
    with pytest.raises(UsageError, match="it is not known what 'minizoo/vit-cats' uses"):
        uses.main(["minizoo/vit-cats"])


def test_the_identity_of_a_planted_classifier_is_all_that_it_is_trained_with(registry: Registry) -> None:
    def of(argument: str) -> str:
        return planted.fingerprint(None, argument)

    assert of("cow:object=apple:1") == of("cow:object=apple:1.0:32")
    others = ["cow:object=apple:0.9", "cow:object=rock:1", "swan:object=apple:1", "cow:object=apple:1:33"]
    assert len({of("cow:object=apple:1"), *map(of, others)}) == 5
    assert ZEBRA.key(3) != ZEBRA.key()
    identity = Identity(registry)
    assert identity.component("classifier", Ref(REFERENCE)) == identity.component("classifier", Ref(REFERENCE))
    assert identity.component("classifier", Ref(REFERENCE)) != identity.component("classifier", Ref(f"{REFERENCE}:1"))


def test_the_trainer_is_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[1] / "minizoo_training"
    done = subprocess.run(
        [sys.executable, str(folder), "evaluate", "--help"], capture_output=True, text=True, check=True
    )
    with pytest.raises(SystemExit):
        command.main(["--help"])
    for help_text in (done.stdout, capsys.readouterr().out):
        assert help_text.startswith("usage: python plugins/worlds/xcore-minizoo/minizoo_training")


def test_a_model_is_trained_and_shipped_by_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "accuracy", lambda *_: {"train.all": 0.5})
    command.main(["shortcut", "--out", str(tmp_path), "--steps", "1"])
    command.main(["card", "shortcut", str(tmp_path / "model"), str(tmp_path / "shipped")])
    assert sorted(p.name for p in (tmp_path / "shipped").iterdir()) == ["card.json", "config.json", "model.safetensors"]
    card = json.loads((tmp_path / "shipped" / "card.json").read_text())
    assert card["command"] == ("python plugins/worlds/xcore-minizoo/minizoo_training shortcut --steps 1 --out FOLDER")
    assert card["figures"] == {"train.all": 0.5}
    assert (card["recipe"]["steps"], card["recipe"]["seed"]) == (1, 32)
    assert json.loads((tmp_path / "shipped" / "config.json").read_text())["planted"] == ["cow", "background=grass", 1.0]
    with pytest.raises(SystemExit):
        command.main(["vit", "--out", str(tmp_path), "--truth"])
