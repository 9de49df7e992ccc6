"""Random sets: disjoint pools, rendering, and one line where there is nothing to draw from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xcore.contract import MissingError, NotApplicable, Samples, UsageError
from xcore.inputs.renderings import crops, parse_crop, segments
from xcore.pretrained.adapters import adapter, save_adapter
from xcore.run.drawing import generate_sets
from xcore.run.live import LiveData
from xcore.run.random_sets import PHRASES, TUNED_PHRASES, RandomSets
from xcore.testing import blobs, stripes


def make(split="train", **keys):
    data = LiveData(stripes(4, 1), "stripes", blobs(100, 2), ("a", "b"))
    return RandomSets(data, "stripes", split, seed=0, **{"pool_size": 50, "vocabulary": ("a", "b"), **keys})


class Painter:
    """Draws grey images whose level tells prompt and seed."""

    modality = "image"
    fingerprint = "grey"
    can = frozenset[str]()

    def generate(self, prompts, seeds, adapter=None):
        levels = torch.tensor([(len(p) + s % 97) / 200 for p, s in zip(prompts, seeds, strict=True)])
        return Samples(
            "image",
            levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8),
            tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)),
        )


def test_negatives_and_counterparts_share_no_sample():
    contrast = make()
    negatives = {i for k in range(30) for i in contrast(10, k, "as-is").ids}
    counterparts = {i for k in range(30) for i in contrast(10, k, "as-is", "null").ids}
    assert len(negatives) == len(counterparts) == 50
    assert not negatives & counterparts


def test_the_class_itself_is_never_a_negative():
    assert not {i for k in range(20) for i in make()(10, k, "as-is").ids if i.startswith("stripes")}


def test_sets_repeat_and_differ():
    one, two = make(), make()
    assert one(10, 3, "as-is").ids == two(10, 3, "as-is").ids
    assert one(10, 3, "as-is").ids != one(10, 4, "as-is").ids
    assert torch.equal(one(5, 3, "crop:16>32").images, two(5, 3, "crop:16>32").images)


def test_crops_are_cut_and_resized():
    images = torch.zeros(3, 3, 32, 48)
    samples = Samples("image", images, ("a", "b", "c"))
    rng = np.random.default_rng(0)
    assert crops(samples, "16>32x48", rng).images.shape == (3, 3, 32, 48)
    with pytest.raises(NotApplicable, match="does not fit"):
        crops(samples, "40>40", rng)
    assert parse_crop("16>32") == (16, (32, 32))
    with pytest.raises(UsageError, match="not of the form"):
        parse_crop("half")


def test_a_crop_is_a_part_of_its_image():
    image = torch.arange(32 * 32).float().view(1, 1, 32, 32).expand(1, 3, 32, 32) / 1024
    cut = crops(Samples("image", image, ("a",)), "8>8", np.random.default_rng(1)).images[0, 0]
    assert torch.allclose(cut[1:, 0] - cut[:-1, 0], torch.full((7,), 32 / 1024), atol=1e-5)


def test_generated_sets_come_from_disjoint_seeds():
    train, heldout = make(generator=Painter()), make("heldout", generator=Painter())
    sets = [
        {i for k in range(30) for i in c(10, k, "generated:grey", purpose).ids}
        for c in (train, heldout)
        for purpose in ("negative", "null")
    ]
    for i, one in enumerate(sets):
        for two in sets[i + 1 :]:
            assert not one & two


class Tuned(Painter):
    """An adapter makes its pictures white."""

    def generate(self, prompts, seeds, adapter=None):
        drawn = super().generate(prompts, seeds)
        return replace(drawn, data=torch.ones_like(drawn.images)) if adapter else drawn


def test_a_counterpart_of_a_drawn_concept_is_of_one_phrase():
    words = tuple("abcdefgh")
    sets = make(generator=Painter(), vocabulary=words)
    drawn = [sets(4, k, "generated:grey", "null") for k in range(9)]
    assert sorted(s.meta["prompt"][0] for s in drawn[:8]) == list(words)
    assert all(set(s.meta["prompt"]) == {name.partition("/")[0] for name in s.ids} for s in drawn)
    assert all(len(set(s.meta["prompt"])) == 1 and len(set(s.ids)) == 4 for s in drawn)
    assert drawn[8].ids == drawn[0].ids, "as many sets as phrases"
    assert len(sets(12, 0, "generated:grey", "null")) == 12
    many = make(generator=Painter(), vocabulary=tuple(f"phrase {i}" for i in range(100)))
    assert len({many(4, k, "generated:grey", "null").ids for k in range(100)}) == PHRASES


def test_counterparts_of_a_tuned_concept_are_drawn_by_its_adapter(tmp_path):
    made = adapter({"w": torch.ones(2)}, {})
    save_adapter(made, tmp_path / "adapter-3.safetensors")
    save_adapter(adapter({"w": torch.zeros(2)}, {}), tmp_path / "adapter-1.safetensors")
    sets = make(generator=Tuned(), vocabulary=tuple(f"phrase {i}" for i in range(50)))
    render = f"generated:grey+{made.digest}"
    with pytest.raises(NotApplicable, match=f"no adapter file with the digest '{made.digest}'"):
        sets(4, 0, render, "null")
    sets.know_adapters({made.digest}, {path.name: path for path in tmp_path.iterdir()})
    assert float(sets(4, 0, render, "null").images.min()) == 1
    assert float(sets(4, 0, "generated:grey", "null").images.max()) < 1
    assert float(sets(4, 0, render, "negative").images.max()) < 1, "negatives are drawn without it"
    assert len({sets(4, k, render, "null").ids for k in range(50)}) == TUNED_PHRASES
    assert sets._adapters == {made.digest: tmp_path / "adapter-3.safetensors"}, "their weights are not held in memory"


def test_words_that_a_generator_of_texts_seldom_answers_are_no_counterparts():
    class Speaker(Painter):
        modality = "text"

        def generate(self, prompts, seeds, adapter=None):
            asked = list(zip(prompts, seeds, strict=True))
            said = tuple("" if p == "never" or (p == "seldom" and s % 2) else p for p, s in asked)
            return Samples("text", said, tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)))

    drawn = generate_sets(Speaker(), ("never", "seldom", "often"), 0, 3, 10)
    assert drawn.texts == ("often",) * 10
    with pytest.raises(MissingError, match="no words for any of 1 phrases"):
        generate_sets(Speaker(), ("never",), 0, 3, 10)


def test_one_clear_line_where_it_cannot_be():
    with pytest.raises(MissingError, match="generator"):
        make()(5, 0, "generated:x")
    with pytest.raises(
        NotApplicable, match=r"larger than its pool of 50 \(ask for sets of 49 or fewer, by the option n\)"
    ):
        make()(51, 0, "as-is")
    assert len(make()(50, 0, "as-is")) == 50
    with pytest.raises(NotApplicable, match=r"of 50 samples are all the same, .* \(ask for sets of 49 or fewer"):
        make()(50, 1, "as-is")
    assert make()(49, 0, "as-is").ids != make()(49, 1, "as-is").ids
    with pytest.raises(NotApplicable, match=r"larger than its pool of 2 \(more samples are needed\)"):
        make(pool_size=2)(3, 0, "as-is")
    with pytest.raises(NotApplicable, match="watercolour"):
        make()(5, 0, "watercolour:x")
    alone = LiveData(stripes(4, 1), "stripes", None, ())
    with pytest.raises(MissingError, match="--contrast"):
        RandomSets(alone, "stripes", "train", seed=0)(2, 0, "as-is")


def test_live_samples_without_contrast_still_have_drawn_sets():
    alone = LiveData(stripes(4, 1), "stripes", None, ("a", "b"))
    drawn = RandomSets(
        alone, "stripes", "train", seed=0, generator=Painter(), vocabulary=("a", "b"), pool_size=alone.pool_size
    )
    assert len(drawn(6, 0, "generated:grey")) == 6


class Halves:
    """A small left part and a large right part, and an empty segment."""

    def segment(self, image):
        masks = torch.zeros(3, *image.shape[-2:], dtype=torch.bool)
        masks[0, :, :4] = True
        masks[1, :, 4:] = True
        return masks


def test_segments_are_parts_of_images_on_a_plain_ground():
    contrast = make(segmenter=Halves)
    for render, around in (("segment:black", 0.0), ("segment:mean", None)):
        whole = {
            i: x for k in range(20) for s in [contrast(10, k, "as-is")] for i, x in zip(s.ids, s.images, strict=True)
        }
        shown = contrast(10, 0, render)
        for name, image in zip(shown.ids, shown.images, strict=True):
            source = whole[name.partition("#")[0]]
            level = source.mean((1, 2)) if around is None else torch.zeros(3)
            left, right = torch.equal(image[:, :, :4], source[:, :, :4]), torch.equal(image[:, :, 4:], source[:, :, 4:])
            assert left != right
            outside = image[:, :, 4:] if left else image[:, :, :4]
            assert torch.allclose(outside, level.view(3, 1, 1).expand_as(outside))
    assert contrast(10, 0, "segment:black").ids == make(segmenter=Halves)(10, 0, "segment:black").ids
    negatives = {i for k in range(20) for i in contrast(10, k, "segment:black").ids}
    assert not negatives & {i for k in range(20) for i in contrast(10, k, "segment:black", "null").ids}


def test_segments_are_drawn_by_area_and_images_without_one_left_out():
    image = torch.ones(400, 3, 8, 8)
    samples = Samples("image", image, tuple(str(i) for i in range(400)))
    masks = [Halves().segment(x) for x in image]
    masks[0][:], masks[1][0] = False, True
    masks[1][1:] = False
    cut = segments(samples, masks, "black", np.random.default_rng(0))
    assert len(cut) == 399
    assert torch.equal(cut.images[0], image[1]), "one segment: the whole image"
    share = float(cut.images[1:, 0, 0, 0].mean())  # the left half has half of the area
    assert abs(share - 0.5) < 0.1
    masks[2][0, :, 1:], masks[2][1, :, 1:] = False, True
    small = [segments(samples.take([2]), [masks[2]], "black", np.random.default_rng(i)) for i in range(200)]
    assert 0.05 < np.mean([float(s.images[0, 0, 0, 0]) for s in small]) < 0.2, "an eighth of the area"


def test_segments_need_a_segmenter_and_a_known_ground():
    with pytest.raises(NotApplicable, match="need a segmenter"):
        make()(5, 0, "segment:black")
    with pytest.raises(NotApplicable, match="segment:blur"):
        make(segmenter=Halves)(5, 0, "segment:blur")

    class Blind:
        def segment(self, image):
            return torch.zeros(0, *image.shape[-2:], dtype=torch.bool)

    with pytest.raises(NotApplicable, match="no image of the random set has a segment"):
        make(segmenter=Blind)(5, 0, "segment:black")


class Small(LiveData):
    """Data whose other class has 2 samples for training, 5 to explain and none held out."""

    def samples(self, cls, split, n, seed):
        start, stop = {"train": (0, 2), "explain": (2, 7), "heldout": (0, 0)}[split]
        return self._parts[cls or self.name].take(range(start, stop)[:n])


def test_methods_also_get_what_a_small_class_has_to_explain():
    data = Small(stripes(7, 1), "stripes", blobs(7, 2), ())
    sets = RandomSets(data, "stripes", "train", seed=0, pool_size=50)
    drawn = {i for k in range(20) for purpose in ("negative", "null") for i in sets(2, k, "as-is", purpose).ids}
    assert len(drawn) == 7
    with pytest.raises(MissingError, match="the other classes have no samples held out"):
        RandomSets(data, "stripes", "heldout", seed=0)(2, 0)
