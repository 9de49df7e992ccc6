"""FaithTrace: does the class logit rise along what a text is in the classifier's features?

A text gives a direction in the features of one layer: the mean features of the held-out images that an image-text
model scores highest for it, less those of the images that it scores lowest. Its influence is the derivative of the
class logit along this direction, of length 1, averaged over held-out images of the class. Beside it stand the
influences of random words of the vocabulary.

Source: after arXiv:2605.16877, which was read in its abstract only, so that no figure is meant to equal one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor
from xcore_evidence.readings import presence

from xcore.contract import Concept, NotApplicable, Probe, Run, Samples, Score
from xcore_metrics.asking.ranks import DRAWS, Floats
from xcore_metrics.asking.texts import null_details, others_than, random_phrases, texts_of, unscored
from xcore_metrics.faithfulness.activations import opened
from xcore_metrics.options import FaithTraceOptions
from xcore_metrics.pools import heldout_pool

NAME = "FaithTrace"
SEED = 0


@dataclass(frozen=True, eq=False)
class Traced:
    """The features of held-out samples, and the slope of the class logit in them."""

    features: Floats
    """(n, C) mean over the positions of the layer."""
    slopes: Floats
    """(m, C) derivatives of the class logit if the features rise at all positions alike, of each class sample."""
    ends: int
    """How many samples count as high, and how many as low."""

    def high_and_low(self, read: Floats) -> tuple[Floats, Floats]:
        """Features (ends, C) of the samples in which a text is most and least present, by its presence (n,)."""
        order = np.argsort(-read, kind="stable")
        return self.features[order[: self.ends]], self.features[order[-self.ends :]]

    def influence(self, read: Floats) -> tuple[float, float]:
        """Mean derivative along the unit direction of a text, and the length of the direction before; 0 if it is 0."""
        high, low = self.high_and_low(read)
        return influence_of(self.slopes.mean(0), high.mean(0) - low.mean(0))

    def resampled(self, read: Floats, rng: np.random.Generator) -> Floats:
        """(DRAWS,) influences with class samples, high and low ones drawn with replacement."""
        high, low = self.high_and_low(read)
        drawn = [x[rng.integers(len(x), size=(DRAWS, len(x)))].mean(1) for x in (self.slopes, high, low)]
        return np.array([influence_of(g, h - b)[0] for g, h, b in zip(*drawn, strict=True)])


def influence_of(slope: Floats, direction: Floats) -> tuple[float, float]:
    """The product of a slope with a direction of length 1, and how long the direction was; both 0 if it is zero."""
    length = float(np.linalg.norm(direction))
    return (float(slope @ direction) / length, length) if length > 0 else (0.0, 0.0)


class FaithTrace:
    """Derivative of the class logit along the direction of each concept's text, in logits per unit of the features.

    Its sign says whether more of what the text names raises the class. `null_mean`, `p` and `p_against` are those of
    random phrases of the vocabulary; some of these may name what the classifier uses, so that p is rather too large.
    """

    direction: Literal["higher"] = "higher"
    needs: frozenset[str] = frozenset()

    def __init__(self, options: FaithTraceOptions | None = None) -> None:
        self.options = options or FaithTraceOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each concept."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        layer = self.options.layer or run.task.layer
        texts = texts_of(run)
        try:
            if not any(isinstance(text, str) for text in texts):
                raise NotApplicable("no concept has words")
            traced, pool = self._traced(run, layer)
            phrases = random_phrases(run, self.options.null)
            every = tuple(dict.fromkeys([*(t for t in texts if isinstance(t, str)), *phrases]))
            read = presence(run.task, pool, every).numpy()
        except NotApplicable as error:
            return unscored(NAME, texts, error)
        columns = {text: read[:, i] for i, text in enumerate(every)}
        null = np.array([traced.influence(columns[phrase])[0] for phrase in phrases])
        variant = f"{layer}, {run.task.model('image-text').name}"
        return [
            self._concept(i, concept, text, columns, traced, (phrases, null), variant)
            for i, (concept, text) in enumerate(zip(run.explanation.concepts, texts, strict=True))
        ]

    def _concept(
        self,
        index: int,
        concept: Concept,
        text: str | NotApplicable,
        columns: dict[str, Floats],
        traced: Traced,
        random: tuple[tuple[str, ...], Floats],
        variant: str,
    ) -> Score:
        if isinstance(text, NotApplicable):
            return Score(NAME, index, reason=str(text))
        value, length = traced.influence(columns[text])
        if length == 0:
            return Score(NAME, index, reason=f"the features do not change with {text!r}", variant=variant)
        try:
            null = random[1][others_than(concept, text, random[0])]
        except NotApplicable as error:
            return Score(NAME, index, reason=str(error), variant=variant)
        drawn = traced.resampled(columns[text], np.random.default_rng([SEED, 1]))
        lo, hi = np.quantile(drawn, (0.025, 0.975))
        unit = float(np.linalg.norm(traced.slopes, axis=1).mean())
        details = {
            "lo": float(lo),
            "hi": float(hi),
            **null_details(value, null),
            "relative": value / unit,
            "moved": value * length,
            "high_images": float(traced.ends),
            "pool_images": float(len(traced.features)),
        }
        return Score(
            NAME,
            index,
            value=value,
            variant=variant,
            spread=float(drawn.std()),
            over="images, drawn with replacement",
            n=len(traced.slopes),
            details=details,
        )

    def _traced(self, run: Run, layer: str) -> tuple[Traced, Samples]:
        if missing := {"activations", "gradients"} - run.task.classifier.can:
            raise NotApplicable(f"the classifier offers no {' and no '.join(sorted(missing))}")
        probe, pool = opened(run, layer), heldout_pool(run, self.options.others)
        slopes = _over_positions(probe, probe.gradients(run.heldout, run.task.target), total=True)
        if not slopes.any():
            raise NotApplicable(f"the class logit does not depend on the layer {layer!r}: choose another one")
        features = _over_positions(probe, probe.activations(pool), total=False)
        ends = max(2, round(self.options.share * len(pool)))
        if 2 * ends > len(pool):
            raise NotApplicable(f"{len(pool)} held-out images are too few for {ends} high and {ends} low ones")
        return Traced(features, slopes, ends), pool


def _over_positions(probe: Probe, a: Tensor, total: bool) -> Floats:
    """(n, C) the sum or the mean over positions: moving all positions by v adds up the products of gradients and v."""
    a = a.detach().double().cpu()
    if probe.layout != "NC":
        positions = (2, 3) if probe.layout == "NCHW" else (1,)
        a = a.sum(positions) if total else a.mean(positions)
    found: Floats = a.numpy()
    return found


def faithtrace(options: FaithTraceOptions | None = None) -> FaithTrace:
    """The metric FaithTrace."""
    return FaithTrace(options)
