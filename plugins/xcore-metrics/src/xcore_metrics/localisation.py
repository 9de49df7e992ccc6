"""Localisation: are a concept's maps where something is known to be?

The masks are those that the data set offers with the explained images. Two metrics, each with what it is by chance:
`localisation`, the mean over images of intersection over union (IoU) of the mask and the thresholded map; and
`pointing`, the pointing game (Zhang et al. 2018): the share of images in which the map's maximum is on the mask.
Chance is the mean of the same figure over all pairs of a map and the mask of another image, which keeps the maps'
sizes, shapes and habitual places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xcore.errors import NotApplicable
from xcore.protocols import Run
from xcore.types import Concept, Score
from xcore_metrics.localisation_options import LocalisationOptions

Name = Literal["localisation", "pointing"]
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
HALF = 0.5
"""A pixel that is covered at least so much belongs to a mask."""


@dataclass(frozen=True)
class Fit:
    """How a concept's maps fit one mask."""

    mask: int
    iou: float
    iou_chance: float
    threshold: float
    pointing: float
    pointing_chance: float
    ious: tuple[float, ...]
    hits: tuple[float, ...]
    """In each image that has the mask."""


class Localisation:
    """IoU, or the pointing game, of each concept's maps against the masks that come with the explained images.

    Where the data set gives several masks an image (such as animal, object and background) a concept is compared with
    the one that its maps fit best, by IoU less its chance; which one is in the details (`mask`, counted from 0), as is
    the `threshold` of the IoU, a share of the map's largest value over all images. Choosing the threshold helps chance
    as much, since chance is given its own best one. An image without the mask is left out; one without a map is missed.
    """

    direction: Literal["higher"] = "higher"
    needs = frozenset({"maps"})

    def __init__(self, name: Name, options: LocalisationOptions | None = None) -> None:
        self.name = name
        self.options = options or LocalisationOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score a concept; n/a where the data set has no masks, or the concept no maps."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        try:
            masks = self._masks(run)
        except NotApplicable as error:
            return [Score(self.name, reason=str(error))]
        return [self._concept(i, c, masks) for i, c in enumerate(run.explanation.concepts)]

    def _masks(self, run: Run) -> Tensor:
        """(m, N, H, W) bool"""
        samples, key = run.task.samples, self.options.key
        given: Any = samples.meta.get(key)
        if samples.kind != "image" or given is None:
            raise NotApplicable(f"the data set {run.cell.data} has no {key!r} for its images")
        try:  # an array, or a sequence of one an image
            masks = torch.stack([torch.as_tensor(mask) for mask in given]) >= HALF
        except (TypeError, ValueError, RuntimeError) as error:
            raise NotApplicable(f"{key!r} of the data set {run.cell.data} are no masks of one size: {error}") from error
        if masks.ndim == 3:
            masks = masks[:, None]
        if masks.ndim != 4 or len(masks) != len(samples) or masks.shape[-2:] != samples.images.shape[-2:]:
            raise NotApplicable(
                f"{key!r} of the data set {run.cell.data} has shape {tuple(masks.shape)}, which does not fit its images"
            )
        if self.options.mask is not None and self.options.mask >= masks.shape[1]:
            raise NotApplicable(f"there is no mask {self.options.mask}: the data set has {masks.shape[1]}")
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

    def _best(self, concept: Concept, masks: Tensor) -> Fit:
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


def fit_of(maps: Tensor, mask: Tensor, index: int, thresholds: Sequence[float] = THRESHOLDS) -> Fit:
    """How maps (N, P) in [0, 1] fit the mask (N, P), bool, over the images that have it."""
    there = mask.any(1)
    mask, n = mask.float(), len(maps)
    other = ~torch.eye(n, dtype=torch.bool)[:, there]

    def chance(pairs: Tensor) -> float:
        """Mean over the maps of other images; without any, what it is by chance cannot be less than what it is."""
        return float((pairs[:, there][other] if n > 1 else pairs[:, there]).mean())

    ious = torch.stack([iou_pairs(maps > t, mask) for t in thresholds])
    own = ious.diagonal(dim1=1, dim2=2)[:, there]
    at = int(own.mean(1).argmax())
    pointed = pointing_pairs(maps, mask)
    hits = pointed.diagonal()[there]
    return Fit(
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
    """(N, N) intersection over union of what is marked in image i and the mask of image j; 0 where both are empty."""
    both = (marked.float() @ mask.T).double()
    either = marked.sum(1).double()[:, None] + mask.sum(1).double() - both
    return both / either.clamp_min(1)


def pointing_pairs(maps: Tensor, mask: Tensor) -> Tensor:
    """(N, N) the share of the pixels of highest value in map i that lie on the mask of image j; 0 for a map of zeros.

    All such pixels, not the first of them, since a mask that is given as a map is highest everywhere within.
    """
    top = (maps == maps.amax(1, keepdim=True)) & (maps > 0)
    return (top.float() @ mask.T).double() / top.sum(1).clamp_min(1).double()[:, None]


def localisation(options: LocalisationOptions | None = None) -> Localisation:
    """The metric localisation: IoU."""
    return Localisation("localisation", options)


def pointing(options: LocalisationOptions | None = None) -> Localisation:
    """The metric pointing: the pointing game."""
    return Localisation("pointing", options)
