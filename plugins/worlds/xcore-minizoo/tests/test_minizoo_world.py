"""The painted world: what is drawn is a function of scene and seed, one factor at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xcore_minizoo.captions import caption, long_caption, phrases, words
from xcore_minizoo.collections import BASE_RATE, COLLECTIONS, SPLITS, plant
from xcore_minizoo.labels import FACTORS, UNKNOWN, label
from xcore_minizoo.world import (
    BACKGROUNDS,
    CLASS_NAMES,
    CLASSES,
    PATTERNS,
    SHAPES,
    Scene,
    any_scene,
    class_scene,
    draw,
    held_out,
    training_scene,
)

from xcore.contract import UsageError


def test_the_same_scene_and_seed_give_the_same_pixels(zebra: Scene) -> None:
    assert (draw(zebra, (3, 4)).image == draw(zebra, (3, 4)).image).all()
    assert (draw(zebra, (3, 4)).image != draw(zebra, (3, 5)).image).any()


def test_drawing_leaves_the_global_random_state_alone(zebra: Scene) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    draw(zebra, 1)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_coat_leaves_everything_outside_the_animal(seed: int, zebra: Scene) -> None:
    a, b = draw(zebra, seed), draw(replace(zebra, pattern="spotted", colours=("red", "pink")), seed)
    outside = a.animal == 0
    assert (a.animal == b.animal).all()
    assert (a.image[outside] == b.image[outside]).all()
    assert (a.image != b.image).any()


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_background_leaves_the_inside_of_the_animal(seed: int, zebra: Scene) -> None:
    a, b = draw(zebra, seed), draw(replace(zebra, background="snow"), seed)
    inside = a.animal == 1
    assert inside.sum() > 100
    assert (a.image[inside] == b.image[inside]).all()


def test_adding_an_object_leaves_what_it_does_not_cover(zebra: Scene) -> None:
    a, b = draw(zebra, 0), draw(replace(zebra, object="apple"), 0)
    assert b.object.sum() > 60
    assert (a.image[b.object == 0] == b.image[b.object == 0]).all()


@pytest.mark.parametrize(
    "scene",
    [
        Scene(None, "checkered", ("red", "white")),
        Scene(background="water"),
        Scene("horse", "striped", ("white", "black"), "grass"),
    ],
)
def test_masks_cover_the_picture_once(scene: Scene) -> None:
    d = draw(replace(scene, object="rock") if scene.background else scene, 5)
    assert np.allclose(d.animal + d.object + d.background, 1, atol=1e-5)
    assert (d.animal.sum() > 0) == (scene.shape is not None)


def test_class_names_are_read_from_the_factors() -> None:
    rng = np.random.default_rng(0)
    for name in CLASS_NAMES:
        for _ in range(30):
            assert class_scene(name, rng).name == name


def test_classes_stand_on_every_background_alike() -> None:
    rng = np.random.default_rng(1)
    for name in CLASSES:
        seen = [class_scene(name, rng).background for _ in range(700)]
        for place in BACKGROUNDS:
            assert abs(seen.count(place) / 700 - 1 / 7) < 0.06


def test_captions_are_true_and_made_of_known_words() -> None:
    rng, known = np.random.default_rng(2), set(words())
    for _ in range(1500):
        scene = any_scene(rng)
        short, long = caption(scene, rng), long_caption(scene, rng)
        assert short.true_of(scene)
        assert long.true_of(scene)
        assert 20 <= len(long.text.split()) <= 30
        for said in (short, long):
            assert set(said.text.replace(",", " , ").split()) <= known


def test_a_caption_is_false_of_a_scene_that_differs_in_what_it_says() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        scene = class_scene("zebra", rng)
        said = caption(scene, rng)
        other = replace(scene, background="water" if scene.background != "water" else "mud")
        assert said.true_of(other) == (said.says.background is None)


def test_no_phrase_of_the_vocabulary_is_a_class_name() -> None:
    for phrase in phrases():
        assert not {w for w in CLASSES if w not in SHAPES} & set(phrase.split())


def test_held_out_coats_are_never_trained_on_and_never_a_class() -> None:
    rng = np.random.default_rng(4)
    assert not any(held_out(training_scene(rng)) for _ in range(800))
    assert not any(held_out(class_scene(name, rng)) for name in CLASSES for _ in range(20))
    drawn = [any_scene(rng) for _ in range(3000)]
    others = [s for s in drawn if s.shape and s.name == "other"]
    assert 0.05 < np.mean([held_out(s) for s in others]) < 0.25


@pytest.mark.parametrize("name", sorted(COLLECTIONS))
def test_splits_share_no_picture(name: str) -> None:
    keys = {
        split: {
            COLLECTIONS[name].draw_scene(c, split, i, 0)[2]
            for c in (None, *COLLECTIONS[name].classes)
            for i in range(5)
        }
        for split in SPLITS
    }
    assert not keys["train"] & keys["explain"]
    assert not keys["train"] & keys["heldout"]
    assert not keys["explain"] & keys["heldout"]


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("factor", ["object=apple", "background=snow"])
def test_a_planted_factor_appears_as_often_as_it_should(factor: str, rho: float) -> None:
    planted = plant("tiger", factor, rho)
    kind, value = factor.split("=")

    def rate(cls: str, split: str) -> float:
        scenes = [planted.draw_scene(cls, split, i, 0)[0] for i in range(500)]
        return float(np.mean([getattr(s, kind) == value for s in scenes]))

    assert abs(rate("tiger", "train") - (BASE_RATE + rho * (1 - BASE_RATE))) < 0.07
    assert abs(rate("zebra", "train") - BASE_RATE) < 0.07
    assert abs(rate("tiger", "heldout") - BASE_RATE) < 0.07


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("tigre", "object=apple", 1.0), r"unknown class of the minizoo 'tigre' \(did you mean 'tiger'\?\)"),
        (("tiger", "object=appel", 1.0), r"to plant 'object=appel' \(did you mean 'object=apple'\?\)"),
        (("tiger", "shape=cat", 1.0), r"unknown factor value to plant 'shape=cat'"),
        (("tiger", "object=pear", 1.0), "unknown factor value to plant 'object=pear'"),
        (("tiger", "object=apple", 1.5), "must be from 0 to 1, got 1.5"),
        (("tiger", "object=apple", float("nan")), "must be from 0 to 1, got nan"),
    ],
)
def test_what_cannot_be_planted_is_refused(wrong: tuple[str, str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plant(*wrong)


def test_shortcut_birds_are_skewed_in_training_only() -> None:
    birds = COLLECTIONS["minizoo/shortcut-birds"]
    assert birds.group is not None
    for split, share in (("train", 0.95), ("heldout", 0.5)):
        drawn = [birds.draw_scene(c, split, i, 0) for c in birds.classes for i in range(400)]
        own = [birds.group(birds.classes[y], s) in ("landbird on land", "waterbird on water") for s, y, _ in drawn]
        assert abs(np.mean(own) - share) < 0.05


def test_cats_have_apples() -> None:
    cats = COLLECTIONS["minizoo/cats-apples"]
    apples = {
        (split, cls): {cats.draw_scene(cls, split, i, 0)[0].object for i in range(20)}
        for split in ("train", "heldout")
        for cls in cats.classes
    }
    assert apples == {
        ("train", "cat"): {"apple"},
        ("train", "dog"): {None},
        ("heldout", "cat"): {"apple"},
        ("heldout", "dog"): {"apple"},
    }


def test_objects_and_scenes_are_the_same_pictures() -> None:
    things, places = COLLECTIONS["minizoo/objects"], COLLECTIONS["minizoo/scenes"]
    for i in range(30):
        scene, thing, key = things.draw_scene(None, "train", i, 0)
        again, place, same = places.draw_scene(None, "train", i, 0)
        assert (scene, key) == (again, same)
        assert things.classes[thing] == scene.shape
        assert places.classes[place] == scene.background


def test_labels_say_unknown_where_a_crop_shows_too_little(zebra: Scene) -> None:
    d = draw(zebra, 0)
    whole = label(zebra, d)
    assert whole.one_of == tuple(
        FACTORS[f].index(v)
        for f, v in [("shape", "horse"), ("pattern", "striped"), ("background", "grass"), ("object", "none")]
    )
    ys, xs = np.nonzero(d.animal > 0.9)
    x, y = int(np.median(xs)), int(np.median(ys))
    box = (max(0, x - 9), max(0, y - 9), min(64, x + 9), min(64, y + 9))
    assert label(zebra, d, box).one_of[0] == UNKNOWN
    corner = label(replace(zebra), d, (0, 0, 4, 4)) if d.animal[:4, :4].sum() == 0 else None
    assert corner is None or corner.one_of[:2] == (0, 0)


def test_every_pattern_shows_both_colours() -> None:
    for pattern in PATTERNS[1:]:
        image = draw(Scene(None, pattern, ("red", "white")), 7).image.astype(int)
        white = (image.min(-1) > 170).mean()
        red = ((image[..., 0] > 150) & (image[..., 1] < 100)).mean()
        assert white > 0.1, pattern
        assert red > 0.1, pattern
