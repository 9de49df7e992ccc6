"""Removing concepts in pixels: the regions that their maps mark in the explained images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from xcore.contract import Concept, Explanation, NotApplicable, Run, Samples
from xcore.models.outputs import scores_of
from xcore_metrics.faithfulness.game import PixelGame

BLUR = 1 / 8
"""Standard deviation of the blur, as a share of the image's short side."""
MEAN_OF = 60
"""Number of training images, of all classes, whose mean colour replaces removed pixels."""
SQUARES = 5
"""Squares on each side of an image. More would cost more orders, and a quarter of a small image says little."""


def region_games(run: Run, fill: str, images: int, local: bool) -> list[PixelGame]:
    """One game for all images, or one for each image if the explanation has separate concepts for each.

    A pixel belongs to the concept whose map, divided by its largest value over the explained images, is largest there
    (for ties, to the more important one), and to none where all maps are 0. Removing a concept replaces its pixels;
    pixels that belong to none are never replaced.

    Parameters
    ----------
    fill
        "blur" or "mean", see `filled`.
    images
        Number of explained images, from the first.
    local
        Whether orders are by the importances for each image, where the explanation has them.

    Raises
    ------
    NotApplicable
        The concepts have no maps, or the samples are no images.
    """
    samples, explanation = run.task.samples, run.explanation
    if samples.modality != "image":
        raise NotApplicable("the variant region is for images only")
    samples = samples.take(slice(images))
    concepts = _with_maps(explanation)
    if len(concepts) < 2 and local and (parts := _parts(explanation, len(samples))):
        replaced = filled(run, samples, fill)
        by_image = [(i, _with_maps(part)) for i, part in enumerate(parts)]
        return [
            _game(run, samples.take([i]), replaced[i : i + 1], [_of_image(c, i) for c in found], local)
            for i, found in by_image
            if found
        ]
    if not concepts:
        raise NotApplicable("the concepts have no maps")
    return [_game(run, samples, filled(run, samples, fill), concepts, local)]


def on_squares(game: PixelGame) -> PixelGame:
    """The same game with squares of the image as players, whose regions no method has chosen.

    The importance of each concept is spread evenly over its pixels in the image; that of a square is what lies in it.
    A method that computed its values by removing its own regions is so judged by other regions than those.
    """
    n, height, width = game.owner.shape
    k = game.importance.shape[1]
    pixels = game.owner.flatten(1)
    area = torch.zeros(n, k + 1, dtype=torch.float64).scatter_add_(
        1, pixels, torch.ones_like(pixels, dtype=torch.float64)
    )
    each = torch.tensor(game.importance, dtype=torch.float64) / area[:, :k].clamp_min(1)
    spread = torch.cat([each, torch.zeros(n, 1, dtype=torch.float64)], 1).gather(1, pixels)
    row, column = (torch.arange(side) * SQUARES // side for side in (height, width))
    numbers, place = (row[:, None] * SQUARES + column).flatten().unique(return_inverse=True)  # tiny images have fewer
    squares = place.expand(n, -1)
    found = torch.zeros(n, len(numbers), dtype=torch.float64).scatter_add_(1, squares, spread).numpy()
    order = np.argsort(-found, axis=1, kind="stable")
    return replace(game, importance=found, order=order, owner=squares.reshape(game.owner.shape).contiguous())


def filled(run: Run, samples: Samples, fill: str) -> Tensor:
    """(n, 3, H, W) that replaces removed pixels: the blurred image, or the mean colour of training images."""
    if fill == "blur":
        return blurred(samples.images, BLUR * min(samples.images.shape[-2:]))
    train = run.task.data.samples(None, "train", MEAN_OF, run.cell.data_seed)
    if not len(train):
        raise NotApplicable("there are no training images for a mean colour")
    return train.images.mean((0, 2, 3))[None, :, None, None].expand_as(samples.images)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (n, 3, H, W) blurred by a Gaussian of this standard deviation in pixels; edges are replicated."""
    radius = max(1, round(3 * sigma))
    bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (bell / bell.sum()).to(images).expand(3, 1, 1, -1)
    wide = conv2d(pad(images, (radius, radius, 0, 0), mode="replicate"), kernel, groups=3)
    return conv2d(pad(wide, (0, 0, radius, radius), mode="replicate"), kernel.transpose(2, 3), groups=3).clamp(0, 1)


def owners(maps: Sequence[Tensor], n: int) -> Tensor:
    """(n, H, W) index of the concept to which each pixel belongs; len(maps) if it belongs to none."""
    best = torch.zeros_like(maps[0][:n], dtype=torch.float32)
    owner = torch.full_like(best, len(maps), dtype=torch.int64)
    for j, map in enumerate(maps):
        scaled = map[:n].float() / map.max().clamp_min(torch.finfo(torch.float32).tiny)
        more = scaled > best
        owner[more], best = j, torch.maximum(best, scaled)
    return owner


def _game(run: Run, samples: Samples, fill: Tensor, concepts: list[Concept], local: bool) -> PixelGame:
    n, k = len(samples), len(concepts)
    importance = np.broadcast_to(np.array([c.importance for c in concepts], dtype=np.float64), (n, k))
    order = np.broadcast_to(np.arange(k, dtype=np.int64), (n, k))
    own = [c.local[:n].double().numpy() for c in concepts if c.local is not None and len(c.local) >= n]
    if local and len(own) == k:
        importance = np.stack(own, axis=1)
        order = np.argsort(-importance, axis=1, kind="stable")
    return PixelGame(
        order=order,
        importance=importance,
        target=run.task.target,
        scores=scores_of(run.task.classifier),
        classifier=run.task.classifier,
        images=samples.images,
        fill=fill,
        owner=owners([c.maps for c in concepts if c.maps is not None], n),
    )


def _with_maps(explanation: Explanation) -> list[Concept]:
    """The concepts with maps, without those that refine another concept, whose maps repeat its region."""
    return [c for c in explanation.concepts if c.maps is not None and c.parent is None]


def _parts(explanation: Explanation, n: int) -> tuple[Explanation, ...]:
    """One explanation for each of the first n samples; () if there are fewer, or none of them has maps."""
    parts = explanation.parts[:n]
    return parts if len(parts) == n and any(map(_with_maps, parts)) else ()


def _of_image(concept: Concept, i: int) -> Concept:
    """A concept with its map and importance for the i-th sample only, if it has them for several samples."""
    maps, local = concept.maps, concept.local
    return replace(
        concept,
        maps=maps if maps is None or len(maps) == 1 else maps[i : i + 1],
        local=local if local is None or len(local) == 1 else local[i : i + 1],
    )
