"""CoSy: is a unit of the model more active in pictures of a text than in other pictures?

For a text and a unit (an atom, a direction or the class logit), m pictures of the text are drawn by the generator, or
taken from held-out pictures by an image-text model where there is no generator. AUC is the probability that the unit is
more active in one of them than in a control picture, MAD the difference of the mean activations in standard deviations
of the control. Beside them stand the same for other texts.

Source: Kopf et al., CoSy: Evaluating Textual Explanations of Neurons, NeurIPS 2024, arXiv:2405.20331.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from xcore_evidence.kept import drawn
from xcore_evidence.readings import presence as presence_of_phrases

from xcore.contract import Concept, MissingError, NotApplicable, Run, Samples, Score
from xcore.models.presence import presence
from xcore_metrics.asking.concept_scores import in_activations
from xcore_metrics.asking.ranks import Floats, bootstrapped_auc, mean_difference, wins
from xcore_metrics.asking.texts import null_details, others_than, random_phrases, texts_of, unscored
from xcore_metrics.options import CoSyOptions
from xcore_metrics.pools import heldout_pool

NAME = "CoSy"
SEED = 0
FIRST_SEED = 7_000_000
"""Of the drawings: no method draws with such seeds."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of each text, and those that they are compared with."""

    samples: Samples
    rows: dict[str, list[int]]
    """Text -> the rows of its pictures."""
    controls: dict[str, list[int]]
    """Text -> the rows of its control pictures."""
    source: str
    """"drawn" or "found"."""


class CoSy:
    """AUC of the activations of each concept's unit in pictures of its text, against control pictures; chance is 0.5.

    The unit is the concept's atom or direction where it has one, which asks whether the concept is what its name says;
    else the class logit, which asks whether the class answers to the text. Control pictures are held-out ones of all
    classes; where the text's pictures are found among these, those that are left.
    """

    direction: Literal["higher"] = "higher"
    needs: frozenset[str] = frozenset()

    def __init__(self, options: CoSyOptions | None = None) -> None:
        self.options = options or CoSyOptions()

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """One score for each concept."""
        return [score for run in runs for score in self._run(run)]

    def _run(self, run: Run) -> list[Score]:
        texts = texts_of(run)
        try:
            named = [text for text in texts if isinstance(text, str)]
            if not named:
                raise NotApplicable("no concept has words")
            listed = tuple(dict.fromkeys([*named, *random_phrases(run, self.options.null)]))
            pictures = self._pictures(run, listed)
            active, units = self._activations(run, pictures.samples)
        except NotApplicable as error:
            return unscored(NAME, texts, error)
        return [
            self._concept(i, concept, text, pictures, active[i], units[i])
            for i, (concept, text) in enumerate(zip(run.explanation.concepts, texts, strict=True))
        ]

    def _concept(
        self,
        index: int,
        concept: Concept,
        text: str | NotApplicable,
        pictures: Pictures,
        active: Floats,
        unit: str,
    ) -> Score:
        if isinstance(text, NotApplicable):
            return Score(NAME, index, reason=str(text))
        variant, listed = f"{unit}, {pictures.source}", tuple(pictures.rows)
        won = {other: wins(active[pictures.rows[other]], active[pictures.controls[other]]) for other in listed}
        try:
            null = np.array([won[listed[i]].mean() for i in others_than(concept, text, listed)])
        except NotApplicable as error:
            return Score(NAME, index, reason=str(error), variant=variant)
        value = float(won[text].mean())
        resampled = bootstrapped_auc(won[text], np.random.default_rng([SEED, 1]))
        lo, hi = np.quantile(resampled, (0.025, 0.975))
        details = {
            "lo": float(lo),
            "hi": float(hi),
            **null_details(value, null),
            "images": float(len(pictures.rows[text])),
            "control_images": float(len(pictures.controls[text])),
        }
        mad = mean_difference(active[pictures.rows[text]], active[pictures.controls[text]])
        if mad is not None:
            details["mad"] = mad
        return Score(
            NAME,
            index,
            value=value,
            variant=variant,
            spread=float(resampled.std()),
            over="images, drawn with replacement",
            n=len(pictures.rows[text]),
            details=details,
        )

    def _pictures(self, run: Run, texts: tuple[str, ...]) -> Pictures:
        pool, m = heldout_pool(run, self.options.others), self.options.images
        generator = run.task.generator
        if self.options.source == "generator" and generator is None:
            raise MissingError("CoSy.source=generator needs a generator", "name one with --generator REF")
        everything = list(range(len(pool)))
        if generator is None or self.options.source == "data":
            if len(pool) < 2 * m:
                raise NotApplicable(f"{len(pool)} held-out images are too few to find {m} of each text in them")
            read = presence_of_phrases(run.task, pool, texts).numpy()
            rows = {t: np.argsort(-read[:, i], kind="stable")[:m].tolist() for i, t in enumerate(texts)}
            controls = {t: sorted({*everything} - {*rows[t]}) for t in texts}
            return Pictures(pool, rows, controls, "found")
        if generator.modality != "image":
            raise NotApplicable(f"the generator draws {generator.modality}s, and the classifier reads images")
        seeds = [FIRST_SEED + i for i in range(m)]
        parts = [drawn(run.task, generator, [text] * m, seeds) for text in texts]
        samples = Samples.concat([pool, *parts])
        rows = {t: list(range(len(pool) + i * m, len(pool) + (i + 1) * m)) for i, t in enumerate(texts)}
        return Pictures(samples, rows, dict.fromkeys(texts, everything), "drawn")

    def _activations(self, run: Run, samples: Samples) -> tuple[list[Floats], list[str]]:
        """For each concept, how active its unit is in each sample, and what the unit is."""
        explanation, classifier = run.explanation, run.task.classifier
        logit: Floats = classifier.logits(samples)[:, run.task.target].double().numpy()
        active = [logit for _ in explanation.concepts]
        units = ["class logit"] * len(active)
        own = in_activations(run) if self.options.unit == "auto" else ()
        if own:
            part = replace(explanation, concepts=tuple(explanation.concepts[i] for i in own))
            strength = presence(part, classifier, samples, with_maps=False).strength.double().numpy()
            for column, i in enumerate(own):
                concept = explanation.concepts[i]
                active[i] = strength[:, column]
                units[i] = "direction" if explanation.dictionary is None or concept.atom is None else "atom"
        return active, units


def cosy(options: CoSyOptions | None = None) -> CoSy:
    """The metric CoSy."""
    return CoSy(options)
