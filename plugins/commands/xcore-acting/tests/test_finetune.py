"""`xcore finetune`: what is trained on, the training, what is kept, and all three commands in a row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xcore_acting import finetune_tuned
from xcore_acting.finetune import finetune
from xcore_acting.finetune_samples import Changes, augmented, filled_in, sets
from xcore_acting.finetune_training import CHECKPOINT, Labelled, Recipe, check_trainable, train
from xcore_acting.shift import shift

from xcore.contract import MissingError, NotApplicable, Ref, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.session import make

CLASSES = ("left", "right")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.first(x)).relu()).flatten(1))  # type: ignore[no-any-return]


def network() -> TorchClassifier:
    torch.manual_seed(0)
    return TorchClassifier(Network(), CLASSES, input_size=4)


def labelled(n: int, seed: int) -> Labelled:
    """Pictures that are bright on the side that they are named by."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.rand(n, 3, 4, 4, generator=generator) * 0.4
    for i, label in enumerate(labels.tolist()):
        images[i, :, :, 2 * label : 2 * label + 2] += 0.5
    return Labelled(Samples("image", images, tuple(f"{seed}/{i}" for i in range(n))), labels)


RECIPE = Recipe(lr=0.02, epochs=4, patience=4, batch=8)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_learns_leaves_the_classifier_alone_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    classifier, data, checks = network(), labelled(40, 1), labelled(16, 2)
    given = {name: t.clone() for name, t in classifier.model.module.state_dict().items()}
    state = torch.get_rng_state()
    whole = train(classifier, data, checks, RECIPE, tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), state)
    assert same(given, classifier.model.module.state_dict()), "the given network was changed"
    assert whole.history[whole.best]["validation_loss"] < whole.history[0]["validation_loss"]
    assert whole.best == min(range(len(whole.history)), key=lambda i: whole.history[i]["validation_loss"])

    def stop(step: int, total: int, note: str) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(classifier, data, checks, RECIPE, tmp_path / "parts", stop)
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    parts = train(classifier, data, checks, RECIPE, tmp_path / "parts")
    assert parts.history == whole.history
    assert same(parts.state, whole.state)
    other = train(classifier, labelled(40, 3), checks, replace(RECIPE, epochs=1), tmp_path / "parts")
    assert len(other.history) == 2, "a checkpoint of another training is not continued"
    tuned = whole.classifier(classifier)
    assert float((tuned.logits(checks.samples).argmax(1) == checks.labels).float().mean()) > 0.9


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_frozen_parameters_keep_their_values_and_batch_norms_what_is_said(tmp_path: Path, optimiser: Any) -> None:
    classifier = network()
    given = {name: t.clone() for name, t in classifier.model.module.state_dict().items()}
    recipe = replace(RECIPE, frozen=("first.*", "norm.bias"), optimiser=optimiser, epochs=1)
    found = train(classifier, labelled(24, 1), labelled(8, 2), recipe, tmp_path / "keep")
    kept = {name for name in given if torch.equal(given[name], found.state[name])}
    assert kept >= {"first.weight", "first.bias", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert not kept & {"head.weight", "norm.weight"}
    assert "the running statistics of 1 batch norms were kept" in found.notes
    assert any("weights were trained" in note for note in found.notes)
    moved = train(classifier, labelled(24, 1), labelled(8, 2), replace(recipe, batch_norm="update"), tmp_path / "move")
    assert not torch.equal(moved.state["norm.running_mean"], given["norm.running_mean"])
    still = replace(recipe, batch_norm="update", frozen=("norm.*",))
    held = train(classifier, labelled(24, 1), labelled(8, 2), still, tmp_path / "held")
    assert torch.equal(held.state["norm.running_mean"], given["norm.running_mean"]), "a frozen batch norm stays"


def test_a_training_that_does_not_help_stops_early_and_gives_the_classifier_as_it_was(tmp_path: Path) -> None:
    wrong = labelled(16, 2)
    recipe = replace(RECIPE, epochs=30, patience=2, lr=0.05)
    good = train(network(), labelled(40, 1), wrong, RECIPE, tmp_path / "good")
    classifier = network()
    classifier.model.module.load_state_dict(good.state)
    against = Labelled(labelled(40, 1).samples, 1 - labelled(40, 1).labels)
    found = train(classifier, against, wrong, recipe, tmp_path / "bad")
    assert found.best == 0
    assert len(found.history) == 3
    assert same(found.state, good.state)


def test_what_is_wrong_with_a_recipe_or_a_network_is_told(tmp_path: Path) -> None:
    def tried(recipe: Recipe) -> None:
        train(network(), labelled(8, 1), labelled(4, 2), recipe, tmp_path)

    with pytest.raises(UsageError, match=r"unknown parameter to freeze: 'frist\.\*'"):
        tried(replace(RECIPE, frozen=("frist.*",)))
    with pytest.raises(UsageError, match="every parameter is frozen"):
        tried(replace(RECIPE, frozen=("*",)))
    with pytest.raises(UsageError, match="did you mean 'adamw'"):
        tried(replace(RECIPE, optimiser="adam"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the learning rate is 0"):
        tried(replace(RECIPE, lr=0))
    broken = Samples("image", torch.full((8, 3, 4, 4), torch.nan), ("x",) * 8)
    with pytest.raises(UsageError, match="the loss is no number in epoch 1"):
        train(network(), Labelled(broken, torch.zeros(8).long()), labelled(4, 2), RECIPE, tmp_path / "nan")
    with pytest.raises(NotApplicable, match="needs a network of torch"):
        check_trainable(FunctionClassifier(lambda x: x, CLASSES))


class Data:
    """Two classes with masks: the left half of each picture is of the class."""

    modality = "image"
    classes = CLASSES
    vocabulary: tuple[str, ...] = ()

    def __init__(self, masks: Any = "own", texts: bool = False) -> None:
        self.masks, self.texts = masks, texts

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        n = min(n, 10)
        ids = tuple(f"{cls}/{split}/{i}" for i in range(n))
        if self.texts:
            return Samples("text", tuple(f"{'a great' if i % 2 else 'one'} film {i}" for i in range(n)), ids)
        images = torch.full((n, 3, 4, 4), 0.2 if cls == "left" else 0.8)
        if self.masks is None:
            return Samples("image", images, ids)
        masks = torch.zeros(n, 4, 4) if self.masks == "own" else torch.zeros(n, *self.masks)
        masks[:, :, :2] = 1
        return Samples("image", images, ids, meta={"masks": masks})


class Draws:
    modality, fingerprint, can = "image", "draws", frozenset[str]()

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        assert len(set(seeds)) == len(seeds)
        return Samples(
            "image",
            torch.full((len(prompts), 3, 4, 4), 0.5),
            tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)),
        )


def task_of(data: Data, tmp_path: Path, **given: Any) -> Task:
    def artifact(name: str, key: Any, make: Any) -> Path:
        folder = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        make(folder)
        return folder

    return Task(classifier=network(), layer="", target=0, samples=data.samples("left", "explain", 4, 0),
                random_set=None, data=data, seed=0, artifact=artifact, **given)  # type: ignore[arg-type]  # fmt: skip


def test_the_background_is_swapped_with_that_of_other_classes_and_copies_stay_on_their_side(tmp_path: Path) -> None:
    made = sets(task_of(Data(), tmp_path), ["left"], Changes(masked="background"), 10, 0.2, False)
    assert (len(made.training), len(made.validation)) == (24, 6)
    changed = [i for i, name in enumerate(made.training.samples.ids) if name.endswith("/background")]
    pictures = made.training.samples.images[changed]
    assert torch.allclose(pictures[..., :2], torch.tensor(0.2))
    assert torch.allclose(pictures[..., 2:], torch.tensor(0.8))
    assert set(made.training.labels[changed].tolist()) == {0}
    plain = {name.removesuffix("/background") for name in made.training.samples.ids}
    assert not plain & {name.removesuffix("/background") for name in made.validation.samples.ids}
    only = sets(task_of(Data(), tmp_path), ["left"], Changes(masked="background"), 10, 0.2, True)
    assert not any(name.startswith("left") and "/background" not in name for name in only.training.samples.ids)


class Shades(Data):
    """Pictures each of which is of one shade, which no other one has."""

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        plain = super().samples(cls, split, n, seed)
        shades = torch.arange(len(plain)) / 100 + CLASSES.index(cls) / 2
        return replace(plain, data=shades.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone())


@pytest.mark.parametrize("masked", ["background", "map"])
def test_no_part_of_a_validation_picture_is_trained_on(tmp_path: Path, masked: str) -> None:
    task = task_of(Shades(), tmp_path)
    made = sets(task, list(CLASSES), Changes(masked=masked), 10, 0.4, False)

    def shades(part: Labelled) -> set[float]:
        return {round(value, 4) for value in part.samples.images.flatten().tolist()}

    assert not shades(made.training) & shades(made.validation)
    assert len(shades(made.training)) == 12
    assert len(shades(made.validation)) == 8


@pytest.mark.parametrize("n", [17, 9])
def test_a_last_batch_of_one_sample_joins_the_one_before_where_batch_norms_follow(tmp_path: Path, n: int) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(48), nn.Linear(48, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(x.flatten(1)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    classifier = TorchClassifier(Flat(), CLASSES, input_size=4)
    recipe = replace(RECIPE, epochs=1, batch_norm="update")
    found = train(classifier, labelled(n, 1), labelled(8, 2), recipe, tmp_path / "odd")
    assert any("the last sample of an epoch is trained on with those before" in note for note in found.notes)
    even = train(classifier, labelled(n - 1, 1), labelled(8, 2), recipe, tmp_path / "even")
    assert not any("the last sample" in note for note in even.notes)
    with pytest.raises(UsageError, match="--batch is 1"):
        train(classifier, labelled(n, 1), labelled(8, 2), replace(recipe, batch=1), tmp_path / "one")
    with pytest.raises(UsageError, match="there is 1 sample to train on"):
        train(classifier, labelled(1, 1), labelled(8, 2), recipe, tmp_path / "few")


def test_drawings_are_of_the_class_and_have_noise_of_their_own(tmp_path: Path) -> None:
    changes = Changes(generated=("a coat", "b coat"), drawings=10)
    made = sets(task_of(Data(), tmp_path, generator=Draws()), ["right"], changes, 4, 0.25, False)
    drawn = [i for i, name in enumerate(made.training.samples.ids) if "coat" in name]
    assert len(drawn) == 8
    assert set(made.training.labels[drawn].tolist()) == {1}
    assert made.examples[0][0] == "right: drawn"
    with pytest.raises(MissingError, match="drawings need a generator"):
        sets(task_of(Data(), tmp_path), ["right"], changes, 4, 0.25, False)
    with pytest.raises(UsageError, match="drawings are of one class, and 2 are named"):
        sets(task_of(Data(), tmp_path, generator=Draws()), ["left", "right"], changes, 4, 0.25, False)


def test_words_are_taken_out_of_the_texts_that_have_them(tmp_path: Path) -> None:
    changes = Changes(masked="words", concepts=("great",))
    made = sets(task_of(Data(texts=True), tmp_path), ["left"], changes, 10, 0.2, False)
    new = [text for text, name in zip(made.training.samples.texts, made.training.samples.ids, strict=True)
           if name.endswith("without words")]  # fmt: skip
    assert new
    assert all(text.startswith("a film") for text in new)

    def left(replaced: bool) -> list[str]:
        made = sets(task_of(Data(texts=True), tmp_path), ["left"], changes, 10, 0.2, replaced)
        parts = (made.training, made.validation)
        return [t for p in parts for t, y in zip(p.samples.texts, p.labels.tolist(), strict=True) if y == 0]

    with_originals = left(replaced=False)
    originals = [text for text in with_originals if "great" in text]
    assert originals
    assert sorted(left(replaced=True)) == sorted(text for text in with_originals if text not in originals)
    with pytest.raises(NotApplicable, match="texts are changed by taking words out"):
        sets(task_of(Data(texts=True), tmp_path), ["left"], Changes(augment=("flip",)), 10, 0.2, False)


def test_masks_that_are_missing_or_of_another_size_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the masks have 8 x 6 pixels, the pictures 4 x 4"):
        sets(task_of(Data((8, 6)), tmp_path), ["left"], Changes(masked="background"), 10, 0.2, False)
    with pytest.raises(MissingError, match="the data have no masks of class 'left'"):
        sets(task_of(Data(None), tmp_path), ["left"], Changes(masked="background"), 10, 0.2, False)
    for wrong, said in (
        (Changes(), "nothing says what to fine-tune on"),
        (Changes(masked="backgrund"), "did you mean 'background'"),
        (Changes(masked="map", fill="swop"), "did you mean 'swap'"),
        (Changes(augment=("flop",)), "did you mean 'flip'"),
        (Changes(augment=("flip",), share=0), "share is 0"),
        (Changes(masked="words"), "needs to know which"),
    ):
        with pytest.raises((UsageError, NotApplicable), match=said if wrong.masked != "words" else "is for texts"):
            sets(task_of(Data(), tmp_path), ["left"], wrong, 10, 0.2, False)


def test_fills_and_augmentations_change_what_they_say() -> None:
    rng = np.random.default_rng(0)
    images = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    cover = torch.zeros(3, 6, 6)
    cover[:, 3:] = 1
    for fill in ("mean", "noise"):
        made = filled_in(images, cover, fill, rng)
        assert torch.equal(made[:, :, :3], images[:, :, :3])
        assert not torch.equal(made[:, :, 3:], images[:, :, 3:])
    mean = filled_in(images, cover, "mean", rng)[:, :, 5, 5]
    assert torch.allclose(mean, images.mean((2, 3)))
    for way in ("crop", "colour", "blur"):
        new = augmented(images[0], (way,), rng)
        assert new.shape == images[0].shape
        assert not torch.equal(new, images[0])
        assert float(new.min()) >= 0
        assert float(new.max()) <= 1
    turned = {torch.equal(augmented(images[0], ("flip",), rng), images[0].flip(2)) for _ in range(20)}
    assert turned == {True, False}


def test_find_finetune_shift_are_three_commands(tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    found = finetune("minizoo/clean", data="minizoo", classes=["cow"], masked="background", each=4, epochs=1, lr=1e-3,
                     budget={"heldout": 3}, out=out)  # fmt: skip
    assert [row["of"] for row in found.rows] == ["all", *["class"] * 9]
    assert found.rows[0]["n"] == 27
    assert (found.folder / "finetune.png").is_file()
    assert not list((out / ".work").glob("training.*")), "the checkpoint is no longer needed"
    about = json.loads((out / "tuned.json").read_text())
    assert (about["classifier"], about["classes"][4]) == ("minizoo/clean", "cow")
    again = finetune("minizoo/clean", data="minizoo", classes=["cow"], masked="background", each=4, epochs=1, lr=1e-3,
                     budget={"heldout": 3}, out=out)  # fmt: skip
    assert again.cached
    settings = {"surrogate": {"pool": 90, "samples": 60}}
    few = {"heldout": 3, "samples": 4}
    (shifted,) = shift("minizoo/clean", f"tuned:{out}", data="minizoo", classes=["cow"], out=tmp_path / "shift",
                       phrases=["grass", "sand", "sky"], set=settings, budget=few)  # fmt: skip
    assert {row["concept"] for row in shifted.rows} == {"grass", "sand", "sky"}
    for row in shifted.rows:
        assert row["difference"] == pytest.approx(row["b"] - row["a"], abs=1e-5)
        assert row["difference_lo"] <= row["difference"] <= row["difference_hi"]
    assert shifted.pictures[0].is_file()
    assert shifted.found.figures["accuracy"][0]["n"] == 27
    assert any("held-out samples" in note for note in shifted.found.notes)


def test_a_tuned_classifier_opens_again_and_knows_what_it_came_from(tmp_path: Path) -> None:
    base: TorchClassifier = make("classifier", Ref("minizoo/clean"))
    state = {name: t.clone() for name, t in base.model.module.state_dict().items()}
    head = next(name for name in state if name.startswith("fc.bias"))
    state[head][0] += 1
    first, second = tmp_path / "first", tmp_path / "second"
    finetune_tuned.save(first, state, Ref("minizoo/clean"), base.classes, {})
    opened = make("classifier", Ref(f"tuned:{first}"))
    assert torch.equal(opened.model.module.state_dict()[head], state[head])
    assert any("fine-tuned from minizoo/clean" in note for note in opened.notes)
    finetune_tuned.save(second, state, Ref(f"tuned:{first}"), base.classes, {})
    assert json.loads((second / "tuned.json").read_text())["classifier"] == "minizoo/clean"
    prints = [finetune_tuned.fingerprint(None, str(folder)) for folder in (first, second)]
    assert prints[0] == prints[1]
    state[head][0] += 1
    finetune_tuned.save(second, state, Ref("minizoo/clean"), base.classes, {})
    assert finetune_tuned.fingerprint(None, str(second)) != prints[0]
    finetune_tuned.save(second, {head: state[head]}, Ref("minizoo/clean"), base.classes, {})
    with pytest.raises(UsageError, match="do not fit minizoo/clean"):
        make("classifier", Ref(f"tuned:{second}"))
    finetune_tuned.save(second, state, Ref("minizoo/clean"), ["a", "b"], {})
    with pytest.raises(UsageError, match="has other classes than when"):
        make("classifier", Ref(f"tuned:{second}"))
    with pytest.raises(MissingError, match="holds no fine-tuned classifier"):
        make("classifier", Ref(f"tuned:{tmp_path / 'nowhere'}"))


def test_a_relative_path_of_what_was_tuned_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.safetensors").touch()
    finetune_tuned.save(tmp_path / "tuned", {}, Ref("file:net.safetensors", {"batch_size": 2}), CLASSES, {})
    about = json.loads((tmp_path / "tuned" / "tuned.json").read_text())
    assert (about["classifier"], about["options"]) == (f"file:{tmp_path / 'net.safetensors'}", {"batch_size": 2})
