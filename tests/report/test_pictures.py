"""Pictures of an explanation: each image beside what was cut from it."""

from __future__ import annotations

import torch
from PIL import Image

from xcore.contract import Concept, Explanation, Samples
from xcore.report.pictures import GAP, MAPPED, SIDE, draw


def grey(levels):
    levels = torch.tensor(levels)
    return Samples("image", levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8), tuple(str(i) for i in range(len(levels))))


def explanation(*sources):
    maps = torch.zeros(10, 8, 8)
    maps[:, :4] = 1
    concepts = [
        Concept(f"c{i}", 1.0, samples=grey([0.5 + s / 20 for s in source]), source=torch.tensor(source), maps=maps)
        for i, source in enumerate(sources)
    ]
    return Explanation("m", "t", "", tuple(concepts))


def levels(path, columns):
    """Grey level in the middle of each picture of maps.png."""
    picture = Image.open(path).convert("RGB")
    rows = (picture.height - 20) // (SIDE + 2 * GAP)
    where = [
        (GAP + c * (SIDE + GAP) + SIDE // 2, 20 + r * (SIDE + 2 * GAP) + GAP + SIDE // 2)
        for r in range(rows)
        for c in range(columns)
    ]
    found = [picture.getpixel(xy)[0] / 255 for xy in where]
    return [tuple(round(v, 1) for v in found[i : i + columns]) for i in range(0, len(found), columns)]


def test_samples_stand_beside_the_images_that_they_come_from(tmp_path):
    images = grey([i / 10 for i in range(10)])  # the sample of image i has level .5 + i / 20
    draw(explanation([8, 2], [6, 4]), images, tmp_path)
    got = levels(tmp_path / "maps.png", 3)
    assert len(got) == MAPPED
    assert [row[0] for row in got] == [0.8, 0.6, 0.2, 0.4, 0.0, 0.1], "images of the samples first, in turn"
    assert got[0][1] == 0.9, "C1's sample of image 8"
    assert got[1][2] == 0.8, "C2's sample of image 6"
    assert got[2][1] == 0.6, "C1's sample of image 2"
    assert got[3][2] == 0.7, "C2's sample of image 4"
    assert got[0][2] == 1.0, "no sample of C2 comes from image 8"


def test_a_concept_is_pale_where_it_is_weak(tmp_path):
    strong = torch.ones(2, 8, 8)
    strong[1] = 0.05
    concept = Concept("c", 1.0, samples=grey([0.5, 0.5]), source=torch.tensor([0, 1]), maps=strong)
    draw(Explanation("m", "t", "", (concept,)), grey([0.5, 0.5]), tmp_path)
    (*_, red), (*_, pale) = levels(tmp_path / "maps.png", 3)
    assert red == 0.8, "the red of the map"
    assert pale == 0.6, "the grey of the image"


def test_drawn_samples_go_with_any_image(tmp_path):
    images = grey([i / 10 for i in range(10)])
    draw(explanation([-1, -1]), images, tmp_path)
    assert [row[0] for row in levels(tmp_path / "maps.png", 2)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
