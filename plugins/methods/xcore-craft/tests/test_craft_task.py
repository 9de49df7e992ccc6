"""The method on a network of which we know what its logits depend on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from xcore_craft.activations import nearest_nonnegative_layer, read_activations, split_at
from xcore_craft.craft import Craft
from xcore_craft.crops import crop_grid
from xcore_craft.factorise import nnls
from xcore_craft.options import Options

from xcore.contract import NotApplicable, Samples, UsageError

FAST = Options(k=4, exemplars=6)


def channel(concept):
    return int(concept.directions["last"].argmax())


def test_the_planted_pattern_comes_first_and_others_have_no_weight(task, paint):
    samples, places = paint()
    got = Craft(FAST).explain(task(samples))
    assert [c.name for c in got.concepts] == ["C1", "C2", "C3", "C4"]
    assert sorted(channel(c) for c in got.concepts) == [0, 1, 2, 3]
    first = got.concepts[0]
    assert channel(first) == 0
    assert first.importance == pytest.approx(1, abs=0.05)
    assert max(c.importance for c in got.concepts[1:]) < 0.02
    assert first.evidence["logit_share"] == pytest.approx(1, abs=0.05)
    assert first.evidence["prevalence"] == 1
    assert got.method == "craft"
    assert got.target == "rows"
    assert got.importance_is == "total Sobol index of the class logit"
    for m, (top, left) in zip(first.maps, places, strict=True):
        assert m[top : top + 16, left : left + 16].sum() > 0.8 * m.sum()


def test_two_patterns_share_the_importance(task):
    got = Craft(FAST).explain(task(target=2))
    assert {channel(c) for c in got.concepts[:2]} == {0, 1}
    assert got.concepts[0].importance + got.concepts[1].importance == pytest.approx(1, abs=0.06)
    assert min(c.importance for c in got.concepts[:2]) > 0.3


def test_shapes_and_exemplars(task, paint):
    samples, _ = paint()
    got = Craft(FAST).explain(task(samples))
    d = got.dictionary
    assert d.layer == "last"
    assert d.encoder == "nnls"
    assert d.atoms.shape == (4, 4)
    assert d.codes.shape == (12, 64, 4)
    assert d.state == {}
    for c in got.concepts:
        assert torch.equal(c.directions["last"], d.atoms[c.atom])
        assert c.maps.shape == (12, 32, 32)
        assert (c.maps >= 0).all()
        assert c.local.shape == (12,)
        assert c.local.mean().item() == pytest.approx(c.importance, abs=1e-6)
        assert c.samples.images.shape == (6, 3, 32, 32)
        assert c.samples.images.dtype == torch.float32
        assert c.render == "crop:16>32"
        assert np.bincount(c.source.numpy()).max() <= FAST.per_image
        assert all(i.startswith(f"made/{s}#crop") for i, s in zip(c.samples.ids, c.source.tolist(), strict=True))
        assert all(isinstance(v, float) for v in c.evidence.values())
    importances = [c.importance for c in got.concepts]
    assert importances == sorted(importances, reverse=True)
    stripes = got.concepts[0].samples.images
    assert (stripes.diff(dim=2).abs().mean() > 2 * stripes.diff(dim=3).abs().mean()).item()


def test_perfect_codes_reproduce_the_logits_and_masks_remove_concepts(task):
    t = task()
    whole = split_at(t.classifier, "last", t.samples)
    split, full, means = read_activations(
        t.classifier, whole, "last", t.samples, crop_grid((32, 32)), [(0, 0), (3, 8)], "error"
    )
    assert means.shape == (2, 4)
    masks = torch.cat([torch.ones(1, 4), torch.zeros(1, 4), 1 - torch.eye(4)])
    logits = split.logits_of_masked_codes(masks, full[5], torch.eye(4), t.samples.take([5]))
    module = t.classifier.model.module
    expected = full[5].mean(0) * masks @ module.fc.weight.T + module.fc.bias
    assert torch.allclose(logits[0], t.classifier.logits(t.samples)[5], atol=1e-6)
    assert torch.allclose(logits, expected, atol=1e-6)


def test_codes_are_the_exact_ones_of_the_images(task):
    t = task()
    got = Craft(FAST).explain(t)
    d, a = got.dictionary, t.classifier.open("last").activations(t.samples)
    rows = a.flatten(2).transpose(1, 2)
    np.testing.assert_allclose(nnls(rows.reshape(-1, 4).numpy(), d.atoms.numpy()), d.codes.reshape(-1, 4), atol=1e-6)
    error = (rows - d.codes @ d.atoms).norm() / rows.norm()
    step = got.trace[0]
    assert step["images_error"] == pytest.approx(error.item(), rel=1e-5)
    assert step["images_error"] < 0.1
    assert step["crops_error"] < 0.01
    assert step["top1_agreement"] == 1
    assert step["explained_logit"] == pytest.approx(1, abs=0.05)


def same(a, b):
    for x, y in zip(a.concepts, b.concepts, strict=True):
        assert (x.name, x.importance, x.evidence, x.samples.ids) == (y.name, y.importance, y.evidence, y.samples.ids)
        assert torch.equal(x.maps, y.maps)
        assert torch.equal(x.local, y.local)
        assert torch.equal(x.samples.images, y.samples.images)
    assert torch.equal(a.dictionary.codes, b.dictionary.codes)
    assert torch.equal(a.dictionary.atoms, b.dictionary.atoms)


def test_a_seed_repeats_bit_for_bit_and_model_and_random_state_are_left_alone(task, reader):
    module = reader().train()
    module.fc.weight.requires_grad_(False)
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    torch.manual_seed(5)
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = Craft(FAST).explain(task(module=module, target=2, seed=3))
    assert module.training
    assert [p.requires_grad for p in module.fc.parameters()] == [False, True]
    assert all(not m._forward_hooks for m in module.modules())
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (np_state == np.random.get_state()[1]).all()
    np.random.seed(77)
    same(first, Craft(FAST).explain(task(target=2, seed=3)))


def test_order_and_repetition_of_images_do_not_matter(task, paint):
    samples, _ = paint()
    one = Craft(FAST).explain(task(samples, target=2))
    turned = Craft(FAST).explain(task(samples.take(range(11, -1, -1)), target=2))
    twice = Craft(FAST).explain(task(Samples.concat([samples, samples]), target=2))
    for other in (turned, twice):
        for x, y in zip(one.concepts[:2], other.concepts[:2], strict=True):
            assert x.importance == pytest.approx(y.importance, abs=2e-3)


def test_a_randomised_head_changes_the_ranking(task, reader):
    module = reader()
    with torch.no_grad():
        module.fc.weight[0] = torch.tensor([0.0, 0, 0, 3])
    assert channel(Craft(FAST).explain(task(module=module)).concepts[0]) == 3


def test_one_image(task, paint):
    samples, _ = paint(1)
    got = Craft(FAST).explain(task(samples))
    assert channel(got.concepts[0]) == 0
    assert got.concepts[0].local.shape == (1,)
    assert len(got.concepts[0].samples) <= FAST.per_image
    with pytest.raises(UsageError, match=r"cannot find 10 concepts in .* 9 crops with 4 channels \(set craft.k to"):
        Craft(Options(k=10)).explain(task(samples))
    fewer = Craft().explain(task(samples))
    assert len(fewer.concepts) == 4
    assert "4 concepts instead of 10 are looked for, because there are only 9 crops with 4 channels" in fewer.notes[0]


@pytest.mark.parametrize("size", [(32, 48), (44, 36)])
def test_images_that_are_not_square(task, paint, size):
    samples, places = paint(8, size)
    got = Craft(FAST).explain(task(samples))
    first = got.concepts[0]
    assert channel(first) == 0
    assert first.maps.shape == (8, *size)
    assert first.samples.images.shape[-2:] == size
    assert first.render == f"crop:{min(size) // 2}>{size[0]}x{size[1]}"
    for m, (top, left) in zip(first.maps, places, strict=True):
        assert m[top : top + size[0] // 2, left : left + size[1] // 2].sum() > 0.8 * m.sum()


def test_logit_that_no_concept_moves_is_zero_with_a_note(task, reader):
    module = reader()
    with torch.no_grad():
        module.fc.weight[0] = 0
    got = Craft(FAST).explain(task(module=module))
    assert [c.importance for c in got.concepts] == [0.0] * 4
    assert any("in 12 of 12 images no concept changes the class logit" in note for note in got.notes)
    assert got.trace[0]["explained_logit"] is None


def test_negative_activations_are_refused_with_the_option_and_a_layer(task, reader):
    with pytest.raises(UsageError) as error:
        Craft(replace_options(negative="error")).explain(task(layer="mix", module=reader(act=nn.GELU())))
    assert "layer 'mix' has negative activations" in error.value.message
    assert "craft.negative" in error.value.hint
    assert "'last'" in error.value.hint


def test_negative_activations_are_factorised_by_semi_nmf_and_a_note_says_so(task, reader):
    module = reader(act=nn.GELU())
    with torch.no_grad():
        module.mix.bias[:] = torch.tensor([-0.3, 0.2, -0.1, 0.1])  # so that all of the channels have a say in the signs
        module.mix.weight[0, 0], module.fc.weight[0, 0] = -1, -3  # rows speak through negative activations alone
        module.last = nn.Identity()
    t = task(layer="mix", module=module)
    got = Craft(FAST).explain(t)
    d, a = got.dictionary, t.classifier.open("mix").activations(t.samples).flatten(2).transpose(1, 2)
    assert float(a.min()) < -0.3
    assert float(d.atoms.min()) < 0
    assert float(d.codes.min()) >= 0
    assert (d.encoder, d.state) == ("nnls", {})
    assert got.trace[0]["crops_error"] < 0.05
    lost = Craft(replace_options(negative="relu")).explain(t).dictionary  # what is below zero
    assert (d.codes @ d.atoms - a).norm() < (lost.codes @ lost.atoms - a).norm()
    np.testing.assert_allclose(nnls(a.reshape(-1, 4).numpy(), d.atoms.numpy()), d.codes.reshape(-1, 4), atol=1e-6)
    assert int(got.concepts[0].directions["mix"].abs().argmax()) == 0
    assert got.trace[0]["top1_agreement"] == 1
    assert "some activations of this layer are negative" in got.notes[0]
    assert "craft.negative=semi-nmf" in got.notes[0]
    assert not any("negative" in note for note in Craft(FAST).explain(task()).notes)


def test_a_shift_makes_negative_activations_usable(task, reader):
    t = task(layer="mix", module=reader(act=nn.GELU()))
    got = Craft(replace_options(negative="shift")).explain(t)
    d = got.dictionary
    a = t.classifier.open("mix").activations(t.samples)
    assert set(d.state) == {"shift"}
    assert (d.state["shift"] <= 0).all()
    assert (d.state["shift"] < 0).any()
    rebuilt = d.codes @ d.atoms + d.state["shift"]
    rows = a.flatten(2).transpose(1, 2)
    assert (rows - rebuilt).norm() < 0.15 * (rows - d.state["shift"]).norm()
    assert int(got.concepts[0].directions["mix"].argmax()) == 0
    assert got.trace[0]["top1_agreement"] == 1


def test_relu_sets_negative_activations_to_zero(task, reader):
    t = task(layer="mix", module=reader(act=nn.GELU()))
    got = Craft(replace_options(negative="relu")).explain(t)
    d = got.dictionary
    assert set(d.state) == {"floor"}
    a = t.classifier.open("mix").activations(t.samples).clamp_min(0).flatten(2).transpose(1, 2)
    assert (d.codes @ d.atoms - a).norm() < 0.1 * a.norm()


def replace_options(**changes):
    return Options(**{**FAST.model_dump(), **changes})


def test_a_layer_without_positions_has_maps_from_crops(task, paint):
    samples, places = paint()
    got = Craft(FAST).explain(task(samples, layer="gap"))
    assert got.dictionary.codes.shape == (12, 1, 4)
    assert int(got.concepts[0].directions["gap"].argmax()) == 0
    assert got.concepts[0].maps.shape == (12, 32, 32)
    for m, (top, left) in zip(got.concepts[0].maps, places, strict=True):
        assert m[top : top + 16, left : left + 16].mean() > 2 * m.mean()


def test_tokens(task, paint, tokens):
    samples, places = paint()
    got = Craft(FAST).explain(task(samples, layer="tokens", module=tokens()))
    assert got.dictionary.codes.shape == (12, 65, 4)
    first = got.concepts[0]
    assert int(first.directions["tokens"].argmax()) == 0
    assert first.importance == pytest.approx(1, abs=0.05)
    for m, (top, left) in zip(first.maps, places, strict=True):
        assert m[top : top + 16, left : left + 16].sum() > 0.8 * m.sum()


def test_a_map_of_one_position_is_none(task, paint, reader):
    """A map of 1x1 would show each concept everywhere; the crops show where it is, as for a layer without positions."""
    module = reader()
    module.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Identity(), nn.Flatten())
    samples, places = paint()
    pooled = Craft(FAST).explain(task(samples, layer="gap.0", module=module)).concepts
    for m, (top, left) in zip(pooled[0].maps, places, strict=True):
        assert m[top : top + 16, left : left + 16].mean() > 2 * m.mean()


class ReadsItsClassToken(nn.Module):
    """What the class token says of four patterns decides; the patch tokens behind it say something else."""

    def __init__(self, reader):
        super().__init__()
        self.reader, self.block, self.norm = reader, nn.Identity(), nn.LayerNorm(4)

    def forward(self, x):
        r = self.reader
        a = r.last(r.mix(r.pool(r.relu(r.low(x))))).flatten(2).transpose(1, 2)
        a = self.block(torch.cat([a.mean(1, keepdim=True), 5 * a.flip(2)], dim=1))
        return r.fc(self.norm(a)[:, 0])


def test_where_only_the_class_token_is_read_concepts_are_its_own(task, paint, reader):
    samples, places = paint()
    # One pattern in an image, so that class tokens tell them apart, and images differ from one another.
    images = torch.full_like(samples.images, 0.5)
    for i, (top, left) in enumerate(places[:6]):
        images[i, :, top : top + 16, left : left + 16] = samples.images[i, :, top : top + 16, left : left + 16]
    images[6:] = samples.images[6:]
    t = task(Samples("image", images, samples.ids), layer="block", module=ReadsItsClassToken(reader()))
    got = Craft(FAST).explain(t)
    assert got.dictionary.codes.shape == (12, 65, 4)  # all tokens are coded, so that metrics code new images alike
    assert any("reads nothing but its class token" in note for note in got.notes)
    assert got.trace[0]["images_error"] < 0.2  # of the class tokens; their atoms do not fit the patch tokens
    first = got.concepts[0]
    assert int(first.directions["block"].argmax()) == 0
    for m, (top, left) in zip(first.maps[:6], places, strict=False):
        assert m[top : top + 16, left : left + 16].mean() > 1.5 * m.mean()


def test_maps_are_the_codes_of_their_own_concept(task, paint, tokens):
    """For each concept, at each position: the code of its atom there, with the class token left out."""
    samples, _ = paint(3)
    for layer, module, extra in (("last", None, 0), ("tokens", tokens(), 1)):
        got = Craft(FAST).explain(task(samples, layer=layer, module=module))
        for c in got.concepts:
            small = got.dictionary.codes[:, extra:, c.atom].reshape(3, 1, 8, 8)
            whole = nn.functional.interpolate(small, size=(32, 32), mode="bilinear")[:, 0]
            assert torch.allclose(c.maps, whole, atol=1e-6)


def test_concepts_are_refined_at_an_earlier_layer(task, paint):
    steps = []
    options = replace_options(recurse=1, refine=2, sub_k=2, sub_layer="pool")
    got = Craft(options).explain(
        task(paint(30)[0], target=2, progress=lambda step, total, note="": steps.append((step, total)))
    )
    top = [c for c in got.concepts if c.parent is None]
    sub = [c for c in got.concepts if c.parent is not None]
    assert [c.name for c in top] == ["C1", "C2", "C3", "C4"]
    assert {c.name for c in sub} == {"C1.1", "C1.2", "C2.1", "C2.2"}
    for c in sub:
        assert got.concepts[c.parent].name == c.name.split(".")[0]
        assert set(c.directions) == {"pool"}
        assert c.directions["pool"].shape == (6,)
        assert c.atom is None
        assert c.maps.shape == (30, 32, 32)
    importances = [c.importance for c in got.concepts]
    assert importances == sorted(importances, reverse=True)
    assert len(got.trace) == 3
    assert steps[-1] == (93, 93)


def test_the_earlier_layer_is_the_last_one_without_negative_activations(task, paint, reader):
    module = reader()
    with torch.no_grad():
        module.mix.bias[:] = -0.01
    got = Craft(replace_options(recurse=1, refine=1, sub_k=2)).explain(task(paint(30)[0], module=module, target=2))
    assert {layer for c in got.concepts for layer in c.directions} == {"last", "pool"}


def test_refining_without_an_earlier_layer_says_so(task, paint):
    t = task(paint(30)[0])
    got = Craft(replace_options(recurse=1, negative="shift")).explain(replace(t, layer=t.classifier.layers[0]))
    assert all(c.parent is None for c in got.concepts)
    assert any("found no sub-concepts, because no layer before" in note for note in got.notes)


def test_cost_progress_and_notes(task):
    steps = []
    got = Craft(FAST).explain(task(progress=lambda step, total, note="": steps.append((step, total, note))))
    assert got.cost.forwards == 12 + 12 * 9
    assert got.cost.generated == 0
    assert got.cost.seconds > 0
    assert steps[-1][:2] == (13, 13)
    assert [s for s, *_ in steps] == sorted(s for s, *_ in steps)
    assert "100% of the images" in got.notes[0]
    assert got.trace[0]["head_rows"] <= 12 * (1 + 2 + 4 + 8)  # the head is affine


def test_the_published_estimator_is_an_option_and_the_default_agrees_where_the_head_is_not_affine(task):
    given = task(layer="mix", target=2)  # behind it come a ReLU and the mean
    default, published = Craft(FAST).explain(given), Craft(replace_options(estimator="jansen")).explain(given)
    assert default.trace[0]["head_rows"] < published.trace[0]["head_rows"] / 3
    local = {c.atom: c.importance for c in published.concepts}
    for concept in default.concepts:
        assert concept.importance == pytest.approx(local[concept.atom], abs=0.08)


def test_the_layer_defaults_to_the_classifiers(task):
    given = task(layer="")
    assert Craft(FAST).explain(given).dictionary.layer == given.classifier.default_layer


def test_the_hint_of_a_layer_without_negative_activations_is_sought_nearby():
    opened = []

    class Deep:
        layers = tuple(f"block{i}" for i in range(200))

        def open(self, layer):
            opened.append(layer)
            return SimpleNamespace(activations=lambda x: -torch.ones(len(x), 3))

    assert nearest_nonnegative_layer(Deep(), "block100", Samples("image", torch.zeros(1, 3, 4, 4), ("a",))) is None
    assert sorted(opened) == sorted(f"block{i}" for i in range(92, 109) if i != 100)


def test_halton_and_unknown_options(task):
    got = Craft(replace_options(estimator="jansen", sampler="halton", designs=30)).explain(task())
    assert channel(got.concepts[0]) == 0
    with pytest.raises(UsageError, match="power of two, got 30"):
        Craft(replace_options(designs=30)).explain(task())
    with pytest.raises(ValueError, match="rank"):
        Options(rank=3)


def test_a_black_box_and_an_unknown_layer_are_refused(task):
    t = task()
    with pytest.raises(UsageError, match="last"):
        Craft(FAST).explain(replace(t, layer="lasst"))
    t.classifier.can = frozenset()
    with pytest.raises(NotApplicable, match="gives no access"):
        Craft(FAST).explain(t)


PATTERNS = ("rows", "columns", "red", "blue")


class Some:
    """Pictures of all classes in which each of the four patterns is there or not, by a coin."""

    classes, vocabulary = ("rows", "colour", "stripes"), PATTERNS

    def samples(self, cls, split, n, seed):
        rng = np.random.default_rng([seed, self.classes.index(cls), split == "train"])
        pictures = torch.full((n, 3, 32, 32), 0.5)
        for picture, there in zip(pictures, rng.random((n, 4)) < 0.5, strict=True):
            for (top, left), drawn, name in zip(((0, 0), (0, 16), (16, 0), (16, 16)), there, PATTERNS, strict=True):
                quarter = picture[:, top : top + 16, left : left + 16]
                if drawn:
                    quarter[:] = 0
                    quarter[{"red": (0,), "blue": (2,)}.get(name, (0, 1, 2)), :: 1 + (name == "rows")] = 1
                    if name == "columns":
                        quarter[:, :, 1::2] = 0
        return Samples("image", pictures, tuple(f"{cls}/{split}/{seed}/{i}" for i in range(n)))


def test_concepts_are_named_by_phrases_that_go_with_their_strength(task, reader):
    network = reader()

    class Reads:
        """An image-text model: its axes are the patterns that a picture has."""

        name = "reads"

        def embed_images(self, images):
            r, x = network, images.images
            return r.last(r.mix(r.pool(r.relu(r.low(x))))).amax((2, 3)).detach() + 0.3

        def embed_texts(self, texts):
            return torch.stack([torch.eye(4)[PATTERNS.index(text)] for text in texts])

    def model(role):
        assert role == "image-text"
        return Reads()

    asked = replace(
        task(module=network, target=2), data=Some(), vocabulary=("rows", "columns", "red", "blue"), model=model
    )
    got = Craft(replace_options(names=1)).explain(asked)
    named = {channel(c): c.words for c in got.concepts}
    assert named == {i: (name,) for i, name in enumerate(PATTERNS)}
    assert all(c.evidence["name_t"] > 5 for c in got.concepts)
    assert any("the words of a concept are phrases" in note for note in got.notes)
    assert Craft(FAST).explain(asked).concepts[0].words == ()
