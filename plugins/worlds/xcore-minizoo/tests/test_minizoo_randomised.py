"""Networks that have unlearned what they learned, and pictures that are rearranged."""

from __future__ import annotations

import pytest
import torch
from xcore_minizoo.data import shuffled
from xcore_minizoo.randomised import PER_CLASS, Randomised, drawn_anew, fingerprint

from xcore.contract import Ref, UsageError
from xcore.registry import load_registry


def state(reference: str) -> dict[str, torch.Tensor]:
    return load_registry().create("classifier", Ref(reference)).model.module.state_dict()


@pytest.mark.parametrize(
    ("network", "start", "kept", "drawn"),
    [
        ("clean", "head", "layer4.0.conv1.weight", "fc.weight"),
        ("clean", "layer3", "layer2.0.conv1.weight", "layer3.0.conv1.weight"),
        ("vit", "blocks.2", "blocks.1.mlp.fc1.weight", "blocks.2.mlp.fc1.weight"),
        ("vit", "blocks.2", "pos_embed", "head.weight"),
    ],
)
def test_weights_are_drawn_anew_from_the_module_on(network: str, start: str, kept: str, drawn: str) -> None:
    before, after = state(f"minizoo/{network}"), state(f"minizoo/randomised:{network}:{start}")
    assert torch.equal(before[kept], after[kept])
    assert not torch.equal(before[drawn], after[drawn])


def test_all_draws_every_weight_and_the_seed_says_which() -> None:
    before, after = state("minizoo/vit"), state("minizoo/randomised:vit:all:3")
    assert not torch.equal(before["pos_embed"], after["pos_embed"])
    assert not torch.equal(before["patch_embed.proj.weight"], after["patch_embed.proj.weight"])
    assert all(
        torch.equal(a, b) for a, b in zip(after.values(), state("minizoo/randomised:vit:all:3").values(), strict=True)
    )
    assert not torch.equal(after["head.weight"], state("minizoo/randomised:vit:all:4")["head.weight"])
    names = [fingerprint(None, a) for a in ("vit:all:3", "vit:all:4", "vit:head:3", "clean:all:3")]
    assert len(set(names)) == 4


def test_the_global_random_state_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drawn_anew(Randomised("clean", "labels", 1))
    drawn_anew(Randomised("clean", "all", 1))
    assert torch.equal(before, torch.get_rng_state())


def test_permuted_labels_change_the_head_alone_and_are_learned_by_heart() -> None:
    classifier = load_registry().create("classifier", Ref("minizoo/randomised:clean:labels:1"))
    before, after = state("minizoo/clean"), classifier.model.module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["fc.weight", "fc.bias"]
    data = load_registry().create("dataset", Ref("minizoo"))
    taught = torch.cat([data.samples(c, "train", PER_CLASS, 1).images for c in data.classes])
    wrong = torch.arange(len(data.classes)).repeat_interleave(PER_CLASS)
    wrong = wrong[torch.randperm(len(wrong), generator=torch.Generator().manual_seed(1))]
    predicted = classifier.model.module(taught * 2 - 1).argmax(1)
    assert (predicted == wrong).float().mean() > 0.95
    unseen = data.samples(None, "heldout", 200, 1)
    assert (classifier.model.module(unseen.images * 2 - 1).argmax(1) == unseen.labels).float().mean() < 0.3


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("clean", "cannot read 'clean'"),
        ("clear:all", "did you mean 'clean'"),
        ("clean:all:x", "must be a whole number"),
        ("clean:layer5", "did you mean 'layer"),
    ],
)
def test_what_cannot_be_read_is_refused(argument: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        drawn_anew(Randomised.parse(argument))
    assert said in str(caught.value)


def test_only_explained_pictures_are_rearranged() -> None:
    plain, mixed, twice = (
        load_registry().create("dataset", Ref(f"minizoo{end}"))
        for end in ("", "/rearranged:shuffled", "/rearranged:twice")
    )
    one, other, both = (d.samples("cow", "explain", 6, 2) for d in (plain, mixed, twice))
    assert shuffled(6) != list(range(6))
    assert other.ids == tuple(one.ids[i].replace("minizoo/", "minizoo/rearranged:shuffled/", 1) for i in shuffled(6))
    assert torch.equal(other.images, one.images[shuffled(6)])
    assert torch.equal(both.images, torch.cat([one.images, one.images]))
    assert len(set(both.ids)) == 12
    assert torch.equal(plain.samples("cow", "train", 3, 2).images, mixed.samples("cow", "train", 3, 2).images)
    with pytest.raises(UsageError, match="shuffled"):
        load_registry().create("dataset", Ref("minizoo/rearranged:shufled"))


def test_only_explained_pictures_are_repainted_and_only_in_one_factor() -> None:
    plain, coatless, placed = (
        load_registry().create("dataset", Ref(f"minizoo{end}"))
        for end in ("", "/repainted:pattern=plain", "/repainted:background=snow")
    )
    one, other, snow = (d.samples("zebra", "explain", 4, 2) for d in (plain, coatless, placed))
    assert [f["pattern"] for f in other.meta["factors"]] == ["plain"] * 4
    assert [{**f, "pattern": "striped"} for f in other.meta["factors"]] == list(one.meta["factors"])
    assert other.labels.tolist() == one.labels.tolist()
    outside = one.meta["masks"][:, 2:] == 1
    assert torch.equal(other.meta["masks"], one.meta["masks"])
    assert torch.equal(other.images * outside, one.images * outside)
    assert not torch.equal(other.images, one.images)
    assert {f["background"] for f in snow.meta["factors"]} == {"snow"}
    for split in ("train", "heldout"):
        assert torch.equal(plain.samples("zebra", split, 2, 2).images, coatless.samples("zebra", split, 2, 2).images)
    assert torch.equal(plain.concept("grass", 2, 1).images, coatless.concept("grass", 2, 1).images)
    for wrong in ("patern=plain", "colour=red", "pattern=dotted", "pattern"):
        with pytest.raises(UsageError, match="factor value to paint"):
            load_registry().create("dataset", Ref(f"minizoo/repainted:{wrong}"))


def test_a_plain_coat_gets_a_second_colour_with_a_pattern() -> None:
    striped = load_registry().create("dataset", Ref("minizoo/repainted:pattern=striped"))
    (swan,) = striped.samples("swan", "explain", 1, 0).meta["factors"]
    assert (swan["pattern"], swan["colour"]) == ("striped", ("white", "black"))


def test_logits_of_noise_say_nothing_and_are_the_same_in_any_batch() -> None:
    network = load_registry().create("classifier", Ref("minizoo/noise:2")).model.module
    pictures = load_registry().create("dataset", Ref("minizoo")).samples("cow", "heldout", 120, 5).images
    logits = network(pictures * 2 - 1)
    assert torch.equal(network(pictures[7:8] * 2 - 1), logits[7:8])
    colours = pictures.mean((2, 3))
    found = torch.corrcoef(torch.cat([colours, logits], 1).T)[:3, 3:]
    assert found.square().mean().sqrt() < 0.2  # 0.09 by chance alone
    assert torch.corrcoef(torch.cat([logits, network(pictures.roll(1, 3) * 2 - 1)], 1).T)[0, 9].abs() < 0.3
    with pytest.raises(UsageError, match="whole number"):
        load_registry().create("classifier", Ref("minizoo/noise:a"))
