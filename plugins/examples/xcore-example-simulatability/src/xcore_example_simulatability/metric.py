"""How much better a small student predicts the classifier's decisions if it knows the concepts of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import adaptive_avg_pool2d

from xcore.contract import NotApplicable, Samples, Score
from xcore.models.presence import presence
from xcore_example_simulatability.student import exam, halves

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.contract import Concept, Explanation, Run
    from xcore_example_simulatability.options import SimulatabilityOptions


class Simulatability:
    """Gain in balanced accuracy of a student that knows the concepts' strengths, over the same one without.

    The detail ``chance``, which tables print in parentheses, is the gain of a student that knows as many projections on
    random directions in the same activations.
    """

    direction: Literal["higher", "lower", "none"] = "higher"
    needs = frozenset({"directions"})

    def __init__(self, options: SimulatabilityOptions) -> None:
        self.options = options

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score, of a single explanation as a whole."""
        (run,) = runs
        options, task = self.options, run.task
        images = Samples.concat([run.heldout, run.heldout_random_set(len(run.heldout), 0)])
        decisions = task.classifier.logits(images).argmax(dim=1) == task.target
        rare = min(int(decisions.sum()), int((~decisions).sum()))
        if rare < options.least:
            return [
                none(f"the classifier decides {rare} of {len(images)} images otherwise; {options.least} are needed")
            ]
        explanation = replace(run.explanation, concepts=run.explanation.concepts[: options.concepts])
        try:
            known = strengths(explanation, run, images)
        except NotApplicable as error:
            return [none(str(error))]
        if not known.shape[1]:
            return [none("none of the concepts can be found in other images")]

        seen = adaptive_avg_pool2d(images.images, options.grid).flatten(1).double()
        lessons = halves(decisions, options.splits, run.cell.seed)

        def accuracies(features: Tensor) -> list[float]:
            return [exam(features, decisions, lesson, options.ridge) for lesson in lessons]

        without, with_concepts = accuracies(seen), accuracies(torch.cat([seen, known], dim=1))
        gains = [b - a for a, b in zip(without, with_concepts, strict=True)]
        draws = [
            strengths(by_chance(explanation, run.cell.seed + i), run, images)[:, : known.shape[1]]
            for i in range(options.random)
        ]
        chance = fmean(fmean(accuracies(torch.cat([seen, draw], dim=1))) for draw in draws) - fmean(without)
        details = {
            "chance": chance,
            "accuracy_without": fmean(without),
            "accuracy_with": fmean(with_concepts),
            "concepts": float(known.shape[1]),
        }
        return [
            Score(
                "simulatability",
                value=fmean(gains),
                spread=stdev(gains),
                over="splits",
                n=len(images),
                details=details,
            )
        ]


def strengths(explanation: Explanation, run: Run, images: Samples) -> Tensor:
    """(n, k) how strongly each concept is in each image, without the concepts that cannot be found."""
    found = presence(explanation, run.task.classifier, images, with_maps=False).strength.double()
    return found[:, ~found.isnan().any(dim=0)]


def by_chance(explanation: Explanation, seed: int) -> Explanation:
    """The explanation with random directions in the place of its own."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(concept: Concept) -> Concept:
        directions = {
            layer: torch.randn(direction.shape, generator=generator) for layer, direction in concept.directions.items()
        }
        return replace(concept, directions=directions, atom=None, evidence={})

    return replace(explanation, dictionary=None, concepts=tuple(drawn(c) for c in explanation.concepts))


def none(reason: str) -> Score:
    """No value, and why."""
    return Score("simulatability", reason=reason)
