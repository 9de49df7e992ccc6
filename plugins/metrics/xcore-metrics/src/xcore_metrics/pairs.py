"""CS, ED, RCS and RED: how near a concept's samples are to those of the class, in the embedding of a third model.

With raw embeddings a_i of the m held-out class samples and b_j of the n concept samples,

    CS = mean over all pairs (i, j) of cos(a_i, b_j),    ED = mean over all pairs of |a_i - b_j|

in an image-text embedding (CLIP) for images, and in a text embedding (a sentence model) for texts. RCS and RED are the
same in the features of an image network (ResNet), for images only. None of them asks the model under explanation:
noise is far from every class, and a crop of the class is near to it, whatever the model uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch

from xcore.contract import Concept, Modality, NotApplicable, Run, Samples, Score, XcoreError
from xcore_metrics.model_cache import cached_output
from xcore_metrics.options import PairOptions

if TYPE_CHECKING:
    from torch import Tensor

Measure = Literal["cosine", "euclidean"]
Roles = Mapping[Modality, str]
CROSS: Roles = {"image": "image-text", "text": "text-embedder"}
"""Modality of the samples -> role of the helper model of CS and ED."""
FEATURES: Roles = {"image": "image-embedder"}
"""The same for RCS and RED, which exist for images only."""
OVER = {"concept_images": "concept samples", "pairs": "pairs"}


def pair_values(a: Tensor, b: Tensor, measure: Measure) -> Tensor:
    """Cosine or distance of every pair.

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
        An embedding is zero, so that its cosine is undefined.
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
    """Mean cosine or distance over all pairs of a held-out class sample and a concept sample.

    Parameters
    ----------
    name
        "CS", "ED", "RCS" or "RED".
    roles
        Role of the helper model that embeds, by the modality of the samples.
    measure
        What is averaged. A lower cosine and a larger distance count as better ("novelty").
    options
        See `PairOptions`.

    Notes
    -----
    The spread is a population standard deviation, so for cosines it is at most 1. The spread over pairs mixes the
    variation of the class with that of the concept, and mn pairs are not mn observations. The default is therefore the
    spread over concept samples of their means over the class samples. Both are in `Score.details`.
    """

    def __init__(
        self,
        name: str,
        roles: Roles,
        measure: Measure,
        options: PairOptions | None = None,
    ) -> None:
        self.name = name
        self.roles = roles
        self.measure = measure
        self.options = options or PairOptions()
        self.direction: Literal["higher", "lower"] = "lower" if measure == "cosine" else "higher"
        self.needs = frozenset({"samples"} if len(roles) > 1 else {f"samples:{modality}" for modality in roles})

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each concept."""
        return [self._concept(run, i, c) for run in runs for i, c in enumerate(run.explanation.concepts)]

    def _concept(self, run: Run, index: int, concept: Concept) -> Score:
        modality = run.heldout.modality
        if modality not in self.roles:
            return Score(self.name, index, reason=modality)
        if concept.samples is None or concept.samples.modality != modality or not len(concept.samples):
            return Score(self.name, index, reason=f"the concept has no {modality}s")
        model = run.task.model(self.roles[modality])
        variant = self._variant(model.name)
        try:
            shift = self._shift(model, run)
            a = self._embed(model, run.heldout, "held-out class", shift)
            b = self._embed(model, concept.samples, "concept", shift)
            values = pair_values(a, b, self.measure)
        except NotApplicable as e:
            return Score(self.name, index, reason=str(e), variant=variant)
        each = values.mean(dim=0)
        spreads = {"concept_images": float(each.std(correction=0)), "pairs": float(values.std(correction=0))}
        return Score(
            self.name,
            index,
            value=float(values.mean()),
            variant=variant,
            spread=spreads[self.options.std_over],
            over=OVER[self.options.std_over],
            n=values.shape[1] if self.options.std_over == "concept_images" else values.numel(),
            samples=tuple(each.tolist()),
            details={
                f"class_{modality}s": values.shape[0],
                f"concept_{modality}s": values.shape[1],
                "pairs": values.numel(),
                f"std_concept_{modality}s": spreads["concept_images"],
                "std_pairs": spreads["pairs"],
            },
        )

    def _variant(self, name: str) -> str:
        extra = [w for w, on in (("centred", self.options.centre), ("unit", self.options.normalise)) if on]
        return " ".join([name, *extra])

    def _shift(self, model: object, run: Run) -> Tensor | float:
        if not self.options.centre:
            return 0.0
        background = run.heldout_random_set(self.options.centre_images, 0, "as-is")
        return self._raw(model, background, "random set").mean(dim=0)

    def _embed(self, model: object, samples: Samples, what: str, shift: Tensor | float) -> Tensor:
        features: Tensor = self._raw(model, samples, what) - shift
        if not self.options.normalise:
            return features
        lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        if bool((lengths == 0).any()):
            raise NotApplicable(f"an embedding of the {what} {samples.modality}s is zero, so it has no direction")
        unit: Tensor = features / lengths
        return unit

    def _raw(self, model: object, samples: Samples, what: str) -> Tensor:
        """(n, d) embeddings in float64, computed once for each set of samples and shared by all metrics."""
        role, modality = self.roles[samples.modality], samples.modality
        embed = getattr(model, "embed_images" if role == "image-text" else "embed")
        features: Tensor = cached_output(model, samples, lambda x: embed(x).detach().to("cpu", torch.float64))
        if features.ndim != 2 or len(features) != len(samples):
            raise XcoreError(
                f"{self.name}: the {role} model gave shape {tuple(features.shape)} for {len(samples)} {modality}s",
                f"it must give one row for each {modality}, (n, d)",
            )
        bad = int((~features.isfinite().all(dim=1)).sum())
        if bad:
            raise NotApplicable(f"{bad} of {len(samples)} embeddings of the {what} {modality}s are not finite")
        return features


def cs(options: PairOptions | None = None) -> PairMetric:
    """The metric CS: cosine in the image-text (or text) embedding; lower counts as better."""
    return PairMetric("CS", CROSS, "cosine", options)


def ed(options: PairOptions | None = None) -> PairMetric:
    """The metric ED: Euclidean distance in the image-text (or text) embedding; higher counts as better."""
    return PairMetric("ED", CROSS, "euclidean", options)


def rcs(options: PairOptions | None = None) -> PairMetric:
    """The metric RCS: cosine of image features; lower counts as better."""
    return PairMetric("RCS", FEATURES, "cosine", options)


def red(options: PairOptions | None = None) -> PairMetric:
    """The metric RED: Euclidean distance of image features; higher counts as better."""
    return PairMetric("RED", FEATURES, "euclidean", options)
