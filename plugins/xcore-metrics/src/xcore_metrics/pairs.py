"""CS, ED, RCS and RED: how near a concept's images are to images of the class, in the eyes of a third model.

With raw embeddings a_i of the m held-out class images and b_j of the n concept images,

    CS = mean over all pairs (i, j) of cos(a_i, b_j),    ED = mean over all pairs of |a_i - b_j|

in an image-text embedding (CLIP); RCS and RED are the same in the features of an image network (ResNet). None of them
asks the model under explanation: unrelated noise is far from every class, a crop of the class is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from xcore.errors import NotApplicable, XcoreError
from xcore.protocols import Run
from xcore.types import Concept, Samples, Score
from xcore_metrics.memory import once
from xcore_metrics.options import PairOptions

if TYPE_CHECKING:
    from torch import Tensor

Measure = Literal["cosine", "euclidean"]
OVER = {"concept_images": "concept samples", "pairs": "pairs"}


def pair_values(a: Tensor, b: Tensor, measure: Measure) -> Tensor:
    """Value of every pair.

    Parameters
    ----------
    a, b
        (m, d) and (n, d) embeddings.
    measure
        "cosine" in [-1, 1], "euclidean" >= 0.

    Returns
    -------
    (m, n) tensor.

    Raises
    ------
    NotApplicable
        If a cosine is undefined because an embedding is zero.
    """
    if measure == "euclidean":
        # not by |a|^2 + |b|^2 - 2ab, whose rounding makes equal vectors differ
        distances: Tensor = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return distances
    lengths = torch.linalg.vector_norm(torch.cat([a, b]), dim=1)
    if bool((lengths == 0).any()):
        raise NotApplicable("an embedding is zero, so its cosine is undefined")
    unit_a, unit_b = a / lengths[: len(a), None], b / lengths[len(a) :, None]
    cosines: Tensor = (unit_a @ unit_b.T).clamp(-1.0, 1.0)
    return cosines


class PairMetric:
    """Mean cosine or distance over all pairs of a held-out class image and a concept image.

    Parameters
    ----------
    name
        "CS", "ED", "RCS" or "RED".
    role
        Role of the helper model that embeds.
    measure
        What is averaged. The lower cosine and the higher distance count as better ("novelty").
    options
        See `PairOptions`.

    Notes
    -----
    The spread is a population standard deviation, so that of a cosine is at most 1. Over pairs it mixes the variety of
    the class with that of the concept, and mn pairs are not mn observations; so the default is the spread over concept
    images, of each image's mean over the class images. Both are in `Score.details`.
    """

    needs = frozenset({"samples:image"})

    def __init__(
        self,
        name: str,
        role: Literal["image-text", "image-embedder"],
        measure: Measure,
        options: PairOptions | None = None,
    ) -> None:
        self.name = name
        self.role = role
        self.measure = measure
        self.options = options or PairOptions()
        self.direction: Literal["higher", "lower"] = "lower" if measure == "cosine" else "higher"

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score a concept."""
        return [self._concept(run, i, c) for run in runs for i, c in enumerate(run.explanation.concepts)]

    def _concept(self, run: Run, index: int, concept: Concept) -> Score:
        if concept.samples is None or concept.samples.kind != "image" or not len(concept.samples):
            return Score(self.name, index, reason="the concept has no images")
        model = run.task.model(self.role)
        variant = self._variant(model.name)
        try:
            shift = self._shift(model, run)
            a = self._embed(model, run.heldout, "held-out class", shift)
            b = self._embed(model, concept.samples, "concept", shift)
            values = pair_values(a, b, self.measure)
        except NotApplicable as e:
            return Score(self.name, index, reason=str(e), variant=variant)
        per_image = values.mean(dim=0)
        spreads = {"concept_images": float(per_image.std(correction=0)), "pairs": float(values.std(correction=0))}
        return Score(
            self.name,
            index,
            value=float(values.mean()),
            variant=variant,
            spread=spreads[self.options.std_over],
            over=OVER[self.options.std_over],
            n=values.shape[1] if self.options.std_over == "concept_images" else values.numel(),
            samples=tuple(per_image.tolist()),
            details={
                "class_images": values.shape[0],
                "concept_images": values.shape[1],
                "pairs": values.numel(),
                "std_concept_images": spreads["concept_images"],
                "std_pairs": spreads["pairs"],
            },
        )

    def _variant(self, name: str) -> str:
        extra = [w for w, on in (("centred", self.options.centre), ("unit", self.options.normalise)) if on]
        return " ".join([name, *extra])

    def _shift(self, model: object, run: Run) -> Tensor | float:
        if not self.options.centre:
            return 0.0
        background = run.heldout_contrast(self.options.centre_images, 0, "as-is")
        return self._raw(model, background, "random set").mean(dim=0)

    def _embed(self, model: object, samples: Samples, what: str, shift: Tensor | float) -> Tensor:
        features: Tensor = self._raw(model, samples, what) - shift
        if not self.options.normalise:
            return features
        lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        if bool((lengths == 0).any()):
            raise NotApplicable(f"an embedding of the {what} images is zero, so it has no direction")
        unit: Tensor = features / lengths
        return unit

    def _raw(self, model: object, samples: Samples, what: str) -> Tensor:
        """(n, d) embeddings in float64, computed once for each set of images, whichever metric asks."""
        embed = getattr(model, "embed_images" if self.role == "image-text" else "embed")
        features: Tensor = once(model, samples, lambda x: embed(x).detach().to("cpu", torch.float64))
        if features.ndim != 2 or len(features) != len(samples):
            raise XcoreError(
                f"{self.name}: the {self.role} model gave shape {tuple(features.shape)} for {len(samples)} images",
                "it must give one row an image, (n, d)",
            )
        bad = int((~features.isfinite().all(dim=1)).sum())
        if bad:
            raise NotApplicable(f"{bad} of {len(samples)} embeddings of the {what} images are not finite")
        return features


def cs(options: PairOptions | None = None) -> PairMetric:
    """Cosine in the image-text embedding; lower is called better."""
    return PairMetric("CS", "image-text", "cosine", options)


def ed(options: PairOptions | None = None) -> PairMetric:
    """Euclidean distance in the image-text embedding, raw; higher is called better."""
    return PairMetric("ED", "image-text", "euclidean", options)


def rcs(options: PairOptions | None = None) -> PairMetric:
    """Cosine of image features; lower is called better."""
    return PairMetric("RCS", "image-embedder", "cosine", options)


def red(options: PairOptions | None = None) -> PairMetric:
    """Euclidean distance of image features, raw; higher is called better."""
    return PairMetric("RED", "image-embedder", "euclidean", options)
