"""The parts of shortcuts and repair: lexicon, dominant words, maps and masks, trainings, cures, and the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xcore_texplain import cures
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.dominant import describe, dominant_words
from xcore_texplain.gradcam import class_maps, filled, masks_of, word_maps
from xcore_texplain.habits import said_alike
from xcore_texplain.lexicon import Lexicon, read_lexicon
from xcore_texplain.networks import (
    Batch,
    Part,
    accuracies,
    batches_of,
    fit,
    head_inputs,
    learner,
    part_of,
    state_digest,
)
from xcore_texplain.repair_table import paired, table
from xcore_texplain.sentences import sample_sentences
from xcore_texplain.translator import Translator
from xcore_texplain.words import count_words

from xcore.contract import NotApplicable, Samples, UsageError
from xcore.models import FunctionClassifier, TorchClassifier
from xcore.testing import stripes


def silent(step: int, total: int, note: str = "") -> None:
    """Show no progress."""


# -- words -----------------------------------------------------------------------------------------------------------
def test_words_of_a_class_are_its_name_its_other_names_its_kind_and_those_of_the_file(tmp_path: Path) -> None:
    plain = Lexicon(aliases={"waterbird": ["sea gull"]})
    own = [w for w in ("waterbird", "bird", "gull", "water", "grass", "ird") if plain.is_own(w, "waterbird")]
    assert own == ["waterbird", "bird", "gull"]  # a waterbird is a bird, and no water
    file = tmp_path / "lexicon.json"
    file.write_text(json.dumps({"land_bird": ["Ducks"], "*": ["white"]}))
    read = read_lexicon(str(file), ["land_bird", "waterbird"])
    assert [w for w in ("duck", "white", "bird", "land") if read.is_own(w, "land_bird")] == [
        "duck",
        "white",
        "bird",
        "land",
    ]
    assert not read.is_own("duck", "waterbird")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"bird": ["duck"]}', "unknown class in the lexicon"),
        ('{"waterbird": "duck"}', "does not map classes to lists"),
        ("waterbird: duck", "is no JSON"),
        (None, "cannot read the lexicon"),
    ],
)
def test_a_lexicon_that_is_wrong_is_named(content: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "lexicon.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=says):
        read_lexicon(str(file), ["waterbird"])


def test_images_are_flagged_whose_most_frequent_telling_word_is_not_of_their_class() -> None:
    sentences = [
        ["a painter stands by water", "painter water", "painter and bird"],  # water 2, bird 1
        ["painter bird", "painter bird water", "painter bird"],  # bird 3
        ["painter grass", "painter grass", "painter bird grass"],  # grass 3
    ]
    counts = count_words(sentences)
    assert "painter" in said_alike(counts)
    assert "water" not in said_alike(counts)
    found = dominant_words(counts, ["waterbird", "waterbird", "landbird"], Lexicon())
    assert [(d.word, d.foreign, d.flagged) for d in found] == [
        ("water", "water", True),
        ("bird", "water", False),
        ("grass", "grass", True),
    ]
    only = dominant_words(counts, ["waterbird", "waterbird", "landbird"], Lexicon(), ["grass"])
    assert [d.flagged for d in only] == [False, False, True]


def test_images_are_described_together_as_one_by_one(decoder: BlipDecoder) -> None:
    images, states = stripes(5, 2), torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(1))
    alone = sample_sentences(decoder, states, images, 4, 9, silent)
    assert describe(decoder, states, images, 4, 9, silent).sentences == alone


# -- maps ------------------------------------------------------------------------------------------------------------
def network(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, classes),
    )  # fmt: skip


def classifier(classes: tuple[str, ...] = ("a", "b", "c")) -> TorchClassifier:
    return TorchClassifier(network(len(classes)), classes, default_layer="3")


def test_maps_of_the_class_are_those_of_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    made, images = classifier(), stripes(4, 3)
    targets = [0, 2, 1, 2]
    theirs = captum.LayerGradCam(made.model.module, made.model.module[3])
    expected = theirs.attribute(images.images, torch.tensor(targets), relu_attributions=True)[:, 0]
    assert float(expected.detach().max()) > 0
    torch.testing.assert_close(class_maps(made.open("3"), images, targets), expected.detach(), rtol=1e-4, atol=1e-6)


class OneWord:
    """A decoder that says a word the more the first state at each position has of its first channel."""

    name, width, tokens = "one word", 2, 16

    def word_loss(self, states: Tensor, texts: list[str], spans: list[tuple[int, int]]) -> Tensor:
        assert [t[a:b] for t, (a, b) in zip(texts, spans, strict=True)] == ["Stripes"] * len(texts)
        return -states[..., 0].sum(1)


def test_maps_of_a_word_show_the_positions_that_make_it_likely() -> None:
    made, images = classifier(), stripes(2, 3)
    probe = made.open("3")
    a = probe.activations(images)
    positions, channels = a.shape[2] * a.shape[3], a.shape[1]
    translator = Translator("tokenwise", positions, channels, 16, 2, 8, seed=1)
    sentences = [["red Stripes on it", "nothing"], ["no", "Stripes"]]
    maps = word_maps(probe, translator, OneWord(), images, ["stripe", "stripe"], sentences)
    weight = translator.fused().weight[0].float()  # the gradient is the same at all positions, so the map is exact
    expected = torch.einsum("ndhw,d->nhw", a, weight).relu()
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(UsageError, match=r"no sentence about image .* contains 'dog'"):
        word_maps(probe, translator, OneWord(), images, ["dog", "stripe"], sentences)


def test_a_token_of_the_class_before_the_grid_is_left_out() -> None:
    class Tokens:
        layout = "NTC"

        def activations(self, x: Samples) -> Tensor:
            return torch.cat([torch.full((len(x), 1, 1), 100.0), torch.arange(4.0).expand(len(x), 4)[..., None]], 1)

        def gradients(self, x: Samples, target: int) -> Tensor:
            return torch.cat([torch.full((len(x), 1, 1), -50.0), torch.ones(len(x), 4, 1)], 1)

    assert class_maps(Tokens(), stripes(1, 0), [0]).tolist() == [[[0, 1], [2, 3]]]  # type: ignore[arg-type]


def test_masks_cover_what_is_above_the_mean_and_leave_all_other_pixels() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, 0] = 1
    masks = masks_of(maps, (8, 8), 2.0)
    assert 0 < masks[0].mean() < 0.2
    assert masks[1].sum() == 0  # a map that is the same everywhere masks nothing
    images = torch.rand(2, 3, 8, 8)
    made = filled(images, masks, torch.tensor([0.1, 0.2, 0.3]))
    outside = (masks == 0)[:, None].expand_as(images)
    assert torch.equal(made[outside], images[outside])
    assert made[0, :, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])


# -- trainings -------------------------------------------------------------------------------------------------------
class Dots:
    """Two classes told by red or green, with a blue corner that goes with red in most training pictures."""

    modality, classes, concepts = "image", ("red", "green"), ("blue", "gray")

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        drawn = torch.Generator().manual_seed(seed + 100 * self.classes.index(cls) + 7 * len(split))
        images = 0.3 * torch.rand(n, 3, 16, 16, generator=drawn)
        images[:, self.classes.index(cls)] += 0.2
        own = 0.9 if split == "train" else 0.5
        blue = torch.rand(n, generator=drawn) < (own if cls == "red" else 1 - own)
        images[blue, 2, :8] += 0.6
        groups = tuple(f"{cls} {'with' if b else 'without'} blue" for b in blue.tolist())
        ids = tuple(f"{split}/{cls}/{i}" for i in range(n))
        return Samples("image", images.clamp(0, 1), ids, meta={"group": groups})


DATA: Any = Dots()


def dots(split: Any, n: int = 60) -> Part:
    return part_of(DATA, split, n, 0)


def setting(folder: Path, **given: Any) -> cures.Setting:
    train, validation = dots("train"), dots("explain", 40)
    names = tuple(sorted(set(train.groups)))
    own: dict[str, Any] = {"epochs": 2, "lrs": (1e-3,), "batch": 16, "seed": 0, **given}
    return cures.Setting(train, validation, names, folder=folder, progress=silent, **own)


def test_a_start_gets_a_new_head_and_leaves_the_classifier_as_it_was() -> None:
    given = classifier()
    before = {k: v.clone() for k, v in given.model.module.state_dict().items()}
    made = learner(given, ("red", "green"), 3)
    assert made.classes == ("red", "green")
    assert made.logits(stripes(2, 0)).shape == (2, 2)
    with torch.no_grad():
        made.model.module[0].weight.add_(1)
    assert all(torch.equal(v, before[k]) for k, v in given.model.module.state_dict().items())
    assert state_digest(learner(given, ("red", "green"), 3)) == state_digest(learner(given, ("red", "green"), 3))
    assert state_digest(learner(given, ("red", "green"), 4)) != state_digest(learner(given, ("red", "green"), 3))
    with pytest.raises(NotApplicable, match="no linear layer with 3 outputs"):
        learner(
            TorchClassifier(nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), [*"abc"]), "ab", 0
        )
    with pytest.raises(NotApplicable, match="black box"):
        learner(FunctionClassifier(lambda x: x.mean((2, 3))[:, :2], ["a", "b"]), ("a", "b"), None)


def test_what_the_head_reads_gives_the_logits() -> None:
    made, images = classifier(), stripes(5, 1)
    head = made.model.module[6]
    expected = made.logits(images)
    torch.testing.assert_close(head_inputs(made, images) @ head.weight.T + head.bias, expected)
    torch.testing.assert_close(head_inputs(made, images) @ head.weight.T + head.bias, expected)  # also a second time


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    part, validation = dots("train"), dots("explain", 20)
    names = sorted(set(part.groups))

    def batches(number: int, _: TorchClassifier) -> list[Batch]:
        return batches_of(part, 16, [5, number], names)

    def run(file: Path, stop: int) -> TorchClassifier:
        def progress(step: int, total: int, note: str = "") -> None:
            if step == stop:
                raise Stopped

        made = learner(classifier(), DATA.classes, 1)
        loss = cures.WorstGroups(len(names))
        fit(made, batches, validation, epochs=4, lr=1e-2, file=file, loss=loss, progress=progress, what="x")
        return made

    whole = run(tmp_path / "whole.safetensors", 0)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped.safetensors", 2)
    assert state_digest(run(tmp_path / "stopped.safetensors", 0)) == state_digest(whole)


def test_even_batches_draw_each_group_equally_often() -> None:
    part = dots("train")
    names = sorted(set(part.groups))
    many = [g for e in range(20) for _, _, groups in batches_of(part, 16, [e], names, balanced=True) for g in groups]
    shares = np.bincount([int(g) for g in many]) / len(many)
    assert np.abs(shares - 0.25).max() < 0.05
    plain = [int(g) for _, _, groups in batches_of(part, 16, [0], names) for g in groups]
    assert sorted(plain) == sorted(names.index(g) for g in part.groups)


def test_no_batch_has_one_image() -> None:
    part = dots("train", 20)
    names = sorted(set(part.groups))
    assert [len(labels) for _, labels, _ in batches_of(part, 13, [0], names)] == [13, 13, 14]
    assert [len(labels) for _, labels, _ in batches_of(part, 64, [0], names)] == [40]
    assert [len(labels) for _, labels, _ in batches_of(part.take([3]), 64, [0], names)] == [1]


def test_the_weight_of_the_worst_group_grows() -> None:
    loss = cures.WorstGroups(2)
    logits = torch.tensor([[5.0, -5.0], [5.0, -5.0]])
    for _ in range(5):
        value = loss(logits, torch.tensor([0, 1]), torch.tensor([0, 1]))  # the second one is wrong
    assert loss.weights[1] > loss.weights[0]
    assert float(value) > 5


class Means(nn.Module):
    """The means of the colours, and a head that reads blue alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 0, 9], [0.0, 0, -9]]))
            self.head.bias.copy_(torch.tensor([-2.5, 2.5]))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(x.mean((2, 3)))
        return made


def test_the_last_layer_on_even_groups_mends_a_head_that_uses_the_shortcut(tmp_path: Path) -> None:
    start, test = TorchClassifier(Means(), DATA.classes, layers=[], default_layer=""), dots("heldout", 100)
    assert accuracies(start, test)["worst"] < 0.1
    made, figures = cures.last_layer(start, setting(tmp_path))
    assert accuracies(made, test)["worst"] > 0.9
    assert accuracies(start, test)["worst"] < 0.1  # the start is as it was
    assert figures["images"] % 4 == 0


def test_fine_tuning_on_masked_images_helps_against_the_shortcut_and_on_whole_ones_does_not(tmp_path: Path) -> None:
    shared, test = setting(tmp_path, epochs=6, lrs=(1.0,)), dots("heldout", 100)
    start = TorchClassifier(Means(), DATA.classes, layers=[], default_layer="")
    common = ("red with blue", "green without blue")
    whole = shared.train.take([i for i, group in enumerate(shared.train.groups) if group in common])
    masks = torch.zeros(len(whole), 16, 16)
    masks[:, :8] = 1  # where the blue is
    images = filled(whole.samples.images, masks, whole.samples.images.mean((0, 2, 3)))
    masked = replace(whole, samples=replace(whole.samples, data=images))
    before = accuracies(start, test)["worst"]
    after, control = (
        accuracies(cures.on_images(start, part, shared, name)[0], test)["worst"]
        for name, part in (("masked", masked), ("whole", whole))
    )
    assert before < 0.1
    assert after > max(before, control) + 0.3


def test_the_concept_that_goes_with_a_class_in_some_of_its_environments_is_unstable(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)

    def some(n: int, *means: float) -> Tensor:
        return torch.randn(n, 4, generator=drawn) * 0.3 + torch.tensor(means)

    # axis 0 tells the classes; axis 1 goes with class 0 in its larger environment, and is absent in the other
    features = torch.cat([some(80, 1, 1, 0, 0), some(20, 1, -1, 0, 0), some(100, -1, 0, 0, 0)])
    labels, kinds = torch.tensor([0] * 100 + [1] * 100), torch.tensor([0] * 80 + [1] * 20 + [0] * 50 + [1] * 50)
    bank = {"stable": some(30, 2, 0, 0, 0), "shortcut": some(30, 0, 2, 0, 0), "nothing": some(30, 0, 0, 2, 0)}
    assert cures.unstable(features, labels, kinds, bank, 2)[0][0] == "shortcut"
    found = cures.clusters(features[:100], labels[:100], 2, 0)
    alike = (found[:, None] == found).float()
    assert alike[:80, :80].mean() > 0.95
    assert alike[:80, 80:].mean() < 0.15


def test_disc_mixes_concepts_and_says_which(tmp_path: Path) -> None:
    start = learner(classifier(), DATA.classes, 0)
    images = torch.zeros(6, 3, 16, 16)
    images[:, 2] = 0.9
    bank = {"blue": Samples("image", images, tuple(map(str, range(6)))), "gray": stripes(6, 1)}
    (made, figures), concepts = cures.disc(start, bank, setting(tmp_path))
    assert set(concepts) == {"red", "green"}
    assert (state_digest(made) == state_digest(start)) == (figures["epoch"] == 0)
    labels = torch.tensor([0, 0, 2, 2])
    features, environments = torch.rand(4, 5), torch.tensor([0, 1, 0, 1])
    found = cures.unstable(features, labels, environments, {"a": torch.rand(3, 5)}, 3)
    assert found[1] == [], "a class of which the data have no images"


def test_a_training_that_only_does_harm_changes_nothing(tmp_path: Path) -> None:
    for name in ("good", "wrong"):
        (tmp_path / name).mkdir()
    good, _ = cures.reweighted(learner(classifier(), DATA.classes, 0), setting(tmp_path / "good", lrs=(1e-2,)))
    wrong = setting(tmp_path / "wrong", lrs=(1e-2,))
    mislabelled = replace(wrong, train=replace(wrong.train, labels=1 - wrong.train.labels))
    made, figures = cures.reweighted(good, mislabelled)
    assert figures["epoch"] == 0
    assert state_digest(made) == state_digest(good)


@pytest.mark.parametrize("cure", [cures.reweighted, cures.group_dro])
def test_cures_begin_with_the_start_and_leave_it(cure: Any, tmp_path: Path) -> None:
    start = learner(classifier(), DATA.classes, 0)
    before = state_digest(start)
    made, figures = cure(start, setting(tmp_path, lrs=(1e-4, 1e-2)))
    assert state_digest(start) == before != state_digest(made)
    assert figures["lr"] in (1e-4, 1e-2)
    assert figures["validation"] == pytest.approx(accuracies(made, setting(tmp_path).validation)["average"])


def test_a_split_without_images_of_a_class_is_named() -> None:
    class Half(Dots):
        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            return super().samples(cls, split, 0 if (cls, split) == ("green", "explain") else n, seed)

    half: Any = Half()
    with pytest.raises(UsageError, match="class 'green' has no images to choose by"):
        part_of(half, "explain", 4, 0)
    part = dots("train", 8)
    assert replace(part, grouped=False).take([0, 3]).groups == (part.groups[0], part.groups[3])


# -- the table -------------------------------------------------------------------------------------------------------
def test_paired_differences_are_those_of_a_t_test() -> None:
    from scipy import stats

    x = [1.0, 3.0, 2.5, -0.5, 4.0]
    mean, low, high, p = paired(x)
    theirs = stats.ttest_1samp(x, 0)
    ends = theirs.confidence_interval()
    assert (mean, low, high, p) == pytest.approx((np.mean(x), ends.low, ends.high, theirs.pvalue))
    assert paired([2.0]) == (2.0, None, None, None)
    assert paired([2.0, 2.0]) == (2.0, None, None, None), "there is no spread to judge by"


def test_the_table_pairs_seeds_and_says_why_a_cure_is_not_there() -> None:
    def row(a: float, b: float) -> dict[str, float]:
        return {"a": a, "b": b, "worst": min(a, b), "average": (a + b) / 2}

    seeds = [
        {"erm": row(0.9, 0.5), "random": row(0.9, 0.6), "texplain-word": row(0.9, 0.8)},
        {"erm": row(0.9, 0.7), "random": row(0.9, 0.7), "texplain-word": row(0.8, 0.9)},
    ]
    columns, rows = table(seeds, ["a", "b"], ["random", "texplain-word", "disc"], {"disc": "no pictures"})
    erm, _, ours, disc = rows
    assert erm["worst"] == pytest.approx(60)
    assert erm["worst_sd"] == pytest.approx(np.std([50, 70], ddof=1))
    assert ours["worst_over_erm"] == pytest.approx(np.mean([30, 10]))
    assert ours["worst_over_random"] == pytest.approx(np.mean([20, 10]))
    assert ours["worst_over_erm_holm"] >= ours["worst_over_erm_p"]
    assert disc["uses"] == "not tried: no pictures"
    by_class = [{**s, "random-class": row(0.9, 0.75), "texplain-class": row(0.9, 0.85)} for s in seeds]
    last = table(by_class, ["a", "b"], ["random", "random-class", "texplain-class"], {})[1][-1]
    assert last["worst_over_random"] == pytest.approx(10), "by the same reading, and not by the map of the word"
    without = [{**s, "texplain-class": row(0.9, 0.85)} for s in seeds]
    assert "worst_over_random" not in table(without, ["a", "b"], ["random", "texplain-class"], {})[1][-1]
    assert {"cure", "uses", "a", "worst", "n"} <= {c.name for c in columns}
