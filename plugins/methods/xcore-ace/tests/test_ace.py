"""Segments, patches, clusters, and what ACE finds where a texture was planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from xcore_ace.ace import Ace
from xcore_ace.clusters import common
from xcore_ace.options import Options
from xcore_ace.patches import how_of, intersection_over_union, parse, patch, rendering, segments

from xcore.contract import NotApplicable, Samples, Task
from xcore.models.classifiers import TorchClassifier

SIDE = 32


class ReadsRed(nn.Module):
    """Class 0 grows with red, and with the square of it; class 1 with green. Blue is read by no class."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, green, blue = self.pixels(x).mean((2, 3)).T
        return torch.stack([red + red**2, green, 0 * blue], 1)


def paint(n: int, seed: int, colours: tuple[int, ...] = (0, 1, 2)) -> Samples:
    """Pictures of noise with a red, a green and a blue square, or some of them, each in a corner of its own."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.uniform(0.05, 0.15, (n, 1, SIDE, SIDE))).float().repeat(1, 3, 1, 1)
    half = SIDE // 2
    for image in images:
        corners = rng.permutation([(0, 0), (0, half), (half, 0), (half, half)])
        for colour, (top, left) in zip(colours, corners.tolist(), strict=False):
            image[:, top : top + half, left : left + half] = 0.05
            image[colour, top : top + half, left : left + half] = 0.95
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)))


POOLS = {"negative": paint(100, 1000, (1, 2)), "null": paint(100, 2000, (1, 2))}
AS_PATCHES = rendering(None)


def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
    """Segments of pictures without red."""
    rng = np.random.default_rng([index, n])
    chosen = POOLS[purpose].take(sorted(rng.choice(100, n, replace=False).tolist()))
    return AS_PATCHES(chosen, render.partition(":")[2], rng)


def task(n: int = 30) -> Task:
    model = TorchClassifier(ReadsRed(), ["red", "green", "none"], input_size=(SIDE, SIDE))
    return Task(model, "pixels", 0, paint(n, 0), random_set=random_set, data=None, seed=0)


OPTIONS = Options(resolutions=(4,), clusters=4, least=10, patches=15, discovery=20, negatives=10, null=99)


@pytest.fixture(scope="module")
def explanation():
    return Ace(OPTIONS).explain(task())


def colour_of(samples: Samples) -> list[int]:
    """The strongest channel of each picture; -1 for grey ones."""
    means = samples.images.mean((2, 3))
    return [int(m.argmax()) if float(m.max() - m.min()) > 0.3 else -1 for m in means]


def test_each_planted_colour_has_a_cluster_of_its_own(explanation):
    purest = {}
    for concept in explanation.concepts:
        colours = colour_of(concept.samples)
        most = max(set(colours), key=colours.count)
        purest[most] = max(purest.get(most, 0.0), colours.count(most) / len(colours))
    assert {0, 1, 2} <= purest.keys()
    assert all(purest[colour] > 0.9 for colour in (0, 1, 2)), purest


def test_the_colour_that_the_class_reads_comes_first_with_a_score_of_one(explanation):
    first = explanation.concepts[0]
    assert set(colour_of(first.samples)) == {0}
    assert first.importance == pytest.approx(1.0)
    assert first.evidence["mark"] == 1.0


def test_the_maps_show_where_the_colour_is(explanation):
    first, images = explanation.concepts[0], paint(30, 0).images
    red = images[:, 0] - images[:, 1] > 0.5
    inside, outside = first.maps[red].mean(), first.maps[~red].mean()
    assert inside > 10 * outside


def test_sources_are_the_images_that_the_segments_come_from(explanation):
    first, images = explanation.concepts[0], paint(30, 0)
    for source, name in zip(first.source.tolist(), first.samples.ids, strict=True):
        assert name.startswith(images.ids[source] + "#")
        assert source < OPTIONS.discovery


def test_only_marked_concepts_are_kept_where_this_is_asked_for(explanation):
    marked = [c.name for c in explanation.concepts if c.evidence["mark"]]
    kept = Ace(OPTIONS.model_copy(update={"keep": "marked"})).explain(task())
    assert [c.name for c in kept.concepts] == marked
    assert len(marked) < len(explanation.concepts)


def test_no_common_cluster_is_told_with_what_to_do():
    with pytest.raises(NotApplicable, match=r"none of 4 clusters .* has 500") as error:
        Ace(OPTIONS.model_copy(update={"least": 500})).explain(task())
    assert "ace.least" in str(error.value.hint)


def test_black_boxes_are_refused():
    made = task()
    made.classifier.can = frozenset()
    with pytest.raises(NotApplicable, match="activations and gradients"):
        Ace(OPTIONS).explain(made)


@pytest.mark.parametrize(
    ("s", "m", "d", "kept"),
    [
        (40, 21, 100, True),  # hardly any image repeats
        (40, 20, 100, False),
        (40, 11, 40, True),  # a quarter of the segments' number, and of the images
        (40, 11, 44, False),
        (40, 10, 40, False),
        (100, 21, 40, True),  # in most images
        (100, 20, 40, False),
        (300, 30, 40, False),
    ],
)
def test_clusters_must_be_common(s, m, d, kept):
    assert common(s, m, d) is kept


def test_a_segment_is_kept_up_to_half_an_overlap(monkeypatch):
    """Of rows 0 to 99, the second segmentation has a segment that shares 49 or 51 % of the union with the first."""

    def kept(shared: int) -> int:
        first = torch.zeros(1, 200, dtype=torch.long)
        first[0, :100] = 1
        second = torch.zeros(1, 200, dtype=torch.long)
        second[0, 100 - shared : 100 - shared + 100] = 1
        maps = iter([first.numpy(), second.numpy()])
        monkeypatch.setattr("skimage.segmentation.slic", lambda *a, **k: next(maps))
        return len(segments(torch.zeros(3, 1, 200), (2, 2), 0.0, 0.5))

    # Two segments of 100 of 200 pixels that share x have an intersection over union of x / (200 - x).
    assert kept(66) == 4  # .49
    assert kept(68) == 2  # .52


def test_small_segments_are_left_out():
    image = paint(1, 3).images[0]
    shares = segments(image, (9,), 0.0).flatten(1).double().mean(1)
    middle = float(shares.median())
    assert len(segments(image, (9,), middle)) == int((shares > middle).sum()) < len(shares)


def test_segments_cover_the_image():
    masks = segments(paint(1, 3).images[0], (9,), 0.0)
    assert torch.equal(masks.sum(0), torch.ones(SIDE, SIDE, dtype=torch.long))


def test_the_bounding_box_of_a_segment_is_enlarged_whole():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(16, 16, dtype=torch.bool)
    assert torch.allclose(patch(image, whole), image, atol=1e-6)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:8, 8:16] = True
    mask[7, 15] = False
    shown = patch(image.new_ones(3, 16, 16), mask)
    assert float(shown[:, :10].min()) > 0.99  # the segment reaches the upper edges of its box
    assert float(shown[0, -1, -1]) < 0.6


def test_intersection_over_union():
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 1, 1]]], dtype=torch.bool)
    found = intersection_over_union(masks[:1], masks)
    assert found.tolist() == [[1.0, pytest.approx(1 / 3), 0.0]]


def test_random_images_are_seen_through_the_same_segment_in_every_set():
    render, pictures = rendering(None), paint(4, 5)
    once = render(pictures, "4+9", np.random.default_rng(0))
    again = render(pictures.take([2, 0]), "4+9", np.random.default_rng(1))
    assert torch.equal(once.images[[2, 0]], again.images)
    assert not torch.equal(once.images, pictures.images)
    assert replace(once, data=pictures.images).ids != pictures.ids


def test_random_segments_are_those_that_the_options_leave():
    assert parse(how_of((15, 50), 0.001, 0.5)) == ((15, 50), 0.001, 0.5)
    assert how_of((15, 50), 0.001, 0.5) == "15+50"
    assert parse(how_of((9,), 0.2, 0.3)) == ((9,), 0.2, 0.3)
    assert Ace(OPTIONS.model_copy(update={"min_share": 0.2})).render == "patch:4,0.2,0.5"
    with pytest.raises(NotApplicable, match="is large enough"):
        rendering(None)(paint(1, 3), "9,0.9,0.5", np.random.default_rng(0))


@pytest.mark.parametrize("how", ["", "15+", "a", "0", "1.5", "15,0.1", "15,a,b"])
def test_wrong_renderings_are_told(how):
    with pytest.raises(NotApplicable, match="patch:15"):
        parse(how)


def test_pictures_without_segments_of_some_size_are_refused():
    with pytest.raises(NotApplicable, match=r"no segment of 0/0 has more than 0\.9 of the image \(lower ace"):
        Ace(OPTIONS.model_copy(update={"min_share": 0.9})).explain(task())


def test_the_cost_counts_random_segments(explanation):
    seen = len(task().samples)
    segments_seen = int(explanation.notes[0].split()[0])
    assert explanation.cost.forwards > segments_seen + 2 * seen + OPTIONS.negatives, "each is one forward pass"
