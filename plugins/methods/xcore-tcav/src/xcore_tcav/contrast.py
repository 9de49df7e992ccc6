"""Random sets made of the pictures of the other concepts, for concepts that are all pictures of one kind.

Painted stripes differ from photographs in the paint before they differ in the stripes, and so do painted bricks:
against photographs both may seem to matter. Against other paintings only what is painted tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from xcore.contract import Purpose, RandomSet, Samples, UsageError
from xcore_tcav.options import Counterparts, TcavOptions
from xcore_tcav.sources import ConceptSet, chosen_source

OTHERS = "others:"
"""What a rendering begins with whose random sets come from the concepts other than the one that it names."""

LEAST = 4
"""Concepts that are needed: fewer than three others say little about pictures of their kind."""


def renderings(sets: Sequence[ConceptSet], options: TcavOptions) -> tuple[list[str], list[str]]:
    """How the random sets of each concept set are rendered, and notes for the reader.

    Raises
    ------
    UsageError
        The option `contrast` asks for the other concepts, and there are too few.
    """
    as_concepts, asked = [s.render for s in sets], options.contrast == "others"
    from_folders = chosen_source(options) == "folders"
    if options.contrast == "random" or (not asked and (options.against or not from_folders)):
        return as_concepts, []
    size, counts = max(len(s.fit_samples) for s in sets), [len(_pictures(s)) for s in sets]
    pool = (sum(counts) - max(counts)) // 2  # where the fewest others are left
    lack = ""
    if len(sets) < LEAST:
        lack = f"at least {LEAST} concepts are needed, and there are {len(sets)}"
    elif pool < 2 * size:
        lack = f"they have too few pictures for random sets of {size}"
    if lack and asked:
        raise UsageError(f"random sets cannot be made of the other concepts: {lack}", "set tcav.contrast=random")
    if lack:
        return as_concepts, [
            "the random sets are samples of other classes, which may differ from the pictures of concepts in more than "
            f"the concept; the other concepts cannot take their place: {lack}"
        ]
    return [f"{OTHERS}{s.name}" for s in sets], [
        "the random sets of a concept are pictures of the other concepts (tcav.contrast=random takes samples of other "
        "classes, or those of --contrast)"
    ]


def null_rendering(render: str) -> str:
    """How the random sets of the null distribution are rendered for a concept whose random sets are rendered so.

    Those of all concepts together serve each of them: one null distribution, and not one for each concept.
    """
    return OTHERS if render.startswith(OTHERS) else render


def counterparts_of(render: str, options: TcavOptions) -> Counterparts:
    """What takes the place of a concept whose random sets are rendered so.

    Pictures of a few concepts that are alike are those of one concept, so coherent sets of them would be the concepts
    themselves: sets of other concepts are mixed.
    """
    return "mixed" if render.startswith(OTHERS) else options.counterparts


def with_others(random_set: RandomSet, sets: Sequence[ConceptSet], seed: int) -> RandomSet:
    """The random sets, which also give those of a rendering ``others:CONCEPT`` (``others:``: of all concepts).

    Of each other concept every second picture is for the negatives of CAVs and the ones between them are for the null
    distribution, so that the two share no picture.
    """
    order = [s.name for s in sets] + [""]
    rows: dict[tuple[str, Purpose], list[int]] = {}

    @cache
    def pictures() -> tuple[Samples, list[tuple[str, int]]]:
        """The pictures of all concepts, and the concept of each with its position among those of this concept."""
        parts = [_pictures(s) for s in sets]
        every = Samples.concat(parts)
        _ = every.digests  # which each draw takes with it, so that no picture is hashed again
        return every, [(s.name, i) for s, part in zip(sets, parts, strict=True) for i in range(len(part))]

    def draw(n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        if not render.startswith(OTHERS):
            return random_set(n, index, render, purpose)
        (every, of), name = pictures(), render.removeprefix(OTHERS)
        if (name, purpose) not in rows:
            odd = int(purpose == "null")
            rows[name, purpose] = [row for row, (own, i) in enumerate(of) if own != name and i % 2 == odd]
        pool = rows[name, purpose]
        rng = np.random.default_rng([seed, 3, order.index(name), int(purpose == "null"), index, n])
        return every.take([pool[i] for i in sorted(rng.choice(len(pool), size=n, replace=False).tolist())])

    return draw


def _pictures(concept: ConceptSet) -> Samples:
    """All pictures of a concept, each once."""
    known = set(concept.fit_samples.ids)
    more = [i for i, name in enumerate(concept.shown_samples.ids) if name not in known]
    return Samples.concat([concept.fit_samples, concept.shown_samples.take(more)]) if more else concept.fit_samples
