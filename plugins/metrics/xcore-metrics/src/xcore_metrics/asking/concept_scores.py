"""How strongly the concepts of an explanation are in any samples, and the same for random concepts of their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_evidence.readings import presence as presence_of_phrases

from xcore.contract import Concept, Dictionary, Explanation, NotApplicable, Run, Samples
from xcore.models.codes import offset_of, rows_of
from xcore.models.presence import presence
from xcore_metrics.asking.texts import texts_of, vocabulary_of
from xcore_metrics.faithfulness.activations import opened

Scoring = Callable[[Samples], Tensor]
"""Samples -> (n, k) concept scores."""


@dataclass(frozen=True, eq=False)
class ConceptScores:
    """The scores of the k concepts that can be found in any samples."""

    variant: str
    """What the scores are: "codes", "directions" or "words", with the layer or model that they come from."""
    concepts: tuple[int, ...]
    """Indices of these concepts in the explanation."""
    of: Scoring
    random: Callable[[np.random.Generator], Scoring]
    """Draws k random concepts of the same kind."""


def in_activations(run: Run) -> tuple[int, ...]:
    """Indices of the concepts that are atoms of a dictionary or have a direction."""
    explanation = run.explanation
    coded = explanation.dictionary is not None
    return tuple(i for i, c in enumerate(explanation.concepts) if (coded and c.atom is not None) or c.directions)


def concept_scores(run: Run, background: Samples) -> ConceptScores:
    """The concepts' scores by the explanation's own dictionary or directions; where it has neither, by its words.

    Parameters
    ----------
    background
        Samples of all classes, whose activations random concepts are made of.

    Raises
    ------
    NotApplicable
        No concept has an atom, a direction or words.
    """
    found = in_activations(run)
    if found:
        return _by_activations(run, found, background)
    texts = texts_of(run)
    named = tuple(i for i, text in enumerate(texts) if isinstance(text, str))
    if not named:
        raise NotApplicable(
            "the concepts have neither atoms, directions nor words by which they could be found in held-out samples "
            "(maps are of the explained samples only)"
        )
    phrases = [text for text in texts if isinstance(text, str)]
    own = {*phrases, *(word for i in named for word in run.explanation.concepts[i].words)}
    others = [phrase for phrase in vocabulary_of(run) if phrase not in own]

    def random(rng: np.random.Generator) -> Scoring:
        if len(others) < len(phrases):
            raise NotApplicable(f"the vocabulary has no {len(phrases)} other phrases to compare with")
        drawn = [others[i] for i in rng.choice(len(others), len(phrases), replace=False)]
        return lambda samples: presence_of_phrases(run.task, samples, drawn)

    reader = run.task.model("image-text").name if run.heldout.modality == "image" else "in the text"
    return ConceptScores(
        f"words {reader}", named, lambda samples: presence_of_phrases(run.task, samples, phrases), random
    )


def _by_activations(run: Run, found: tuple[int, ...], background: Samples) -> ConceptScores:
    explanation, classifier = run.explanation, run.task.classifier
    dictionary = explanation.dictionary
    coded = dictionary is not None and any(c.atom is not None for c in explanation.concepts)
    layers = list(dict.fromkeys(layer for i in found for layer in explanation.concepts[i].directions))
    layer = dictionary.layer if coded and dictionary is not None else layers[0]

    def scoring(of: Explanation) -> Scoring:
        def strength(samples: Samples) -> Tensor:
            return presence(of, classifier, samples, with_maps=False).strength[:, list(found)].double()

        return strength

    def random(rng: np.random.Generator) -> Scoring:
        drawn = explanation
        if coded and dictionary is not None:
            drawn = replace(drawn, dictionary=_random_dictionary(run, dictionary, background, rng))
        concepts = tuple(_random_directions(run, c, background, rng) for c in drawn.concepts)
        return scoring(replace(drawn, concepts=concepts))

    kind = "codes" if coded else "directions"
    return ConceptScores(f"{kind} {layer}", found, scoring(explanation), random)


def _random_dictionary(run: Run, dictionary: Dictionary, background: Samples, rng: np.random.Generator) -> Dictionary:
    """A dictionary whose atoms are activations of random samples at random positions, as long as those of the given."""
    probe = opened(run, dictionary.layer)
    rows = rows_of(probe.activations(background), probe.layout).flatten(0, 1)
    state = dict(dictionary.state)
    k = len(dictionary.atoms)
    drawn = rows[rng.choice(len(rows), k, replace=len(rows) < k)].float().cpu()
    if "floor" in state:
        drawn = torch.maximum(drawn, state["floor"].float())
    drawn = (drawn - offset_of(dictionary, drawn.shape[1])) / state.get("scale", torch.ones(1)).float()
    unit = normalize(drawn, dim=1)
    if "encoder" in state:  # the matrix (C, k) makes the codes, not the atoms
        state["encoder"] = unit.T * state["encoder"].float().norm(dim=0)
    return replace(dictionary, atoms=unit * dictionary.atoms.float().norm(dim=1, keepdim=True), state=state)


def _random_directions(run: Run, concept: Concept, background: Samples, rng: np.random.Generator) -> Concept:
    """The concept with differences of the activations of two random samples, at one position each, as directions."""
    made: Mapping[str, Tensor] = {
        layer: _difference(run, layer, direction.numel(), background, rng)
        for layer, direction in concept.directions.items()
    }
    return replace(concept, directions=made)


def _difference(run: Run, layer: str, size: int, background: Samples, rng: np.random.Generator) -> Tensor:
    probe = opened(run, layer)
    a = probe.activations(background)
    rows = a.flatten(1) if size == a[0].numel() else rows_of(a, probe.layout).flatten(0, 1)
    one, other = rng.choice(len(rows), 2, replace=False)
    return (rows[one] - rows[other]).float().cpu()
