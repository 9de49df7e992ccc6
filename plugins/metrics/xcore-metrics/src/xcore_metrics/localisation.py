"""Localisation: do a concept's maps mark a known object?

The masks of objects come from the data set, with the explained images. There are two metrics, each beside its value by
chance: `localisation`, the mean over images of intersection over union (IoU) of the mask and the thresholded map; and
`pointing`, the pointing game (Zhang et al. 2018): the share of images in which the map's maximum is on the mask.
Chance is the mean of the same value over all pairs of a map and the mask of another image, which keeps the sizes,
shapes and usual positions of the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xcore.contract import Concept, NotApplicable, Run, Score
from xcore_metrics.options import LocalisationOptions

Name = Literal["localisation", "pointing"]
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
COVERED = 0.5
"""A pixel belongs to a mask if the mask covers at least this share of it."""


@dataclass(frozen=True)
class MaskFit:
    """How well a concept's maps fit one mask."""

    mask: int
    """Index of the mask."""
    iou: float
    iou_chance: float
    threshold: float
    pointing: float
    pointing_chance: float
    ious: tuple[float, ...]
    """IoU in each image that has the mask."""
    hits: tuple[float, ...]
    """Pointing value in each image that has the mask."""


class Localisation:
    """IoU, or the pointing game, of each concept's maps against the masks that come with the explained images.

    If the data set gives several masks for each image (such as animal, object and background), a concept is compared
    with the one that its maps fit best, by IoU minus chance. The details give its index (`mask`), and the
    `threshold` of the IoU, a share of the map's largest value over all images. Chance has a best threshold of its own,
    so choosing the threshold gives no advantage over it. An image without the mask is left out; an image where the map
    is zero counts as a miss.
    """

    direction: Literal["higher"] = "higher"
    needs = frozenset({"maps"})

    def __init__(self, name: Name, options: LocalisationOptions | None = None) -> None:
        self.name = name
        self.options = options or LocalisationOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each concept; without a value where the data set has no masks or the concept has no maps."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        try:
            masks = self._masks(run)
        except NotApplicable as error:
            return [Score(self.name, reason=str(error))]
        return [self._concept(i, c, masks) for i, c in enumerate(run.explanation.concepts)]

    def _masks(self, run: Run) -> Tensor:
        """(m, N, H, W) bool: m masks of each of the N explained images."""
        samples, key = run.task.samples, self.options.key
        given: Any = samples.meta.get(key)
        if samples.modality != "image" or given is None:
            raise NotApplicable(f"the data set {run.cell.data} gives no {key!r} for its images")
        try:  # an array, or a sequence with one array for each image
            masks = torch.stack([torch.as_tensor(mask) for mask in given]) >= COVERED
        except (TypeError, ValueError, RuntimeError) as error:
            raise NotApplicable(f"{key!r} of the data set {run.cell.data} do not all have one size: {error}") from error
        if masks.ndim == 3:
            masks = masks[:, None]
        if masks.ndim != 4 or len(masks) != len(samples) or masks.shape[-2:] != samples.images.shape[-2:]:
            raise NotApplicable(
                f"{key!r} of the data set {run.cell.data} has shape {tuple(masks.shape)}, which does not fit its images"
            )
        if self.options.mask is not None and self.options.mask >= masks.shape[1]:
            raise NotApplicable(
                f"there is no mask {self.options.mask}: the data set gives {masks.shape[1]}, counted from 0"
            )
        return masks.transpose(0, 1)

    def _concept(self, index: int, concept: Concept, masks: Tensor) -> Score:
        try:
            fit = self._best(concept, masks)
        except NotApplicable as error:
            return Score(self.name, index, reason=str(error))
        each, value, chance = fit.ious, fit.iou, fit.iou_chance
        details = {"mask": float(fit.mask), "masks": float(len(masks)), "threshold": fit.threshold}
        if self.name == "pointing":
            each, value, chance = fit.hits, fit.pointing, fit.pointing_chance
        return Score(
            self.name,
            index,
            value=value,
            spread=float(torch.tensor(each).double().std(correction=0)),
            over="images",
            n=len(each),
            samples=each,
            details={**details, "chance": chance},
        )

    def _best(self, concept: Concept, masks: Tensor) -> MaskFit:
        maps = concept.maps
        if maps is None:
            raise NotApplicable("the concept has no maps")
        if float(maps.max()) <= 0:
            raise NotApplicable("the concept's maps are zero everywhere")
        thresholds = THRESHOLDS if self.options.threshold is None else (self.options.threshold,)
        flat = (maps.float() / maps.max()).flatten(1)
        asked = range(len(masks)) if self.options.mask is None else (self.options.mask,)
        fits = [fit_of(flat, masks[m].flatten(1), m, thresholds) for m in asked if bool(masks[m].any())]
        if not fits:
            raise NotApplicable("no explained image has the mask")
        return max(fits, key=lambda fit: (fit.iou - fit.iou_chance, -fit.mask))


def fit_of(maps: Tensor, mask: Tensor, index: int, thresholds: Sequence[float] = THRESHOLDS) -> MaskFit:
    """How well maps (N, P) in [0, 1] fit the mask (N, P), bool, in the images that have it; P counts the pixels."""
    there = mask.any(1)
    mask, n = mask.float(), len(maps)
    other = ~torch.eye(n, dtype=torch.bool)[:, there]

    def chance(pairs: Tensor) -> float:
        """Mean over the maps of other images; a single image has no others, and its own map counts as chance."""
        return float((pairs[:, there][other] if n > 1 else pairs[:, there]).mean())

    ious = torch.stack([iou_pairs(maps > t, mask) for t in thresholds])
    own = ious.diagonal(dim1=1, dim2=2)[:, there]
    at = int(own.mean(1).argmax())
    pointed = pointing_pairs(maps, mask)
    hits = pointed.diagonal()[there]
    return MaskFit(
        mask=index,
        iou=float(own[at].mean()),
        iou_chance=max(chance(pairs) for pairs in ious),
        threshold=thresholds[at],
        pointing=float(hits.mean()),
        pointing_chance=chance(pointed),
        ious=tuple(own[at].tolist()),
        hits=tuple(hits.tolist()),
    )


def iou_pairs(marked: Tensor, mask: Tensor) -> Tensor:
    """(N, N) intersection over union of the marked pixels of image i and the mask of image j; 0 if both are empty."""
    both = (marked.float() @ mask.T).double()
    either = marked.sum(1).double()[:, None] + mask.sum(1).double() - both
    return both / either.clamp_min(1)


def pointing_pairs(maps: Tensor, mask: Tensor) -> Tensor:
    """(N, N) the share of the pixels of highest value in map i that lie on the mask of image j; 0 for a map of zeros.

    All such pixels count, not only the first, since a map that is a mask has its highest value in every pixel of it.
    """
    top = (maps == maps.amax(1, keepdim=True)) & (maps > 0)
    return (top.float() @ mask.T).double() / top.sum(1).clamp_min(1).double()[:, None]


def localisation(options: LocalisationOptions | None = None) -> Localisation:
    """The metric localisation: mean IoU, in [0, 1]."""
    return Localisation("localisation", options)


def pointing(options: LocalisationOptions | None = None) -> Localisation:
    """The metric pointing: the pointing game, in [0, 1]."""
    return Localisation("pointing", options)
