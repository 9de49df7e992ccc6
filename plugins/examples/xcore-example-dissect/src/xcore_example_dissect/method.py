"""Words for the concepts of CRAFT: what an image-text model sees in the probe images where a concept is strong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from xcore.contract import NotApplicable, Ref, seeded
from xcore.models.presence import presence
from xcore.session import make
from xcore_example_dissect.matching import p_values, rank_correlation, soft_wpmi

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.contract import Concept, Explanation, Task
    from xcore_example_dissect.options import DissectOptions


class Dissect:
    """CRAFT's explanation, whose concepts have words, and the evidence for them."""

    def __init__(self, options: DissectOptions) -> None:
        self.options = options

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        phrases = list(dict.fromkeys(task.vocabulary))
        if len(phrases) < 2:
            raise NotApplicable(
                "dissect chooses among phrases, and these data have no vocabulary",
                "use data with a vocabulary, such as minizoo",
            )
        with seeded(task.seed):  # what importing another plugin does to the global random state is undone
            craft = make("explainer", Ref("craft", {"k": self.options.k}))
        found: Explanation = craft.explain(task)
        task.progress(1, 2, "concepts found")
        probes = task.data.samples(None, "train", self.options.probes, task.seed)
        strength = presence(found, task.classifier, probes).strength.double()
        helper = task.model("image-text")
        images = normalize(helper.embed_images(probes).double(), dim=1)
        similarity = images @ normalize(helper.embed_texts(phrases).double(), dim=1).T
        scores, by_chance = self._matched(strength, similarity, task.seed)
        p = p_values(scores, by_chance)
        correlation = rank_correlation(strength, similarity, strength[:, :1])[0]

        concepts = [
            self._named(concept, phrases, scores[i], correlation[i], float(p[i]))
            for i, concept in enumerate(found.concepts)
        ]
        nameless = [c.name for c in concepts if not c.words]
        notes = [
            *found.notes,
            f"words are chosen of {len(phrases)} phrases by {self.options.similarity} over {len(probes)} images; they "
            "say what a concept goes with, not whether the class needs it",
        ]
        if nameless:
            notes.append(
                f"no phrase goes with {', '.join(nameless)} better than by chance (p > {self.options.max_p:g})"
            )
        return replace(found, method="dissect", concepts=tuple(concepts), notes=tuple(notes))

    def _matched(self, strength: Tensor, similarity: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Scores of the phrases for each concept (k, V), and for orders of the images by chance (R, V)."""
        generator = torch.Generator().manual_seed(seed)
        chance = torch.rand(len(strength), self.options.shuffles, generator=generator, dtype=strength.dtype)
        if self.options.similarity == "rank":
            return rank_correlation(strength, similarity, chance)
        return soft_wpmi(strength, similarity, chance, self.options.top, self.options.sharpness)

    def _named(self, concept: Concept, phrases: list[str], scores: Tensor, correlation: Tensor, p: float) -> Concept:
        """The concept with its words, unless chance would find as good ones."""
        best = scores.argsort(descending=True, stable=True)[: self.options.words].tolist()
        evidence = {
            **concept.evidence,
            "word_score": float(scores[best[0]]),
            "word_rank_correlation": float(correlation[best[0]]),
            "word_p": p,
        }
        if p > self.options.max_p:
            return replace(concept, evidence=evidence)
        words = tuple(phrases[i] for i in best)
        return replace(concept, name=words[0], words=words, evidence=evidence)
