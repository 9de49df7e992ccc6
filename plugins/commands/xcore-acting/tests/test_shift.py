"""`xcore shift`: the paired difference of two classifiers, its table and picture, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_acting import shift as command
from xcore_acting.shift_accuracy import accuracies, held_out, paired
from xcore_acting.shift_concepts import by_concepts
from xcore_acting.shift_evidence import Difference, compare
from xcore_acting.shift_maps import class_maps
from xcore_acting.shift_rows import Change, Shift, top
from xcore_evidence.margins import margin
from xcore_evidence.options import SurrogateOptions

from xcore.contract import Concept, Explanation, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier

PHRASES = ("red", "green", "blue")
CLASSES = ("warm", "cold")


class Colours:
    """An image-text model that reads how red, green and blue a picture is."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.tensor([float(c in t) + 1e-3 for c in PHRASES]) for t in texts])


class Data:
    """Pictures or texts of two classes."""

    notes: tuple[str, ...] = ()

    def __init__(self, parts: dict[str, Samples]) -> None:
        self.parts, self.classes = parts, tuple(parts)
        self.modality = next(iter(parts.values())).modality

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        return self.parts[cls].take(slice(n))


def pictures(n: int, seed: int, name: str, warm: float = 0.0) -> Samples:
    colours = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(seed)) * 0.6
    colours[:, 0] += warm
    return Samples("image", colours.expand(n, 3, 4, 4).contiguous(), tuple(f"{name}/{i}" for i in range(n)))


def linear(weights: Sequence[float], classes: Sequence[str] = CLASSES) -> FunctionClassifier:
    def logits(images: Tensor) -> Tensor:
        logit = images.mean((2, 3)) @ torch.tensor(weights)
        return torch.stack([logit, torch.zeros_like(logit)], 1)

    return FunctionClassifier(logits, classes)


def task_of(classifier: Any) -> Task:
    parts = {"warm": pictures(60, 1, "warm", 0.4), "cold": pictures(60, 2, "cold")}
    return Task(
        classifier=classifier, layer="", target=0, samples=parts["warm"].take(slice(12)), data=Data(parts), seed=0,  # type: ignore[arg-type]
        random_set=lambda n, index, *rest: pictures(n, 50 + index, f"random{index}"),
        model=lambda role: {"image-text": Colours()}[role], roles=("image-text",),
    )  # fmt: skip


OPTIONS = SurrogateOptions(phrases=PHRASES, pool=120, samples=100)
A, B = (8.0, -4.0, 0.0), (2.0, -4.0, 3.0)


@pytest.mark.parametrize("penalty", [0.3, "cv"])
def test_the_effect_on_the_difference_is_the_difference_of_the_effects(penalty: Any) -> None:
    options = SurrogateOptions(phrases=PHRASES, pool=120, samples=100, penalty=penalty)
    found = compare(task_of(linear(A)), linear(B), options, "logits")
    for a, b, d in zip(found.a.estimates, found.b.estimates, found.difference.estimates, strict=True):
        assert d.effect == pytest.approx(b.effect - a.effect, abs=1e-5)
        assert d.lo < d.effect < d.hi
    red, green, _ = found.difference.estimates
    assert (red.hi < 0, red.mark) == (True, -1), "red was made weaker"
    assert abs(green.effect) < 0.3 * abs(red.effect)


def test_a_classifier_whose_logits_are_all_larger_has_not_shifted_by_the_share_of_the_gap() -> None:
    a, b = linear(A), linear([2 * w for w in B])
    same = linear([2 * w for w in A])
    found = compare(task_of(a), b, OPTIONS)
    shared = compare(task_of(a), linear(B), OPTIONS)
    for one, other in zip(found.difference.estimates, shared.difference.estimates, strict=True):
        assert one.effect == pytest.approx(other.effect, abs=1e-5)
    values = [[e.effect * s for e, s in zip(one.estimates, scales, strict=True)]
              for one, scales in zip((found.a, found.b, found.difference), found.scales, strict=True)]  # fmt: skip
    for before, after, difference in zip(*values, strict=True):
        assert difference == pytest.approx(after - before, abs=1e-5)
    with pytest.raises(UsageError, match="nothing has shifted"):
        compare(task_of(a), same, OPTIONS)


def test_no_gap_to_share_is_told() -> None:
    with pytest.raises(NotApplicable, match="B gives 'warm' no larger margin"):
        compare(task_of(linear(A)), linear([-8.0, 4.0, 0.0]), OPTIONS)
    assert compare(task_of(linear(A)), linear([-8.0, 4.0, 0.0]), OPTIONS, "logits").difference.estimates[0].mark == -1


def test_the_difference_finds_the_class_by_its_name_in_each() -> None:
    turned = FunctionClassifier(lambda x: linear(B)._function(x).flip(1), CLASSES[::-1])
    x = pictures(9, 5, "x")
    d = Difference(linear(A), turned, "warm").logits(x)
    wanted = margin(linear(B).logits(x), 0) - margin(linear(A).logits(x), 0)
    assert torch.allclose(margin(d, 0), wanted, atol=1e-5)


TEXTS = ("a fine film", "a dull film", "fine and short", "dull and long", "a long story", "a short story") * 12


def worded(weights: dict[str, float]) -> FunctionClassifier:
    def logits(texts: Sequence[str]) -> Tensor:
        z = torch.tensor([sum(w for word, w in weights.items() if word in t.split()) for t in texts])
        return torch.stack([z, torch.zeros_like(z)], 1)

    return FunctionClassifier(logits, ("praise", "blame"), modality="text")


@pytest.mark.parametrize("evidence", ["observed", "factorial"])
def test_words_of_texts_shift(evidence: Any) -> None:
    samples = Samples("text", TEXTS, tuple(map(str, range(len(TEXTS)))))
    data = Data({"praise": samples.take(slice(0, 36)), "blame": samples.take(slice(36, 72))})
    a, b = worded({"fine": 2.0, "dull": -2.0, "long": -0.1}), worded({"fine": 2.0, "dull": -2.0, "long": -1.5})
    task = replace(
        task_of(a),
        samples=samples.take(slice(6)),
        data=data,  # type: ignore[arg-type]
        vocabulary=("fine", "dull", "long", "short"),
        random_set=lambda n, index, *rest: samples.take(slice(36, 36 + n)),
    )
    options = SurrogateOptions(evidence=evidence, pool=72, drawings=200, permutations=199)
    found = compare(task, b, options, "logits")
    by = {e.phrase: e for e in found.difference.estimates}
    assert by["long"].effect < -0.1
    assert by["long"].mark == -1
    assert abs(by["fine"].effect) < 0.2 * abs(by["long"].effect)
    assert found.shown("fine") is None or found.shown("fine").modality == "text"  # type: ignore[union-attr]


def test_rows_are_corrected_over_all_concepts_and_the_largest_gain_comes_first() -> None:
    changes = [Change(f"c{i}", (0, 0, 0), (d, 0, 0), (d, d - 1, d + 1), p)
               for i, (d, p) in enumerate([(1.0, 0.02), (-2.0, 0.001), (3.0, 0.01)])]  # fmt: skip
    made = Shift(tuple(changes), "logits", "a test", 10, "samples", lambda name: None)
    rows = made.rows("warm")
    assert [row["concept"] for row in rows] == ["c2", "c0", "c1"]
    assert [row["p_holm"] for row in rows] == pytest.approx([0.02, 0.02, 0.003])
    assert [row["changed"] for row in rows] == ["gained", "gained", "lost"]
    assert [row["concept"] for row in top(rows, "lost", 5)] == ["c1"]
    assert {c.name for c in made.columns()} == set(rows[0])


def test_paired_accuracy_counts_what_only_one_gets_right() -> None:
    found = paired([True] * 6 + [False] * 4, [True] * 5 + [False] + [True] * 3 + [False])
    assert (found.n, found.before, found.after) == (10, 0.6, 0.8)
    assert found.p == pytest.approx(0.625), "3 against 1: 2 * 5 / 16"
    assert found.lo < 0.2 < found.hi
    same = paired([True, False], [True, False])
    assert same.p == 1
    assert same.lo < 0 < same.hi
    one = paired([True], [False])  # a group of one sample: a figure, and an interval that says how little it is worth
    assert (one.n, one.difference, one.p) == (1, -1.0, 1.0)
    assert one.lo == -1.0
    assert one.hi > 0


def test_accuracy_is_told_for_each_class_and_group() -> None:
    class Grouped(Data):
        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            assert split == "heldout"
            found = super().samples(cls, split, n, seed)
            return replace(found, meta={"group": tuple("ab"[i % 2] for i in range(len(found)))})

    data = Grouped({"warm": pictures(8, 1, "w", 0.4), "cold": pictures(8, 2, "c"), "unknown": pictures(8, 3, "u")})
    samples = held_out(data, CLASSES, 5, 0)  # type: ignore[arg-type]
    assert samples is not None
    found = accuracies(linear(A), linear([9.0, 9.0, 9.0]), samples)
    assert list(found) == [("all", "all samples"), ("class", "warm"), ("class", "cold"), ("group", "a"), ("group", "b")]
    assert found["class", "cold"].after == 0
    assert found["all", "all samples"].n == 10


def test_a_and_b_must_have_the_same_classes_and_read_the_same(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="A and B have other classes: 1 only in A, such as 'cold', and 1 only in B"):
        command._refuse_others(linear(A), linear(B, ("warm", "hot")))
    with pytest.raises(UsageError, match="A reads images, and B reads texts"):
        command._refuse_others(linear(A), worded({}))
    with pytest.raises(UsageError, match="A and B are the same classifier"):
        command.shift("minizoo/clean", "minizoo/clean", out=tmp_path)
    with pytest.raises(UsageError, match="A and B have other classes: 9 only in A, such as 'zebra', and 2 only in B"):
        command.shift("minizoo/clean", "minizoo/vit-birds", data="minizoo", classes=["zebra"], out=tmp_path)
    with pytest.raises(UsageError, match="phrases is for the method surrogate, not for tcav"):
        command.shift("minizoo/clean", "minizoo/vit", method="tcav", phrases=["grass"], out=tmp_path)
    with pytest.raises(UsageError, match="did you mean 'gap'"):
        command.shift("minizoo/clean", "minizoo/vit", scale="gaps", out=tmp_path)


class Scorer:
    """Scores the concepts of the task: the same for every sample, but for a little."""

    def explain(self, task: Task) -> Explanation:
        weight = float(task.classifier.logits(pictures(1, 0, "w"))[0, 0])
        parts = {name: weight * (i + 1) + torch.arange(4) * 0.01 for i, name in enumerate(task.concepts)}
        concepts = [Concept(n, float(v.mean()), samples=task.concepts[n], local=v) for n, v in parts.items()]
        return Explanation("scorer", "warm", "unit", tuple(concepts))


class Finder:
    """Finds two concepts of the same name, and one without samples."""

    def explain(self, task: Task) -> Explanation:
        found = [Concept("spot", 1.0, samples=pictures(3, i, f"s{i}"), render="crop:2>4") for i in range(2)]
        return Explanation("finder", "warm", "unit", (*found, Concept("none", 0.1)))


def test_the_concepts_that_a_method_finds_in_a_are_scored_in_both() -> None:
    tasks = [replace(task_of(linear(w)), samples=pictures(4, 9, "x")) for w in (A, B)]
    found = by_concepts(Finder(), Scorer(), *tasks, "finder")
    assert [c.concept for c in found.changes] == ["spot", "spot (2)"]
    for change in found.changes:
        assert change.difference[0] == pytest.approx(change.b[0] - change.a[0], abs=1e-6)
    assert found.shown("spot").ids[0] == "s0/0"  # type: ignore[union-attr]
    only = Finder()
    only.explain = lambda task: Explanation("finder", "warm", "unit", (Concept("none", 0.1),))  # type: ignore[method-assign]
    with pytest.raises(NotApplicable, match="no concept that has samples"):
        by_concepts(only, Scorer(), *tasks, "finder")


def test_maps_are_where_the_class_is_and_a_black_box_has_none() -> None:
    class Network(torch.nn.Module):
        """Sees the class where a picture is red."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2, 1, bias=False)
            self.conv.weight.data = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 0.0, 1.0]])[:, :, None, None]
            self.act = torch.nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x)).mean((2, 3))  # type: ignore[no-any-return]

    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :4, :4] = 1
    maps = class_maps(TorchClassifier(Network(), CLASSES, default_layer="act"), Samples("image", image, ("x",)), 0)
    assert maps.shape == (1, 8, 8)
    assert float(maps.max()) == 1
    assert float(maps[0, :4, :4].mean()) > 0.9
    assert float(maps[0, 4:, 4:].mean()) == 0
    with pytest.raises(NotApplicable, match="needs activations and gradients"):
        class_maps(linear(A), pictures(1, 0, "x"), 0)


def test_the_commands_read_their_flags_and_refuse_what_is_another_command_s(tmp_path: Any) -> None:
    from typer.testing import CliRunner
    from xcore_acting import finetune

    def error(app: Any, *words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
        assert isinstance(result.exception, UsageError), result.output
        return str(result.exception)

    assert "--classifier is not used here" in error(command.app, "a", "b", "--classifier", "c")
    assert "A and B are the same classifier: a" in error(command.app, "a", "a")
    assert "one classifier is fine-tuned at a time" in error(finetune.app, "--classifier", "a,b")
    assert "nothing says what to fine-tune on" in error(finetune.app, "--classifier", "a")
    assert "each is 1" in error(finetune.app, "--masked", "map", "--each", "1")
    assert "validation is 1" in error(finetune.app, "--augment", "flip, crop", "--validation", "1")
