"""The method on a network of which we know what its logits depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from xcore_craft.factorise import nnls
from xcore_lens.extract import encode
from xcore_lens.layer import is_affine, penultimate_layer
from xcore_lens.lens import Lens
from xcore_lens.options import Options

from xcore.contract import NotApplicable, Samples, UsageError
from xcore.models.classifiers import FunctionClassifier

EXTRACTORS = ["nmf", "semi-nmf", "convex-nmf", "pca", "kmeans"]


def channel(concept):
    return int(next(iter(concept.directions.values())).argmax())


def test_the_planted_pattern_comes_first_and_has_all_of_the_logit(lens, task, paint):
    samples, places = paint()
    got = lens().explain(task(samples))
    assert (got.method, got.target) == ("lens", "rows")
    assert [c.name for c in got.concepts] == ["C1", "C2", "C3", "C4"]
    assert sorted(channel(c) for c in got.concepts) == [0, 1, 2, 3]
    first = got.concepts[0]
    assert channel(first) == 0
    assert first.evidence["share"] == pytest.approx(1, abs=0.05)
    assert first.evidence["prevalence"] == 1
    assert first.evidence["reliability"] == 1
    assert first.directions.keys() == {"last"}
    assert got.notes[0] == (
        "rows: the dictionary is made at layer 'last', the input of the affine head (lens.layer can name another)"
    )
    for m, corners in zip(first.maps, places, strict=True):
        top, left = corners[0]
        assert m[top : top + 16, left : left + 16].sum() > 0.8 * m.sum()


def test_importances_are_signed_and_shares_add_up(lens, task):
    got = lens().explain(task(target=1))
    assert channel(got.concepts[0]) == 2
    assert channel(got.concepts[-1]) == 1
    assert got.concepts[-1].importance < 0
    shares = [c.evidence["share"] for c in got.concepts]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] > 1 > 0 > shares[-1]
    assert sum(c.evidence["prevalence"] for c in got.concepts) == pytest.approx(1)
    assert [c.evidence["reliability"] for c in got.concepts[1:]] == [0, 0, 0]


def test_the_importances_add_up_to_the_mean_logit_less_the_bias(lens, task):
    t = task(target=1)
    logit = t.classifier.logits(t.samples)[:, 1].mean().item()
    for extractor in ("pca", "semi-nmf"):  # four channels and four concepts: codes are exact
        got = lens(extractor=extractor).explain(t)
        assert sum(c.importance for c in got.concepts) == pytest.approx(logit + 0.2, abs=1e-4)
        assert got.trace[0]["error"] < 1e-3
        assert got.trace[0]["explained_logit"] == pytest.approx(1, abs=1e-3)


def test_a_logit_that_nothing_moves_is_zero_with_a_note(lens, task):
    got = lens().explain(task(target=2))
    assert [c.importance for c in got.concepts] == [0] * 4
    assert all("share" not in c.evidence and c.evidence["prevalence"] == 0 for c in got.concepts)
    assert any("shares of the class logit are not defined" in note for note in got.notes)
    assert got.trace[0]["explained_logit"] is None


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_shapes_and_the_encoder(lens, task, extractor):
    t = task()
    got = lens(extractor=extractor).explain(t)
    d = got.dictionary
    assert d.layer == "last"
    assert d.atoms.shape == (4, 4)
    assert d.codes.shape == (12, 64, 4)
    a = t.classifier.open("last").activations(t.samples).flatten(2).transpose(1, 2).reshape(-1, 4)
    again = encode(d.encoder, a.double().numpy(), d.atoms.double().numpy())
    np.testing.assert_allclose(again, d.codes.reshape(-1, 4), atol=1e-5)
    if d.encoder == "nnls":
        np.testing.assert_allclose(nnls(a.double().numpy(), d.atoms.double().numpy()), again)
    assert (d.encoder == "linear") == bool((d.codes < 0).any())
    for c in got.concepts:
        assert torch.equal(c.directions["last"], d.atoms[c.atom])
        assert c.maps.shape == (12, 32, 32)
        assert (c.maps >= 0).all()
        assert c.local.mean().item() == pytest.approx(c.importance, abs=1e-5)
        assert c.samples.images.shape[1:] == (3, 32, 32)
        assert c.render == "crop:16>32"
        assert np.bincount(c.source.numpy()).max() <= 2
        assert all(i.startswith(f"made/{s}#crop") for i, s in zip(c.samples.ids, c.source.tolist(), strict=True))
        assert all(isinstance(v, float) for v in c.evidence.values())
    assert [c.importance for c in got.concepts] == sorted((c.importance for c in got.concepts), reverse=True)


@pytest.mark.parametrize("extractor", EXTRACTORS[1:])
def test_centred_activations(lens, task, extractor):
    t = task(target=1)
    got = lens(extractor=extractor, centre=True).explain(t)
    a = t.classifier.open("last").activations(t.samples).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got.dictionary.state["centre"], a.mean((0, 1)), atol=1e-6, rtol=1e-5)
    given = got.dictionary.codes @ got.dictionary.atoms + got.dictionary.state["centre"]
    assert (given - a).norm() / (a - a.mean((0, 1))).norm() == pytest.approx(got.trace[0]["error"], abs=1e-4)
    if extractor == "pca":
        assert max(abs(c.importance) for c in got.concepts) < 1e-4
        assert any("average to zero" in note for note in got.notes)


def test_the_top_crops_show_the_concept(lens, task, paint):
    samples, places = paint()
    first = lens(per_image=1, exemplars=12).explain(task(samples)).concepts[0]
    for source, name in zip(first.source.tolist(), first.samples.ids, strict=True):
        assert tuple(int(v) for v in name.partition("#crop")[2].split(",")) == places[source][0]


def test_negative_activations_are_refused_and_the_hint_says_what_to_do(lens, task, reader):
    module = reader(negative=True)
    with pytest.raises(UsageError) as error:
        lens(negative="error").explain(task(module=module, layer="last"))
    message = "layer 'last' has negative activations (down to -0.1), which lens.negative=error refuses"
    assert message in error.value.message
    for word in ("set lens.negative to 'semi-nmf', 'shift' or 'relu'", "choose layer 'gap.0'"):
        assert word in error.value.hint
    with pytest.raises(UsageError, match="nmf cannot factorise centred"):
        lens(centre=True).explain(task())


@pytest.mark.parametrize("options", [{"extractor": e} for e in EXTRACTORS] + [{"negative": "shift"}])
def test_negative_activations_that_are_allowed(lens, task, reader, options):
    t = task(module=reader(negative=True), layer="last")
    got = lens(**options).explain(t)
    assert got.trace[0]["top1_agreement"] == 1
    a = t.classifier.open("last").activations(t.samples).flatten(2).transpose(1, 2)
    d = got.dictionary
    assert ((d.codes @ d.atoms + d.state.get("shift", 0) - a).norm() / a.norm()).item() < 0.5


def test_relu_sets_negative_activations_to_zero(lens, task, reader):
    t = task(module=reader(negative=True), layer="last")
    d = lens(negative="relu").explain(t).dictionary
    a = t.classifier.open("last").activations(t.samples).flatten(2).transpose(1, 2).clamp_min(0)
    assert set(d.state) == {"floor"}
    assert ((d.codes @ d.atoms - a).norm() / a.norm()).item() < 0.2


def test_what_relu_takes_away_counts_as_missed(lens, task, reader):
    """Class 0 falls by a channel that is negative: without it, codes name the class that the model does not name."""
    module = reader(negative=True)
    with torch.no_grad():
        module.last.bias[:] = torch.tensor([0.0, 0, 0, -1])
        module.fc.weight[0, 3] = 5
    t = task(module=module, layer="last")
    assert (t.classifier.logits(t.samples).argmax(1) != 0).all()
    got = lens(negative="relu").explain(t)
    assert all(c.evidence["reliability"] == 0 for c in got.concepts)
    assert got.trace[0]["top1_agreement"] == 0
    assert got.trace[0]["explained_logit"] < 0  # the logit is below that of no activation; what the codes give is above


def test_the_layer_is_the_penultimate_one_unless_another_is_named(lens, task, paint, reader):
    module, few = reader(), paint(4)[0]
    t = task(module=module)
    assert penultimate_layer(t.classifier, few)[0] == "last"
    default = t.classifier.default_layer
    assert default != "last"
    assert lens().explain(replace(t, layer=default)).dictionary.layer == "last"
    assert lens().explain(replace(t, layer="gap")).dictionary.layer == "gap"
    assert lens(layer=default).explain(replace(t, layer=default)).dictionary.layer == default
    with pytest.raises(UsageError, match="last"):
        lens().explain(replace(t, layer="lasst"))


def test_an_affine_head_is_recognised(task):
    t = task()
    # above `pool` there is a ReLU, which is straight for the activations that occur and bends beside them
    for name, answer in (("low", False), ("pool", False), ("last", True), ("gap", True)):
        probe = t.classifier.open(name)
        assert is_affine(probe, probe.activations(t.samples), t.samples) == answer, name


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_bend_an_affine_head(lens, task, paint, reader, narrow):
    torch.manual_seed(0)
    for above, answer in ((nn.Identity(), True), (nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3)), False)):
        made = reader()
        made.fc = nn.Sequential(nn.Linear(4, 3), above)
        samples = paint()[0]
        t = task(samples, module=made.to(narrow))
        t.classifier.model.preprocess = lambda x: x.to(narrow)
        probe = t.classifier.open("last")
        assert is_affine(probe, probe.activations(samples), samples) == answer
        if answer:
            assert penultimate_layer(t.classifier, samples)[0] == "last"
            assert lens().explain(t).trace[0]["accounted"] == pytest.approx(1, abs=0.02)


def test_a_head_that_is_nowhere_affine(lens, task):
    module = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 3), nn.Softplus())
    got = lens(extractor="kmeans").explain(task(module=module))
    assert "not affine" in got.notes[0]
    assert got.trace[0]["accounted"] is not None


def test_a_layer_that_others_bypass_is_not_the_penultimate_one(task):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(3, 4, 4, stride=4), nn.Linear(8, 3)
            self.join = nn.ReLU()

        def forward(self, x):
            return self.fc(torch.cat([self.a(x).mean((2, 3)), self.b(x).mean((2, 3))], 1))

    t = task(module=Two())
    assert penultimate_layer(t.classifier, t.samples)[1].endswith("not affine")


@pytest.mark.parametrize("importance", ["gradient", "integrated-gradients", "occlusion", "sobol", "shapley"])
@pytest.mark.parametrize("pool", ["sum", "abs-max"])
def test_every_importance_finds_the_planted_pattern(lens, task, importance, pool):
    got = lens(importance=importance, pool=pool).explain(task())
    assert channel(got.concepts[0]) == 0
    assert ("largest absolute" in got.importance_is) == (pool == "abs-max")
    assert pool == "sum" or all((c.local >= 0).all() for c in got.concepts)


def test_tokens(lens, task, paint, tokens):
    samples, places = paint()
    got = lens().explain(task(samples, layer="tokens", module=tokens()))
    assert got.dictionary.codes.shape == (12, 65, 4)
    assert channel(got.concepts[0]) == 0
    assert got.concepts[0].evidence["share"] > 0.75  # the class token is a mixture that some atom must give
    for m, corners in zip(got.concepts[0].maps, places, strict=True):
        top, left = corners[0]
        assert m[top : top + 16, left : left + 16].sum() > 0.8 * m.sum()


def test_maps_are_the_codes_of_their_own_concept(lens, task, paint, tokens):
    """For each concept, at each position: the code of its atom there, with the class token left out."""
    samples, _ = paint(3)
    for layer, module, extra in (("last", None, 0), ("tokens", tokens(), 1)):
        got = lens().explain(task(samples, layer=layer, module=module))
        for c in got.concepts:
            small = got.dictionary.codes[:, extra:, c.atom].reshape(3, 1, 8, 8)
            whole = nn.functional.interpolate(small, size=(32, 32), mode="bilinear")[:, 0]
            assert torch.allclose(c.maps, whole, atol=1e-6)


@pytest.mark.parametrize("layer", ["gap", "tokens"])
def test_layers_without_positions_have_maps_from_crops(lens, task, paint, tokens, layer):
    module = tokens(front=30) if layer == "tokens" else None
    samples, places = paint()
    images = torch.full_like(samples.images, 0.5)
    for i, corners in enumerate(places):  # one pattern an image, so that activations without places tell them apart
        top, left = corners[i % 4]
        images[i, :, top : top + 16, left : left + 16] = samples.images[i, :, top : top + 16, left : left + 16]
    got = lens().explain(task(Samples("image", images, samples.ids), layer=layer, module=module))
    first = got.concepts[0]
    assert channel(first) == 0
    assert got.cost.forwards > 12 * 9
    assert set(first.source.tolist()) == {0, 4, 8}
    for i in (0, 4, 8):
        top, left = places[i][0]
        assert first.maps[i, top : top + 16, left : left + 16].mean() > 1.5 * first.maps[i].mean()


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (96, 64), (512, 512)])
def test_images_of_any_size(lens, task, paint, size):
    samples, places = paint(4, size)
    got = lens().explain(task(samples))
    first = got.concepts[0]
    assert channel(first) == 0
    assert first.maps.shape == (4, *size)
    assert first.samples.images.shape[-2:] == size
    side = min(size)
    assert first.render == f"crop:{side // 2}>{size[0]}" + ("" if size[0] == size[1] else f"x{size[1]}")
    for m, corners in zip(first.maps, places, strict=True):
        top, left = corners[0]
        assert m[top : top + size[0] // 2, left : left + size[1] // 2].sum() > 0.8 * m.sum()


def test_one_image(lens, task, paint):
    samples, _ = paint(1)
    got = Lens(Options(k=4)).explain(task(samples))
    assert channel(got.concepts[0]) == 0
    assert got.trace[0]["stability"] is None
    assert any("stability is unknown" in note for note in got.notes)
    without_positions = Lens(Options()).explain(task(samples, layer="gap"))
    assert len(without_positions.concepts) == 4  # from the image and its nine crops
    assert any("4 concepts instead of 10 are looked for" in note for note in without_positions.notes)
    with pytest.raises(UsageError, match=r"cannot find 9 concepts in 10 positions with 4 channels \(set lens.k to at"):
        lens(k=9).explain(task(samples, layer="gap"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_equal_images_have_one_concept_and_no_warning(lens, task, paint, extractor):
    samples = paint(1)[0].take([0] * 4)
    whole = {"crop": 32, "k": 2, "stability": True}  # crops are as large as the image, and so equal too
    got = lens(extractor=extractor, **whole).explain(task(samples, layer="gap"))
    assert sum(c.importance for c in got.concepts) == pytest.approx(2.2488, abs=1e-3)
    assert got.trace[0]["error"] < 1e-4
    for c in got.concepts:
        assert all(v.any() for v in c.directions.values())  # an atom that nothing uses has no direction
    if extractor in ("semi-nmf", "convex-nmf", "kmeans"):
        assert got.concepts[1].samples is None
        assert any("1 of the 2 concepts occur in no image" in note for note in got.notes)


def same(a, b):
    assert a.notes == b.notes
    assert a.trace == b.trace
    for x, y in zip(a.concepts, b.concepts, strict=True):
        assert (x.importance, x.evidence, x.samples.ids) == (y.importance, y.evidence, y.samples.ids)
        assert torch.equal(x.maps, y.maps)
        assert torch.equal(x.local, y.local)
    assert torch.equal(a.dictionary.codes, b.dictionary.codes)
    assert torch.equal(a.dictionary.atoms, b.dictionary.atoms)


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_a_seed_repeats_bit_for_bit(lens, task, extractor):
    options = {"extractor": extractor, "importance": "sobol", "rows": 100, "stability": True}
    first = lens(**options).explain(task(seed=3))
    np.random.seed(77)
    same(first, lens(**options).explain(task(seed=3)))


def test_repeated_images_change_nothing_much(lens, task, paint):
    samples, _ = paint()
    one = lens().explain(task(samples, target=1))
    turned = lens().explain(task(samples.take(range(11, -1, -1)), target=1))
    twice = lens().explain(task(Samples.concat([samples, samples]), target=1))
    for other in (turned, twice):
        for x, y in zip(one.concepts, other.concepts, strict=True):
            assert x.importance == pytest.approx(y.importance, abs=5e-3)


def test_a_randomised_head_changes_the_ranking(lens, task, reader):
    module = reader()
    with torch.no_grad():
        module.fc.weight[0] = torch.tensor([0.0, 0, 0, 3])
    assert channel(lens().explain(task(module=module)).concepts[0]) == 3


def test_quality_is_reported(lens, task):
    steps = []
    got = lens(stability=True).explain(task(progress=lambda step, total, note="": steps.append((step, total))))
    step = got.trace[0]
    assert step["stability"] > 0.95
    assert step["accounted"] == pytest.approx(1, abs=1e-5)
    assert step["error"] < 0.1
    d = got.dictionary
    assert step["sparsity"] == pytest.approx((d.codes == 0).float().mean().item(), abs=1e-6)
    assert "have a mean cosine of" in got.notes[2]
    assert steps[-1] == (14, 14)
    assert [s for s, _ in steps] == sorted(s for s, _ in steps)
    assert got.cost.forwards == 12 + 4 * 12
    assert got.cost.backwards == 12
    assert any("had not converged" in note for note in lens(max_iter=1).explain(task()).notes)


def test_classifiers_without_activations_or_gradients(lens, task):
    black = FunctionClassifier(lambda x: x.mean((2, 3)), ["rows", "red", "none"])
    with pytest.raises(NotApplicable, match="gives no access"):
        lens().explain(replace(task(), classifier=black, layer=""))
    t = task()
    t.classifier.can = frozenset({"activations"})
    with pytest.raises(NotApplicable, match="occlusion, sobol or shapley"):
        lens().explain(t)
    assert channel(lens(importance="occlusion").explain(t).concepts[0]) == 0
