"""Evidence that is randomised: scenes drawn, or texts changed, by random combinations of phrases.

The classifier need only give logits. `xcore_evidence.randomised` says how drawn scenes are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from re import sub

import numpy as np
import torch
from torch import Tensor

from xcore.contract import MissingError, Samples, Task
from xcore.inputs.words import WORD, lemma, words
from xcore_evidence import kept, ridge
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.observed import plain
from xcore_evidence.randomised import (
    BLOCK,
    PERMUTATIONS,
    Made,
    Wording,
    by_chance,
    combined,
    covariance,
    dealt,
    details_of,
    evidence_of,
    jointly,
    two_or_more,
)
from xcore_evidence.readings import gap_of, occurrences, pool_of, presence

DRAWINGS, TEXTS = 400, 4000
"""Scenes that are drawn, or texts that are written, if the caller names no number."""
AT_ONCE = 3
"""Phrases in a prompt."""
PENALTY = 0.3
"""As in `xcore_evidence.observed`."""

SCENES = Wording(
    kind="factorial",
    made="drawings",
    says_shown="association of the margin with what drawings show, whose prompts were assigned at random",
    says_prompt="effect of the prompt on the margin, of prompts that were assigned at random",
    unit_shown="logits of the margin for one standard deviation of a phrase's presence in the drawings",
    unit_prompt="logits of the margin, of scenes with the phrase in their prompt, above the mean over all phrases",
)
SAYS_TEXT = "effect on the margin of a word that a coin puts into a text or takes out of it"
UNIT_TEXT = "logits of the margin, of texts with the phrase less the same texts without it"


def factorial(
    task: Task,
    phrases: Sequence[str],
    *,
    drawings: int | None = None,
    at_once: int = AT_ONCE,
    permutations: int = PERMUTATIONS,
    penalty: float | None = PENALTY,
    alpha: float = 0.05,
    minimum: float = 0.0,
    drawn: Made | None = None,
) -> Evidence:
    """The evidence of scenes that are drawn from random combinations of phrases, or of texts that are changed so.

    Of pictures the margin is regressed on what the drawings show, read by the model of the role image-text, as
    `xcore_evidence.observed` does with pictures of the data. The effect of having a phrase in the prompt, whether it
    is seen or not, is estimated jointly, too, and is in the details of each estimate. Without a model of the role
    image-text it is the estimate.

    Of texts, each is written in two versions. A coin decides in which of them a phrase that occurs in it is kept, all
    its inflections; in the other they are taken out. Into each version `at_once` phrases that do not occur are put at
    random places. The difference of their margins is regressed on which phrases are in the one or in the other.

    p-values of effects of the prompt, and of words, come from random assignments of the same prompts to the drawings,
    or of the versions to the coins. They are exact where no phrase at all has an effect. Holm's correction follows; the
    columns are nearly uncorrelated by design, so that a correction that knows their correlation would gain little.

    Parameters
    ----------
    task
        Its classifier need only give logits.
    phrases
        k candidate phrases, at least two.
    drawings
        Number of scenes or texts; None = `DRAWINGS` or `TEXTS`.
    at_once
        Phrases in a prompt, or put into each version of a text, at least 1; at most half of the phrases are.
    permutations
        Random assignments behind a p-value.
    penalty
        Strength of the ridge on what the drawings show; None = chosen by cross-validation.
    alpha
        Family-wise error rate of the marks of each side.
    minimum
        Least effect of a mark, as a share of the class's gap.
    drawn
        Of pictures, what `scenes_read` gave for the same task, phrases and numbers; None = drawn and read here.

    Raises
    ------
    MissingError
        Pictures are explained, and the task has no generator.
    NotApplicable
        There are fewer than two phrases, too few drawings for so many, or the margin is the same for all drawings.
    """
    two_or_more(phrases)
    if task.samples.modality == "text":
        return _of_texts(task, phrases, drawings or TEXTS, at_once, permutations, alpha, minimum)
    drawn = drawn or scenes_read(task, phrases, drawings or DRAWINGS, at_once)
    return evidence_of(
        task, phrases, drawn, SCENES, permutations=permutations, penalty=penalty, alpha=alpha, minimum=minimum
    )


def scenes_read(task: Task, phrases: Sequence[str], drawings: int, at_once: int) -> Made:
    """Drawings of random combinations of phrases, and what they show.

    Raises
    ------
    MissingError
        The task has no generator.
    NotApplicable
        There are fewer than two phrases, or too few drawings for so many: known before anything is drawn.
    """
    two_or_more(phrases)
    ridge.degrees_left(drawings, len(phrases), "drawings")
    drawn, asked = scenes(task, phrases, drawings, at_once)
    return Made(drawn, asked, presence(task, drawn, phrases) if "image-text" in task.roles else None)


def scenes(task: Task, phrases: Sequence[str], drawings: int, at_once: int) -> tuple[Samples, Tensor]:
    """Drawings of random combinations of phrases, each with noise of its own, and (n, k) which phrases were asked for.

    They depend on the seed of the task and on its generator, not on the class or the classifier, and are shared by all
    (see `xcore_evidence.kept`).
    """
    if task.generator is None:
        raise MissingError(
            "evidence of drawn scenes needs a generator that draws pictures",
            "name one with --generator REF, or use observed evidence, which needs none",
        )
    prompts, seeds, asked = combined(phrases, drawings, at_once, task.seed, "factorial")
    blocks = [slice(start, start + BLOCK) for start in range(0, drawings, BLOCK)]
    drawn = Samples.concat([kept.drawn(task, task.generator, prompts[b], seeds[b]) for b in blocks])
    return drawn, asked


def _of_texts(
    task: Task,
    phrases: Sequence[str],
    texts: int,
    at_once: int,
    permutations: int,
    alpha: float,
    minimum: float,
) -> Evidence:
    pool = pool_of(task, max(texts // 2, len(task.data.classes)), 0)
    degrees = ridge.degrees_left(texts // 2, len(phrases), "pairs of texts")
    first, second, signs = versions(pool.samples.texts, phrases, texts // 2, at_once, task.seed)
    samples = Samples("text", (*first, *second), tuple(f"worded/{task.seed}/{i}" for i in range(2 * len(first))))
    margins = margin(task.classifier.logits(samples), task.target)
    d = margins[: len(first)] - margins[len(first) :]
    gap, k = gap_of(task), len(phrases)
    rng = np.random.default_rng([task.seed, 97])
    effects, errors, p, p_against = by_chance(
        jointly(signs, intercept=False),
        d,
        lambda c: d[:, None] * torch.from_numpy(rng.choice([-1.0, 1.0], (len(d), c))),
        permutations,
        minimum * abs(gap),
    )
    occurs = occurrences((*first, *second), phrases)
    apart = occurs[: len(first)] - occurs[len(first) :]
    as_asked = (signs * apart).sum(0) / signs.abs().sum(0)
    different = signs.abs().sum(0)
    return Evidence(
        kind="factorial",
        says=SAYS_TEXT,
        unit=UNIT_TEXT,
        estimates=estimates(
            phrases,
            torch.nan_to_num(effects).tolist(),
            errors.tolist(),
            degrees=degrees,
            ranges=[1.0] * k,
            gap=gap,
            alpha=alpha,
            minimum=minimum,
            details=details_of({"pairs": different, "written_as_asked": as_asked}, k),
            p_values=(p, p_against),
        ),
        n=2 * len(first),
        gap=gap,
        notes=pool.notes,
        covariance=plain(covariance(signs, d, intercept=False)),
        degrees=degrees,
    )


def versions(
    texts: Sequence[str], phrases: Sequence[str], pairs: int, at_once: int, seed: int
) -> tuple[list[str], list[str], Tensor]:
    """Two versions of each text, and (pairs, k) which phrase is in the first alone (1) or in the second alone (-1).

    A phrase that occurs in a text, in any inflection, is taken out of one of the versions, which one a coin decides for
    each phrase. Into each version `at_once` others are put, at random places between words, as they are written.
    Phrases of the same lemmas ("film", "films") are one. The texts are used in turn until there are enough pairs.
    """
    rng = np.random.default_rng([seed, 101])
    lemmas = [tuple(lemma(w) for w in words(p)) for p in phrases]
    units: dict[tuple[str, ...], int] = {}  # lemmas -> the first phrase that has them
    for i, unit in enumerate(lemmas):
        if unit:
            units.setdefault(unit, i)
    names = list(units)
    hands = dealt(len(names), 2 * pairs, at_once, seed)
    made: tuple[list[str], list[str]] = ([], [])
    signs = torch.zeros(pairs, len(names), dtype=torch.float64)
    for row in range(pairs):
        text = texts[row % len(texts)]
        known = {own for _, _, own in _lemmas(text)}
        there = [i for i, unit in enumerate(names) if unit[0] in known and _spans(text, unit)]
        for i in there:
            signs[row, i] = rng.choice([-1.0, 1.0])
        for version, sign in enumerate((1.0, -1.0)):
            new = [i for i in hands[2 * row + version] if i not in there]
            changed = text
            for i in there:
                if signs[row, i] != sign:
                    changed = without(changed, names[i])
            for i in new:
                changed = put_in(changed, phrases[units[names[i]]], rng)
                signs[row, i] += sign
            made[version].append(changed)
    column = {unit: i for i, unit in enumerate(names)}
    none = torch.zeros(pairs, dtype=torch.float64)
    return *made, torch.stack([signs[:, column[unit]] if unit else none for unit in lemmas], 1)


def without(text: str, unit: tuple[str, ...], most: int | None = None) -> str:
    """A text without the words of these lemmas, wherever they follow one another, or at the first `most` places."""
    for start, end in reversed(_spans(text, unit)[:most]):
        text = text[:start] + text[end:]
    return sub(r"\s+(?=[,.;:!?]|$)|(?<=\s)\s+", "", text).strip()


def put_in(text: str, phrase: str, rng: np.random.Generator) -> str:
    """A text with a phrase before or after one of its words, by chance."""
    ends = [0, *(match.end() for match in WORD.finditer(text))]
    at = ends[int(rng.integers(len(ends)))]
    return f"{text[:at]} {phrase}{text[at:]}" if at else f"{phrase} {text}".strip()


def occurrences_of(text: str, unit: tuple[str, ...]) -> int:
    """How often words of these lemmas follow one another in a text."""
    return len(_spans(text, unit))


def _spans(text: str, unit: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where words of these lemmas follow one another, from the first letter to the last; spans do not overlap."""
    places, found = _lemmas(text), [(0, 0)]
    for i in range(len(places) - len(unit) + 1):
        run = places[i : i + len(unit)]
        if tuple(own for _, _, own in run) == unit and run[0][0] >= found[-1][1]:
            found.append((run[0][0], run[-1][1]))
    return found[1:]


@lru_cache(maxsize=4096)
def _lemmas(text: str) -> tuple[tuple[int, int, str], ...]:
    """Start, end and lemma of each word of a text."""
    return tuple((m.start(), m.end(), lemma(words(m.group())[0])) for m in WORD.finditer(text))
