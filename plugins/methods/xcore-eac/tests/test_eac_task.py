"""The method on models of which we know what they read."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn
from xcore_eac import games
from xcore_eac.eac import Eac
from xcore_eac.options import EacOptions, GridOptions
from xcore_eac.segmenters import Felzenszwalb, Grid

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.testing import model_state

CLASSES = ("a", "b", "c")


class Stub:
    """Gives masks that were fixed before, of each image in turn."""

    def __init__(self, *masks):
        self.masks, self.at = masks, 0

    def segment(self, image):
        self.at += 1
        return self.masks[(self.at - 1) % len(self.masks)]


def network(make):
    torch.manual_seed(0)
    return TorchClassifier(nn.Sequential(*make()), CLASSES, input_size=32)


def linear_pooled():
    """Features are means over a linear map of the pixels: those of disjoint segments add up."""
    made = network(lambda: (nn.Conv2d(3, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)))
    with torch.no_grad():
        made.model.module[3].weight *= 6
    return made


def task(classifier, samples, segmenter=None, target=0, seed=0, **kwargs):
    helpers = {"segmenter": segmenter or Grid(GridOptions(rows=2, columns=3))}
    return Task(
        classifier=classifier,
        layer=classifier.default_layer,
        target=target,
        samples=samples,
        random_set=None,
        data=None,
        seed=seed,
        model=helpers.__getitem__,
        **kwargs,
    )


def by_name(explanation, index):
    return {c.name: c.importance for c in explanation.parts[index].concepts}


def true_values(classifier, image, masks, target, kind="shapley", output="probability"):
    """One masked image after another, and the exact values."""
    design = games.exact(len(masks), kind)
    images = torch.stack([image * masks[torch.from_numpy(c)].any(0) for c in design.coalitions])
    logits = classifier.logits(Samples("image", images, tuple(map(str, range(len(images))))))
    scores = logits.softmax(1) if output == "probability" else logits
    return design.worth(scores[:, target].double().numpy())[0]


@pytest.mark.parametrize("kind", ["shapley", "banzhaf"])
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_all_coalitions_give_the_exact_values(kind, output, pictures):
    given = task(linear_pooled(), pictures(2))
    got = Eac(EacOptions(value=kind, output=output)).explain(given)
    assert got.importance_is == f"{kind.title()} value of the image's top segment for the class {output}"
    masks = Grid(GridOptions(rows=2, columns=3)).segment(given.samples.images[0])
    for i in range(2):
        expected = true_values(given.classifier, given.samples.images[i], masks, 0, kind, output)
        assert by_name(got, i) == pytest.approx({f"segment {j + 1}": v for j, v in enumerate(expected)}, abs=1e-5)
    assert got.cost.forwards == 2 + 2 * 2**6 + 2


def test_the_logit_of_pooled_linear_features_is_additive(pictures):
    """phi of the logit = head's weight . (features of the segment - features of black)."""
    given = task(linear_pooled(), pictures(1))
    got = Eac(EacOptions(output="logit")).explain(given)
    image, module = given.samples.images[0], given.classifier.model.module
    masks = Grid(GridOptions(rows=2, columns=3)).segment(image)
    with torch.no_grad():
        logits = module(torch.cat([image * masks[:, None], torch.zeros(1, 3, 32, 32)]))[:, 0]
    expected = {f"segment {j + 1}": float(v) for j, v in enumerate(logits[:-1] - logits[-1])}
    assert by_name(got, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_pie_is_exact_where_the_model_is_of_its_family(correct, output, pictures):
    """Ten disjoint segments and 64 of 1,024 coalitions."""
    segmenter = Grid(GridOptions(rows=2, columns=5))
    given = task(linear_pooled(), pictures(2, (32, 40)), segmenter, target=1)
    got = Eac(EacOptions(coalitions=64, output=output, correct=correct)).explain(given)
    image = given.samples.images[0]
    expected = true_values(given.classifier, image, segmenter.segment(image), 1, output=output)
    assert max(abs(expected)) > 0.005
    assert [step["values_from"] for step in got.trace] == ["PIE"] * 2
    assert min(step["r2"] for step in got.trace) > 0.9999
    assert got.concepts[0].evidence["r2"] > 0.9999
    np.testing.assert_allclose([by_name(got, 0)[f"segment {i + 1}"] for i in range(10)], expected, atol=2e-5)
    assert got.cost.forwards <= 2 * (1 + 64 + 1)
    assert any("R^2 on held-out coalitions has median 1.00" in note for note in got.notes)


class Region(nn.Module):
    """Class 0 reads how red one rectangle is, and nothing else; no layer knows."""

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, x):
        red = x[:, 0, self.rows, self.columns].mean((1, 2)) - x[:, 1:, self.rows, self.columns].mean((1, 2, 3))
        return torch.stack([self.scale * red, torch.zeros_like(red), -self.scale * red], dim=1)


@pytest.mark.parametrize("budget", [8, 40, 600])
def test_a_model_that_reads_one_region_gets_it_first(budget, pictures):
    """By sampled permutations, with a poor surrogate or a good one, and exactly."""
    samples = pictures(6, (32, 48))
    samples.images[:, 0, 16:, 16:32] += 1
    samples = Samples("image", samples.images.clamp(0, 1), samples.ids)
    module = Region(slice(16, 32), slice(16, 32))
    given = task(TorchClassifier(module, CLASSES, layers=(), default_layer=""), samples, Grid())
    given = replace(given, model={"segmenter": Grid(GridOptions(rows=2, columns=3))}.__getitem__)
    got = Eac(EacOptions(coalitions=budget)).explain(given)
    for part in got.parts:
        first, *others = part.concepts
        assert first.name == "segment 5"
        assert max(abs(c.importance) for c in others) < 0.05 * first.importance
        assert first.maps[0, 16:, 16:32].all()
        assert first.maps.sum() == 256
    (row,) = got.concepts
    assert row.importance == pytest.approx(np.mean([p.concepts[0].importance for p in got.parts]))
    assert row.importance == pytest.approx(row.evidence["gain"], rel=0.05)
    assert row.evidence["alone"] == pytest.approx(row.evidence["whole"], abs=1e-5)


def test_a_dummy_a_pair_and_a_randomised_model(pictures):
    """Two segments alike get the same, one that is not read gets nothing, another model another ranking."""
    samples = pictures(1)
    samples.images[:] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    halves = Grid(GridOptions(rows=1, columns=4))
    left = task(TorchClassifier(Region(slice(0, 32), slice(0, 16)), CLASSES, layers=()), samples, halves)
    values = by_name(Eac().explain(left), 0)
    assert values["segment 1"] == pytest.approx(values["segment 2"])
    assert values["segment 3"] == pytest.approx(0, abs=1e-7)
    right = task(TorchClassifier(Region(slice(0, 32), slice(24, 32)), CLASSES, layers=()), samples, halves)
    assert Eac().explain(right).parts[0].concepts[0].name == "segment 4"


@pytest.mark.parametrize(
    "options", [EacOptions(), EacOptions(coalitions=40), EacOptions(coalitions=40, surrogate="none")]
)
def test_values_add_up_to_what_the_model_gains(options, pictures):
    """Also those of PIE and of sampled coalitions."""
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = network(lambda: (nn.Conv2d(3, 8, 3), nn.GELU(), *pooled, nn.Linear(8, 3)))
    given = task(classifier, pictures(3), Grid(GridOptions(rows=2, columns=4)))
    got = Eac(options).explain(given)
    for part, step in zip(got.parts, got.trace, strict=True):
        gain = step["whole"] - step["empty"]
        assert sum(c.importance for c in part.concepts) == pytest.approx(gain, abs=1e-6)
    assert got.trace[0]["whole"] == pytest.approx(float(classifier.logits(given.samples).softmax(1)[0, 0]), abs=1e-6)


def function(images):
    return torch.stack([images[:, 0].mean((1, 2)), images[:, 1].mean((1, 2)), images[:, 2, :8, :8].mean((1, 2))], 1) * 9


def test_a_black_box_works_without_pie(pictures):
    given = task(FunctionClassifier(function, CLASSES), pictures(2), Grid(GridOptions(rows=4, columns=4)), target=2)
    got = Eac(EacOptions(max_segments=16, coalitions=128)).explain(given)
    assert {step["values_from"] for step in got.trace} == {"sampled coalitions"}
    assert {p.concepts[0].name for p in got.parts} == {"segment 1"}
    assert got.concepts[0].evidence["se"] > 0
    assert "PIE is not used, because the classifier gives no activations and gradients" in got.notes
    assert got.cost.forwards <= 2 * (1 + 128 + 1)
    with pytest.raises(NotApplicable, match="PIE needs activations and gradients"):
        Eac(EacOptions(surrogate="pie")).explain(given)


def test_a_function_that_returns_probabilities_is_not_normalised_again(pictures):
    given = task(FunctionClassifier(lambda x: function(x).softmax(1), CLASSES), pictures(2), target=2)
    scores = task(FunctionClassifier(function, CLASSES), pictures(2), target=2)
    for one, two in zip(Eac().explain(given).parts, Eac().explain(scores).parts, strict=True):
        assert [c.importance for c in one.concepts] == pytest.approx([c.importance for c in two.concepts])


def test_grouped_and_depthwise_convolutions_and_a_transformer(pictures):
    grouped = network(
        lambda: (
            nn.Conv2d(3, 12, 3, stride=2),
            nn.Conv2d(12, 12, 3, groups=12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 1, groups=4),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
    )
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=3
    )
    for classifier in (grouped, TorchClassifier(vit, CLASSES, input_size=32)):
        before = model_state(classifier.model.module)
        given = task(classifier, pictures(2), Grid(GridOptions(rows=3, columns=3)))
        exact = Eac(EacOptions(output="logit", coalitions=512)).explain(given)
        near = Eac(EacOptions(output="logit", coalitions=256, min_r2=-100)).explain(given)
        assert {step["values_from"] for step in near.trace} == {"PIE"}
        for i in range(2):
            a, b = by_name(exact, i), by_name(near, i)
            largest = max(abs(v) for v in a.values())
            assert b == pytest.approx(a, abs=0.25 * largest)
        assert model_state(classifier.model.module) == before


def test_a_poor_fit_is_not_used_or_warned_of():
    """The class depends on the parity of the segments that are in: no surrogate can know."""

    def parity(x):
        count = (x[:, 0, ::16, ::8].flatten(1) > 0).sum(1)
        return torch.stack([4.0 * (count % 2) - 2, torch.zeros(len(x)), torch.zeros(len(x))], 1)

    class Parity(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return parity(x) * self.weight

    samples = Samples("image", torch.ones(2, 3, 32, 32), ("x", "y"))
    given = task(TorchClassifier(Parity(), CLASSES, layers=()), samples, Grid(GridOptions(rows=2, columns=4)))
    auto = Eac(EacOptions(coalitions=60)).explain(given)
    assert {step["values_from"] for step in auto.trace} == {"sampled coalitions"}
    assert any("below 0.5 for 2 image(s): their values come from the sampled coalitions" in note for note in auto.notes)
    forced = Eac(EacOptions(coalitions=60, surrogate="pie")).explain(given)
    assert {step["values_from"] for step in forced.trace} == {"PIE"}
    assert any("do not rely on their values" in note for note in forced.notes)


def test_images_with_no_and_with_one_segment(pictures):
    none, whole = torch.zeros(0, 32, 32, dtype=torch.bool), torch.ones(1, 32, 32, dtype=torch.bool)
    halves = Grid(GridOptions(rows=1, columns=2)).segment(torch.zeros(3, 32, 32))
    given = task(linear_pooled(), pictures(3), Stub(none, whole, halves))
    got = Eac().explain(given)
    assert [len(p.concepts) for p in got.parts] == [1, 1, 2]
    assert [p.concepts[0].name for p in got.parts[:2]] == ["rest", "segment 1"]
    assert "2 of 3 images have only one segment" in got.notes
    assert got.concepts[0].source.tolist() == [2]  # whole images show no concept, if another does
    bare = Eac(EacOptions(rest=False)).explain(
        replace(given, model={"segmenter": Stub(none, whole, halves)}.__getitem__)
    )
    assert [len(p.concepts) for p in bare.parts] == [0, 1, 2]
    assert "1 of 3 images have no segment" in bare.notes
    assert bare.concepts[0].local[0] == 0
    only = Eac().explain(replace(given, model={"segmenter": Stub(whole)}.__getitem__))
    assert only.concepts[0].source.tolist() != []
    with pytest.raises(NotApplicable, match="finds no segment in any image"):
        Eac(EacOptions(rest=False)).explain(replace(given, model={"segmenter": Stub(none)}.__getitem__))


def test_where_nothing_speaks_for_the_class_maps_are_empty_and_a_note_says_so(pictures):
    got = Eac(EacOptions(output="logit")).explain(task(linear_pooled(), pictures(), target=0))
    assert got.concepts[0].importance < 0
    assert float(got.concepts[0].maps.max()) == 0
    assert "in 4 of 4 images no segment raises the class logit" in got.notes


def test_shapes_and_the_class_row(pictures):
    got = Eac(EacOptions(exemplars=3)).explain(task(linear_pooled(), pictures(5, (32, 48)), target=1))
    (row,) = got.concepts
    assert row.name == "top segment"
    assert row.render == "segment:black"
    assert row.samples.images.shape == (3, 3, 32, 48)
    assert row.source.shape == (3,)
    assert row.maps.shape == (5, 32, 48)
    assert float(row.maps.min()) >= 0
    assert torch.equal(row.maps, torch.cat([p.concepts[0].maps for p in got.parts]))
    assert row.local.tolist() == pytest.approx([p.concepts[0].importance for p in got.parts])
    assert row.local[row.source].tolist() == sorted(row.local.tolist(), reverse=True)[:3]
    for i, image in zip(row.source.tolist(), row.samples.images, strict=True):
        mask = got.parts[i].concepts[0].maps[0].bool()
        assert (image[:, ~mask] == 0).all()
        assert row.samples.ids[row.source.tolist().index(i)].startswith(f"made/{i}#segment ")
    assert len(got.parts) == 5
    for i, part in enumerate(got.parts):
        assert [c.importance for c in part.concepts] == sorted((c.importance for c in part.concepts), reverse=True)
        assert all(c.maps.shape == (1, 32, 48) and c.source.tolist() == [i] for c in part.concepts)


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (512, 320)])
def test_one_image_of_any_size(size, pictures):
    steps = []
    given = task(
        linear_pooled(),
        pictures(1, size),
        Felzenszwalb(),
        progress=lambda step, total, note="": steps.append((step, total)),
    )
    got = Eac(EacOptions(coalitions=32)).explain(given)
    assert len(got.parts) == 1
    assert got.concepts[0].maps.shape == (1, *size)
    assert steps == [(1, 2), (2, 2)]


def test_order_and_repetition_of_images_do_not_matter(pictures):
    samples = pictures(3)
    given = task(linear_pooled(), samples, Grid(GridOptions(rows=3, columns=4)))
    options = EacOptions(coalitions=40, surrogate="none")
    one = Eac(options).explain(given)
    turned = Eac(options).explain(replace(given, samples=samples.take([2, 1, 0, 1])))
    for a, b in ((0, 2), (1, 1), (1, 3), (2, 0)):
        assert by_name(one, a) == pytest.approx(by_name(turned, b))
    other = Eac(options).explain(replace(given, seed=1))
    assert by_name(one, 0) != by_name(other, 0)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
def test_baselines_are_named_in_the_rendering(baseline, pictures):
    got = Eac(EacOptions(baseline=baseline)).explain(task(linear_pooled(), pictures()))
    assert got.concepts[0].render == f"segment:{baseline}"
    assert float(got.concepts[0].samples.images[0].min() == 0) == (baseline == "black")


def test_a_limit_on_segments_is_kept_and_told(pictures):
    given = task(linear_pooled(), pictures(2), Grid(GridOptions(rows=4, columns=5)))
    got = Eac(EacOptions(max_segments=4)).explain(given)
    assert all(len(p.concepts) == 4 and "rest" in {c.name for c in p.concepts} for p in got.parts)
    assert "2 of 2 images have more than 4 segments: the smallest are joined in `rest`" in got.notes
    union = torch.cat([c.maps for c in got.parts[0].concepts]).sum(0)
    assert (union == 1).all()


def test_more_segments_than_can_be_enumerated(pictures):
    given = task(linear_pooled(), pictures(1), Grid(GridOptions(rows=4, columns=4)))
    got = Eac(EacOptions(max_segments=16, coalitions=100, pairs=500, output="logit")).explain(given)
    image, module = given.samples.images[0], given.classifier.model.module
    masks = Grid(GridOptions(rows=4, columns=4)).segment(image)
    with torch.no_grad():
        logits = module(torch.cat([image * masks[:, None], torch.zeros(1, 3, 32, 32)]))[:, 0]
    expected = {f"segment {j + 1}": float(v) for j, v in enumerate(logits[:-1] - logits[-1])}
    assert by_name(got, 0) == pytest.approx(expected, abs=1e-3)


def test_what_is_missing_is_one_line(pictures):
    given = replace(task(linear_pooled(), pictures()), model=Task.__dataclass_fields__["model"].default)
    with pytest.raises(MissingError, match="no model for the role 'segmenter'"):
        Eac().explain(given)
    with pytest.raises(UsageError, match="needs images"):
        Eac().explain(replace(given, samples=Samples("image", torch.zeros(0, 3, 8, 8), ())))
