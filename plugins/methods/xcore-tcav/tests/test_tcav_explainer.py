"""The explainer on networks of which we know what they read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from xcore_evidence.statistics import signed_marks
from xcore_tcav.cav_files import apply, load

from xcore.api import load_registry
from xcore.contract import Explanation, MissingError, NotApplicable, Ref, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets

SIDE = 4
Explain = Callable[..., Explanation]
ByName = Callable[[Explanation], dict[str, Any]]


def noise(n: int, seed: int, lift: Mapping[int, float] | None = None, size: tuple[int, int] = (SIDE, SIDE)) -> Samples:
    """Pixels around .5; `lift` moves single ones of the first channel's first row."""
    x = 0.5 + 0.08 * torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))
    for pixel, by in (lift or {}).items():
        x[:, 0, 0, pixel] += by
    return Samples("image", x.clamp(0, 1), tuple(f"{seed}/{i}" for i in range(n)))


class Pixels(nn.Module):
    """All pixels, around 0."""

    def forward(self, x: Tensor) -> Tensor:
        return 12 * (x.flatten(1) - 0.5)


class Known(nn.Module):
    """Class 0 is a known function of the pixels, class 1 its opposite."""

    def __init__(self, h: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pixels, self.h = Pixels(), h

    def forward(self, x: Tensor) -> Tensor:
        h = self.h(self.pixels(x))
        return torch.stack((h, -h), 1)


def curved(a: Tensor) -> Tensor:
    """Rises along pixel 0, falls along pixel 1, ignores 3; the gradient differs from image to image."""
    return torch.tanh(2 * a[:, 0]) - torch.tanh(a[:, 1]) + 0.1 * a[:, 2] ** 2


CONCEPTS = {"up": noise(30, 11, {0: 0.3}), "down": noise(30, 12, {1: 0.3}), "none": noise(30, 13, {3: 0.3})}


def made_task(
    workdir: Path,
    h: Callable[[Tensor], Tensor] = curved,
    module: nn.Module | None = None,
    layer: str = "pixels",
    samples: Samples | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
    **kw: Any,
) -> Task:
    samples = samples if samples is not None else noise(24, 1, size=size)
    data = LiveData(samples, "yes", noise(200, 2, size=size), ())
    task = Task(
        classifier=TorchClassifier(module or Known(h), ["yes", "no"], input_size=size),
        layer=layer,
        target=0,
        samples=samples,
        random_set=RandomSets(data, "yes", "train", seed=0, pool_size=100),
        data=TrainingData(data),
        seed=0,
        concepts=CONCEPTS,
        workdir=workdir,
    )
    return replace(task, **kw)


def test_planted_concepts_are_ranked_and_tested(tmp_path: Path, explain: Explain) -> None:
    got = explain(made_task(tmp_path))
    assert [c.name for c in got.concepts] == ["up", "none", "down"]
    up, none, down = (c.evidence for c in got.concepts)
    assert up["ts"] > 0.95
    assert down["ts"] < 0.1
    assert (up["mark"], none["mark"], down["mark"]) == (1, 0, -1)
    assert (up["outside"], none["outside"], down["outside"]) == (1, 0, 1)
    assert up["lo"] < up["effect"] < up["hi"]
    assert up["null_lo"] < up["null_mean"] < up["null_hi"] < up["effect"]
    p, p_against = ([e[key] for e in (up, none, down)] for key in ("p", "p_against"))
    assert [e["p_holm"] for e in (up, none, down)] == pytest.approx(signed_marks(p, p_against, 0.05)[1])
    assert (up["null_sets"], up["set_size"], up["calibrated"]) == (100, 10, 1), "a set for each sample of the pool"
    for c in got.concepts:
        assert c.importance == c.evidence["effect"]
        assert float(c.local.mean()) == pytest.approx(c.importance, abs=1e-6)
        assert c.samples.ids == CONCEPTS[c.name].ids[10:20], "what it shows was not fitted on"
        assert (c.words, c.render) == ((c.name,), "as-is")
        assert float(c.directions["pixels"].norm()) == pytest.approx(1, abs=1e-5)
    assert "mean sensitivity" in got.importance_is
    assert got.notes == (
        "of 3 concepts 1 raise the class and 1 lower it (one-sided tests against random sets, Holm at 0.05 on each "
        "side)",
        "there are no maps, because no layer has a grid of positions",
    )
    assert set(got.files) == {"bars.png", "cavs.safetensors", "cavs.json"}
    assert all(path.is_file() for path in got.files.values())


def test_the_opposite_class_turns_everything_round(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    one, two = explain(made_task(tmp_path)), explain(made_task(tmp_path, target=1))
    for name, concept in by_name(one).items():
        assert by_name(two)[name].importance == pytest.approx(-concept.importance, abs=1e-6)
    assert [c.name for c in two.concepts] == [c.name for c in reversed(one.concepts)]


@pytest.mark.parametrize(
    ("h", "share"),
    [
        (lambda a: torch.relu(a[:, 0]), lambda a: a[:, 0] > 0),
        (lambda a: torch.relu(a[:, 0] - 1), lambda a: a[:, 0] > 1),
        (lambda a: a[:, 0] ** 2 / 2, lambda a: a[:, 0] > 0),
        (lambda a: torch.tanh(a[:, 0]), lambda a: a[:, 0] > -99),
    ],
)
def test_fractional_truths(
    tmp_path: Path, h: Callable[[Tensor], Tensor], share: Callable[[Tensor], Tensor], explain: Explain
) -> None:
    task = made_task(tmp_path, h)
    got = explain(task, concepts="up").concepts[0]
    assert got.evidence["ts"] == pytest.approx(float(share(Pixels()(task.samples.images)).float().mean()))


class Late(nn.Module):
    """Pixels, then a non-linear layer, then an affine one."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.wide, self.bend, self.out = Pixels(), nn.Linear(48, 6), nn.Tanh(), nn.Linear(6, 2)
        rng = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.bend(self.wide(self.pixels(x))))


def test_an_affine_head_is_undefined_and_a_layer_to_use_is_named(tmp_path: Path, explain: Explain) -> None:
    with pytest.raises(NotApplicable, match=r"bend: undefined at this layer.*affine.*use the layer 'wide'"):
        explain(made_task(tmp_path, module=Late(), layer="bend"))
    got = explain(made_task(tmp_path, module=Late(), layer="bend"), layers="pixels,bend")
    assert any(note.startswith("bend: undefined at this layer") for note in got.notes)
    assert "effect" in got.concepts[0].evidence
    assert set(got.concepts[0].directions) == {"pixels"}


def test_a_strict_level_is_reached_beyond_all_random_sets(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    got = by_name(explain(made_task(tmp_path), alpha=0.01, concepts="up,none"))
    assert got["up"].evidence["null_sets"] == 100
    assert got["up"].evidence["p"] < 0.005 < 1 / 101, "what Holm's correction asks for, and no rank can give"
    assert [got[name].evidence["outside"] for name in ("up", "none")] == [1, 0]


def test_several_layers_are_corrected_together(tmp_path: Path, explain: Explain) -> None:
    got = explain(made_task(tmp_path, module=Late()), layers=("pixels", "wide"), null=19)
    p, p_against, held = (
        [c.evidence[f"{key}@{layer}"] for layer in ("pixels", "wide") for c in got.concepts]
        for key in ("p", "p_against", "p_holm")
    )
    assert held == pytest.approx(signed_marks(p, p_against, 0.05)[1])
    for c in got.concepts:
        e = c.evidence
        assert e["null_sets@wide"] == 19
        assert c.importance == pytest.approx((e["effect@pixels"] + e["effect@wide"]) / 2)
        # CAVs of 6 entries that separate nothing are small differences of large sums, in single precision
        assert float(c.local.mean()) == pytest.approx(c.importance, abs=1e-3)
        assert e["p_holm"] == min(e["p_holm@pixels"], e["p_holm@wide"])
        assert set(c.directions) == {"pixels", "wide"}
    assert got.importance_is.endswith("mean over pixels, wide")
    assert load(tmp_path).layers["wide"].shape == (3, 6)


def test_a_layer_that_is_not_there(tmp_path: Path, explain: Explain) -> None:
    with pytest.raises(UsageError, match="did you mean 'pixels'"):
        explain(made_task(tmp_path), layers="pixel")


def test_relative_scores_of_a_pair_add_up_to_one(tmp_path: Path, explain: Explain) -> None:
    for pair in (("up", "down"), ("none", "up"), ("down", "none")):
        one = explain(made_task(tmp_path), concepts=pair, against=pair[0])
        two = explain(made_task(tmp_path), concepts=pair, against=pair[1])
        assert [c.name for c in (*one.concepts, *two.concepts)] == [pair[1], pair[0]]
        a, b = one.concepts[0], two.concepts[0]
        assert a.evidence["relative_ts"] + b.evidence["relative_ts"] == pytest.approx(1, abs=1e-9)
        assert a.importance == pytest.approx(-b.importance, abs=1e-6)
        assert a.importance == a.evidence["relative_effect"] != a.evidence["effect"]
        assert float(a.local.mean()) == pytest.approx(a.importance, abs=1e-6)
    assert any("not ranked" in note for note in one.notes)
    assert one.importance_is.endswith("relative to 'down'")


def test_relative_to_the_others(tmp_path: Path, explain: Explain) -> None:
    got = explain(made_task(tmp_path), against="others")
    assert [c.name for c in got.concepts] == ["up", "none", "down"]
    e = got.concepts[0].evidence
    assert e["relative_lo"] < e["relative_effect"] < e["relative_hi"]
    assert e["relative_accuracy"] > 0.8
    with pytest.raises(UsageError, match="there is only one"):
        explain(made_task(tmp_path), against="others", concepts="up")


def test_concepts_by_name(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    got = explain(made_task(tmp_path), concepts="down,up,down")
    assert sorted(by_name(got)) == ["down", "up"]
    with pytest.raises(UsageError, match=r"unknown concept 'nine'.*did you mean 'none'"):
        explain(made_task(tmp_path), concepts="nine")
    with pytest.raises(UsageError, match=r"unknown concept 'dwon'.*did you mean 'down'"):
        explain(made_task(tmp_path), against="dwon")


def test_no_concepts_names_the_ways(tmp_path: Path, explain: Explain) -> None:
    with pytest.raises(MissingError, match=r"tcav\.folders=DIR.*tcav\.prompts=.*folder\.concepts=DIR"):
        explain(made_task(tmp_path, concepts={}))
    with pytest.raises(UsageError, match=r"tcav\.source"):
        explain(made_task(tmp_path), folders="a", prompts="b")
    with pytest.raises(UsageError, match="has 1 image"):
        explain(made_task(tmp_path, concepts={"one": noise(1, 4)}))


def test_a_concept_that_cannot_be_learned_is_marked(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    same = noise(30, 14)
    got = explain(made_task(tmp_path, concepts={**CONCEPTS, "nothing": same}))
    e = by_name(got)["nothing"].evidence
    assert e["learnable"] == 0
    assert 0.3 < e["cav_accuracy"] < 0.7
    assert by_name(got)["up"].evidence["learnable"] == 1
    note = next(n for n in got.notes if "not learnable" in n)
    assert note.startswith("1 of 4 concepts are not learnable at pixels")
    assert f"nothing ({e['cav_accuracy']:.2f})" in note


def test_random_concepts_are_not_called_important(tmp_path: Path, explain: Explain) -> None:
    concepts = {f"random {i}": noise(10, 500 + i) for i in range(40)}

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        return noise(n, 10_000 + index + 1000 * (purpose == "null"))

    got = explain(made_task(tmp_path, concepts=concepts, random_set=random_set))
    assert sum(c.evidence["outside"] for c in got.concepts) == 0
    p = torch.tensor([c.evidence["p"] for c in got.concepts])
    for level in (0.05, 0.2, 0.5):
        assert float((p <= level).float().mean()) <= level + 3 * (level * (1 - level) / 40) ** 0.5
    assert {c.evidence["null_sets"] for c in got.concepts} == {199}


def test_the_t_test_is_labelled(tmp_path: Path, explain: Explain) -> None:
    got = explain(made_task(tmp_path), test="ttest")
    assert {c.evidence["calibrated"] for c in got.concepts} == {0}
    assert any("not calibrated" in note for note in got.notes)


def test_small_concepts_show_what_they_were_fitted_on(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    got = explain(made_task(tmp_path, concepts={"few": noise(5, 15, {0: 0.3}), "up": CONCEPTS["up"]}))
    assert by_name(got)["few"].evidence["set_size"] == 5
    assert len(by_name(got)["few"].samples) == 5
    assert any("fitted on" in note and note.endswith(": few") for note in got.notes)


def test_saved_cavs_give_the_same_sensitivities(tmp_path: Path, explain: Explain) -> None:
    task = made_task(tmp_path, module=Late())
    got = explain(task, layers="pixels,wide")
    found = apply(tmp_path, task.classifier, task.samples)
    both = torch.stack([found["pixels"], found["wide"]]).mean(0)
    torch.testing.assert_close(both, torch.stack([c.local for c in got.concepts], 1), atol=1e-6, rtol=1e-5)
    cavs = load(tmp_path)
    assert cavs.concepts == tuple(c.name for c in got.concepts)
    assert cavs.about["concepts"][0]["evidence"] == json.loads(json.dumps(dict(got.concepts[0].evidence)))
    new, step = noise(6, 77), 1e-3
    probe = task.classifier.open("wide")
    a, v = probe.activations(new).double(), cavs.layers["wide"][0].double()
    module = task.classifier.model.module.double()
    slope = (module.out(module.bend(a + step * v)) - module.out(module.bend(a - step * v)))[:, 0] / (2 * step)
    module.float()
    seen = apply(cavs, task.classifier, new)["wide"]
    torch.testing.assert_close(seen[:, 0].double(), slope.detach() / cavs.units["wide"], atol=1e-4, rtol=1e-3)
    again = TorchClassifier(module, ("yes", "no"), input_size=SIDE)
    opposite = apply(cavs, again, new.images, target="no")["wide"]
    assert opposite.shape == (6, 3)
    assert not torch.allclose(opposite, seen)


def test_what_saved_cavs_do_not_fit(tmp_path: Path, explain: Explain) -> None:
    task = made_task(tmp_path)
    explain(task)
    with pytest.raises(UsageError, match=r"cavs\.json is missing"):
        apply(tmp_path / "elsewhere", task.classifier, task.samples)
    with pytest.raises(UsageError, match="did you mean 'yes'"):
        apply(tmp_path, task.classifier, task.samples, target="yess")
    with pytest.raises(UsageError, match="have 48 entries, but the activations of these images have 192"):
        apply(tmp_path, task.classifier, noise(3, 5, size=(8, 8)))
    (tmp_path / "cavs.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


class Scene(nn.Module):
    """Class 0 is red where it is bright; convolutions are grouped and depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 12, 3, padding=1, groups=3)
        self.deep = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.act, self.pool, self.out = nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Linear(48, 2)
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng) / 4)
            self.mix.weight[:4].abs_().mul_(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.pool(self.act(self.deep(self.mix(x)))).flatten(1)))


def red(n: int, seed: int, size: tuple[int, int]) -> Samples:
    one = noise(n, seed, size=size)
    one.images[:, 0] = (one.images[:, 0] + 0.35).clamp(0, 1)
    return one


@pytest.mark.parametrize("size", [(16, 16), (10, 20)])
@pytest.mark.parametrize("pool", [False, True])
def test_grouped_convolutions_and_images_that_are_not_square(
    tmp_path: Path, size: tuple[int, int], pool: bool, explain: Explain, by_name: ByName
) -> None:
    concepts = {"red": red(20, 21, size), "plain": noise(20, 22, size=size)}
    task = made_task(tmp_path, module=Scene(), layer="mix", size=size, concepts=concepts)
    got = explain(task, pool=pool)
    for c in got.concepts:
        assert c.maps.shape == (24, *size)
        assert c.directions["mix"].shape == ((12,) if pool else (12 * size[0] * size[1],))
    found = apply(tmp_path, task.classifier, task.samples)["mix"]
    torch.testing.assert_close(found, torch.stack([c.local for c in got.concepts], 1), atol=1e-6, rtol=1e-5)
    assert by_name(got)["red"].evidence["cav_accuracy"] == 1
    assert explain(task, pool=pool, maps=1).concepts[1].maps is None


def test_maps_are_where_the_concept_is(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    size = (16, 16)
    samples = noise(12, 1, size=size)
    samples.images[:, 0, :8, :8] = 0.9
    concepts = {"red": red(20, 21, size), "plain": noise(20, 22, size=size)}
    task = made_task(tmp_path, module=Scene(), layer="mix", size=size, samples=samples, concepts=concepts)
    m = by_name(explain(task, pool=True))["red"].maps
    assert float(m[:, :8, :8].mean()) > 4 * float(m[:, 8:, 8:].mean())


def test_a_vision_transformer_with_gelu(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=2)
    size = (32, 32)
    concepts = {"red": red(20, 21, size), "plain": noise(20, 22, size=size)}
    task = made_task(tmp_path, module=module, layer="blocks.0", size=size, concepts=concepts)
    got = explain(task)
    assert by_name(got)["red"].evidence["cav_accuracy"] == 1
    assert all(c.maps is not None and c.maps.shape == (len(task.samples), *size) for c in got.concepts)
    found = apply(tmp_path, task.classifier, task.samples)["blocks.0"]
    torch.testing.assert_close(found, torch.stack([c.local for c in got.concepts], 1), atol=1e-6, rtol=1e-4)


def test_one_image_is_explained_with_a_note_of_what_it_cannot_tell(tmp_path: Path, explain: Explain) -> None:
    got = explain(made_task(tmp_path, samples=noise(1, 1)))
    assert [c.name for c in got.concepts][::2] == ["up", "down"]
    up = got.concepts[0].evidence
    assert up["ts"] > 0.9
    assert up["lo"] < up["effect"] < up["hi"]
    assert [c.evidence["outside"] for c in got.concepts][1:] == [0, 1]
    assert any(note.startswith("one image is explained: for it each CAV has a TS of 0 or 1") for note in got.notes)


def test_of_one_image_a_layer_with_an_affine_head_is_left_out(tmp_path: Path, explain: Explain) -> None:
    class Two(Known):
        def __init__(self) -> None:
            super().__init__(curved)
            self.bent, self.out = nn.Tanh(), nn.Linear(3 * SIDE * SIDE, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.bent(self.pixels(x)))

    task = made_task(tmp_path, module=Two(), samples=noise(1, 1))
    got = explain(task, layers=("pixels", "bent"))
    assert any(note.startswith("bent: undefined at this layer") for note in got.notes)
    assert set(got.concepts[0].directions) == {"pixels"}
    with pytest.raises(NotApplicable, match="the class sample and for random ones"):
        explain(replace(task, layer="bent"))


def test_what_cannot_be_explained_is_one_line(tmp_path: Path, explain: Explain) -> None:
    black = FunctionClassifier(lambda x: x.mean((1, 2, 3))[:, None].repeat(1, 2), ["yes", "no"])
    with pytest.raises(NotApplicable, match="gradients"):
        explain(made_task(tmp_path, classifier=black))
    other = {"large": red(20, 21, (16, 16)), "up": noise(20, 3, size=(8, 8))}
    with pytest.raises(UsageError, match=r"'large' are 16x16, those of the class 8x8.*tcav\.pool=true"):
        explain(made_task(tmp_path, module=Scene(), layer="mix", size=(8, 8), concepts=other))
    assert explain(made_task(tmp_path, module=Scene(), layer="mix", size=(8, 8), concepts=other), pool=True).concepts


def test_every_image_is_run_once(tmp_path: Path, explain: Explain) -> None:
    size, seen = (16, 16), list[int]()
    concepts = {f"c{i}": noise(20, 30 + i, size=size) for i in range(25)}
    module = Scene()
    task = made_task(tmp_path, module=module, layer="mix", size=size, concepts=concepts)
    task.classifier.open("mix").activations(task.samples)  # the first look at a layer runs to the end
    module.mix.register_forward_hook(lambda m, args, out: seen.append(len(out)))
    got = explain(task)
    assert sum(seen) == got.cost.forwards - len(task.samples)
    assert got.cost.backwards == len(task.samples)
    assert got.cost.forwards <= 24 + 2 * 100 + 25 * 10


class Painter:
    """Draws the concepts above from their names, one image a seed."""

    modality = "image"
    fingerprint = "painter"
    can = frozenset[str]()

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: object = None) -> Samples:
        self.asked += zip(prompts, seeds, strict=True)
        lifts = {"up": {0: 0.3}, "down": {1: 0.3}}
        drawn = [noise(1, s % 2**40, lifts.get(p)) for p, s in zip(prompts, seeds, strict=True)]
        return replace(Samples.concat(drawn), ids=tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)))


def drawing(tmp_path: Path, vocabulary: tuple[str, ...] = ("down", "up", "noise")) -> Task:
    task = made_task(tmp_path, vocabulary=vocabulary, generator=Painter())
    data = LiveData(task.samples, "yes", None, vocabulary)
    phrases = tuple(f"noise {i}" for i in range(50))
    random_set = RandomSets(data, "yes", "train", seed=0, generator=Painter(), vocabulary=phrases, pool_size=60)
    return replace(task, random_set=random_set)


def test_prompts_are_drawn(tmp_path: Path, explain: Explain) -> None:
    task = drawing(tmp_path)
    got = explain(task, prompts="up,down", shown=6)
    assert [c.name for c in got.concepts] == ["up", "down"]
    assert {c.render for c in got.concepts} == {"generated:painter"}
    assert got.concepts[0].samples.ids[0].startswith("up/")
    assert got.cost.generated == len(task.generator.asked) == 32
    assert len(set(task.generator.asked)) == 32
    assert [c.evidence["mark"] for c in got.concepts] == [1, -1]
    assert {c.evidence["null_sets"] for c in got.concepts} == {50}, "one set for each phrase"


def test_the_vocabulary_is_drawn_if_no_prompt_is_named(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    assert sorted(by_name(explain(drawing(tmp_path), source="prompts", first=2))) == ["down", "up"]
    assert sorted(by_name(explain(drawing(tmp_path), source="prompts", first=1, concepts="noise,up"))) == [
        "noise",
        "up",
    ]
    with pytest.raises(MissingError, match="--generator REF"):
        explain(made_task(tmp_path), prompts="up")
    with pytest.raises(MissingError, match="no vocabulary"):
        explain(drawing(tmp_path, ()), source="prompts")


def test_a_generator_is_used_where_it_draws_the_concepts() -> None:
    registry = load_registry()
    assert not registry.draws(Ref("tcav"))
    assert registry.draws(Ref("tcav", {"prompts": ["dots"]}))
    assert registry.draws(Ref("tcav", {"source": "prompts"}))
    assert not registry.draws(Ref("tcav", {"prompts": ["dots"], "source": "data"}))
    assert registry.roles(Ref("tcav", {"prompts": ["dots"]})) == ()
