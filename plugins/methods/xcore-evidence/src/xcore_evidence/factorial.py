"""Evidence that is randomised: scenes drawn, or texts changed, by random combinations of phrases.

What is in a prompt was put there by chance, so nothing but the generator itself confounds its effect. What a drawing
shows is more than its prompt asks for and says more of the classifier, but is not assigned by us. Both are estimated;
see `factorial`. The classifier need only give logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from re import sub

import numpy as np
import torch
from torch import Tensor

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.inputs.words import WORD, lemma, words
from xcore_evidence import kept, ridge
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.observed import ranges, reading_notes
from xcore_evidence.readings import gap_of, occurrences, pool_of, presence
from xcore_evidence.statistics import one_sided, unskewed

DRAWINGS, TEXTS = 400, 4000
"""Scenes that are drawn, or texts that are written, if the caller names no number."""
AT_ONCE = 3
"""Phrases in a prompt."""
PERMUTATIONS = 9999
"""Random assignments behind a p-value. With fewer, Holm's correction over many phrases could not mark any."""
CHUNK = 1000
"""Random assignments that are computed at once."""
PENALTY = 0.3
"""As in `xcore_evidence.observed`."""
BLOCK = 100
"""Drawings that are kept together: 400 are the first 400 of 1,500."""
TIED = 0.02
"""Strength of the ridge on what was in the prompt, or on which words are in a text."""
SHOWN = 0.05
"""Level of the test, for each phrase, of whether the drawings of prompts with it show it more than others."""

SAYS_SHOWN = "association of the margin with what drawings show, whose prompts were assigned at random"
SAYS_PROMPT = "effect of the prompt on the margin, of prompts that were assigned at random"
SAYS_TEXT = "effect on the margin of a word that a coin puts into a text or takes out of it"
UNIT_SHOWN = "logits of the margin for one standard deviation of a phrase's presence in the drawings"
UNIT_PROMPT = "logits of the margin, of scenes with the phrase in their prompt, above the mean over all phrases"
UNIT_TEXT = "logits of the margin, of texts with the phrase less the same texts without it"


@dataclass(frozen=True, eq=False)
class Scenes:
    """Drawings of random combinations of k phrases."""

    samples: Samples
    """n drawings."""
    asked: Tensor
    """(n, k) 1 where the phrase was in the prompt, otherwise 0."""
    read: Tensor | None
    """(n, k) presence of the phrases in the drawings; None without a model of the role image-text."""


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
    drawn: Scenes | None = None,
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
    _two_or_more(phrases)
    if task.samples.modality == "text":
        return _of_texts(task, phrases, drawings or TEXTS, at_once, permutations, alpha, minimum)
    drawn = drawn or scenes_read(task, phrases, drawings or DRAWINGS, at_once)
    return _of_scenes(task, phrases, drawn, permutations, penalty, alpha, minimum)


def _two_or_more(phrases: Sequence[str]) -> None:
    if len(phrases) < 2:
        raise NotApplicable(
            f"random combinations need two phrases or more, and there is {len(phrases)}",
            "name more phrases, or use observed evidence, which can do with one",
        )


def _of_scenes(
    task: Task,
    phrases: Sequence[str],
    drawn: Scenes,
    permutations: int,
    penalty: float | None,
    alpha: float,
    minimum: float,
) -> Evidence:
    drawings, asked, read = len(drawn.samples), drawn.asked, drawn.read
    degrees = ridge.degrees_left(drawings, len(phrases), "drawings")
    y = margin(task.classifier.logits(drawn.samples), task.target)
    gap, k = gap_of(task), len(phrases)
    rng = np.random.default_rng([task.seed, 89])
    effects, errors, p, p_against = by_chance(
        jointly(asked, intercept=True),
        y,
        lambda c: y[torch.from_numpy(rng.permuted(np.tile(np.arange(drawings), (c, 1)), axis=1))].T,
        permutations,
        minimum * abs(gap),
    )
    prompt = {
        "effect": effects,
        "t": _t(effects, errors),
        "p": torch.tensor(p, dtype=y.dtype),
        "p_against": torch.tensor(p_against, dtype=y.dtype),
    }
    if read is None:
        return Evidence(
            kind="factorial",
            says=SAYS_PROMPT,
            unit=UNIT_PROMPT,
            estimates=estimates(
                phrases,
                effects.tolist(),
                errors.tolist(),
                degrees=degrees,
                ranges=[1.0] * k,
                gap=gap,
                alpha=alpha,
                minimum=minimum,
                details=_details({f"prompt_{name}": values for name, values in prompt.items()}, k),
                p_values=(p, p_against),
            ),
            n=drawings,
            gap=gap,
            notes=("what the drawings show was not read: no model of the role image-text is named",),
        )
    found = ridge.fit(read, y, penalty=penalty, seed=task.seed)
    t = _t(found.coefficients, found.errors)
    moved = [unskewed(*pair) for pair in zip(t.tolist(), found.skews.tolist(), strict=True)]
    up, down = one_sided(moved, degrees)
    together = (ridge.standardised(read) * ridge.standardised(asked)).mean(0)
    figures = {
        **{f"prompt_{name}": values for name, values in prompt.items()},
        "shown_effect": found.coefficients,
        "shown_t": t,
        "shown_p": torch.tensor(up, dtype=t.dtype),
        "shown_p_against": torch.tensor(down, dtype=t.dtype),
        "drawn_as_asked": together,
        "spread": read.std(0, correction=0),
        "inflation": ridge.inflation(read),
    }
    same = tuple((phrases[i], phrases[j]) for i, j in ridge.alike(read))
    return Evidence(
        kind="factorial",
        says=SAYS_SHOWN,
        unit=UNIT_SHOWN,
        estimates=estimates(
            phrases,
            found.coefficients.tolist(),
            found.errors.tolist(),
            degrees=degrees,
            ranges=ranges(read).tolist(),
            gap=gap,
            alpha=alpha,
            minimum=minimum,
            skews=found.skews.tolist(),
            details=_details(figures, k),
        ),
        n=drawings,
        gap=gap,
        explained=found.explained,
        penalty=found.penalty,
        alike=same,
        notes=(
            *_check(phrases, together, drawings),
            *reading_notes(phrases, read, same, found.explained, "image"),
        ),
    )


def _check(phrases: Sequence[str], together: Tensor, n: int) -> list[str]:
    """Whether the drawings show what their prompts asked for."""
    notes = [f"what a prompt asks for and what its drawing shows correlate by {float(together.mean()):.2f} on average"]
    t = together * ((n - 2) / (1 - together.square()).clamp_min(1e-12)).sqrt()
    p, _ = one_sided(t.tolist(), n - 2)
    unseen = [phrase for phrase, own in zip(phrases, p, strict=True) if own > SHOWN]
    if unseen:
        more = ", ..." if len(unseen) > 5 else ""
        notes.append(
            f"{len(unseen)} of {len(phrases)} phrases are not shown more by drawings that were asked for them, so that "
            f"the effects of their prompts say nothing of them: {', '.join(unseen[:5])}{more}"
        )
    return notes


def jointly(columns: Tensor, intercept: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The regression on these columns: (n, c) responses -> effects and HC3 standard errors of the k columns, (k, c).

    A weak ridge (`TIED`) shares what cannot be told apart, as all indicators together and the intercept, among the
    columns: an effect is above the mean over all phrases. A column of zeros has effect and error 0.

    Parameters
    ----------
    columns
        (n, k), such as indicators.
    intercept
        Whether the responses have a mean of their own.
    """
    n, k = columns.shape
    centred = columns - columns.mean(0) if intercept else columns
    scale = centred.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.full_like(scale, torch.inf))
    z = centred / scale
    solve = torch.linalg.solve(z.T @ z + TIED * n * torch.eye(k, dtype=z.dtype), z.T)
    leverage = (z * solve.T).sum(1) + (1 / n if intercept else 0)

    def statistic(y: Tensor) -> tuple[Tensor, Tensor]:
        y = y - y.mean(0) if intercept else y
        effects = solve @ y
        residual = (y - z @ effects) / (1 - leverage)[:, None]
        errors = (solve.square() @ residual.square()).sqrt()
        return effects / scale[:, None], errors / scale[:, None]

    return statistic


def by_chance(
    statistic: Callable[[Tensor], tuple[Tensor, Tensor]],
    y: Tensor,
    reassigned: Callable[[int], Tensor],
    permutations: int,
    least: float = 0.0,
) -> tuple[Tensor, Tensor, list[float], list[float]]:
    """Effects, standard errors, and one-sided p-values (raises, lowers) by the t statistics of random assignments.

    Parameters
    ----------
    statistic
        (n, c) responses -> effects and standard errors of k phrases, (k, c) each.
    y
        (n,) the response.
    reassigned
        c -> (n, c) responses under c random assignments.
    permutations
        Number of random assignments.
    least
        Effect that is to be exceeded, at least 0.
    """
    effects, errors = (values[:, 0] for values in statistic(y[:, None]))
    known = errors.isfinite() & (errors > 1e-12 * max(1.0, float(y.abs().max())))
    errors = torch.where(known, errors, torch.full_like(errors, torch.nan))
    raises, lowers = (effects - least) / errors, (effects + least) / errors
    above, below = (torch.zeros(len(effects), dtype=y.dtype) for _ in range(2))
    for start in range(0, permutations, CHUNK):
        t = torch.nan_to_num(_t(*statistic(reassigned(min(CHUNK, permutations - start)))))
        # equal ones count, and the same sums in another order are equal only nearly
        above += (t >= raises[:, None] - 1e-9).sum(1)
        below += (t <= lowers[:, None] + 1e-9).sum(1)
    up, down = ((1 + count) / (1 + permutations) for count in (above, below))
    one = torch.ones_like(up)
    return effects, errors, torch.where(known, up, one).tolist(), torch.where(known, down, one).tolist()


def dealt(k: int, n: int, at_once: int, seed: int) -> list[tuple[int, ...]]:
    """n hands of different cards out of k, dealt from shuffled decks: the first of them are the same for every n.

    A hand holds at most half of the cards. Each card is dealt as often as any other, but for one time. A card that a
    hand holds already when a deck runs out goes to the end of the new deck.
    """
    rng, at_once = np.random.default_rng([seed, 83]), max(1, min(at_once, k // 2))
    deck, hands = list[int](), list[tuple[int, ...]]()
    for _ in range(n):
        hand = deck[:at_once]
        deck = deck[at_once:]
        if len(hand) < at_once:
            fresh = rng.permutation(k).tolist()
            deck = [c for c in fresh if c not in hand] + [c for c in fresh if c in hand]
            missing = at_once - len(hand)
            hand, deck = hand + deck[:missing], deck[missing:]
        hands.append(tuple(hand))
    return hands


def scenes_read(task: Task, phrases: Sequence[str], drawings: int, at_once: int) -> Scenes:
    """Drawings of random combinations of phrases, and what they show.

    Raises
    ------
    MissingError
        The task has no generator.
    NotApplicable
        There are fewer than two phrases, or too few drawings for so many: known before anything is drawn.
    """
    _two_or_more(phrases)
    ridge.degrees_left(drawings, len(phrases), "drawings")
    drawn, asked = scenes(task, phrases, drawings, at_once)
    return Scenes(drawn, asked, presence(task, drawn, phrases) if "image-text" in task.roles else None)


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
    hands = dealt(len(phrases), drawings, at_once, task.seed)
    prompts = [", ".join(phrases[c] for c in hand) for hand in hands]
    seeds = [_seed(task.seed, i) for i in range(drawings)]
    blocks = [slice(start, start + BLOCK) for start in range(0, drawings, BLOCK)]
    drawn = Samples.concat([kept.drawn(task, task.generator, prompts[b], seeds[b]) for b in blocks])
    asked = torch.zeros(drawings, len(phrases), dtype=torch.float64)
    for row, hand in enumerate(hands):
        asked[row, list(hand)] = 1.0
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
            details=_details({"pairs": different, "written_as_asked": as_asked}, k),
            p_values=(p, p_against),
        ),
        n=2 * len(first),
        gap=gap,
        notes=pool.notes,
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
                changed = _with(changed, phrases[units[names[i]]], rng)
                signs[row, i] += sign
            made[version].append(changed)
    column = {unit: i for i, unit in enumerate(names)}
    none = torch.zeros(pairs, dtype=torch.float64)
    return *made, torch.stack([signs[:, column[unit]] if unit else none for unit in lemmas], 1)


def without(text: str, unit: tuple[str, ...]) -> str:
    """A text without the words of these lemmas, wherever they follow one another."""
    for start, end in reversed(_spans(text, unit)):
        text = text[:start] + text[end:]
    return sub(r"\s+(?=[,.;:!?]|$)|(?<=\s)\s+", "", text).strip()


def _with(text: str, phrase: str, rng: np.random.Generator) -> str:
    """A text with a phrase before or after one of its words, by chance."""
    ends = [0, *(match.end() for match in WORD.finditer(text))]
    at = ends[int(rng.integers(len(ends)))]
    return f"{text[:at]} {phrase}{text[at:]}" if at else f"{phrase} {text}".strip()


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


def _t(effects: Tensor, errors: Tensor) -> Tensor:
    """Effects in standard errors; 0 where there is no error."""
    return torch.where(errors > 0, effects / errors, torch.zeros_like(effects))


def _details(figures: dict[str, Tensor], k: int) -> list[dict[str, float]]:
    return [{name: float(values[i]) for name, values in figures.items()} for i in range(k)]


def _seed(seed: int, i: int) -> int:
    """The seed of the noise of drawing i."""
    return int.from_bytes(hashlib.sha256(f"factorial {seed} {i}".encode()).digest()[:6], "big")
