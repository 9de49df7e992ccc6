"""Evidence of pictures that were made by random combinations of phrases: what drawn scenes and edited pictures share.

What is in a prompt was put there by chance, so nothing but the generator itself confounds its effect. What a picture
shows is more than its prompt asks for and says more of the classifier, but is not assigned by us. Both are estimated;
see `evidence_of`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xcore.contract import NotApplicable, Samples, Task
from xcore_evidence import ridge
from xcore_evidence.estimates import Evidence, Kind, estimates
from xcore_evidence.margins import margin
from xcore_evidence.observed import plain, ranges, reading_notes
from xcore_evidence.readings import gap_of
from xcore_evidence.statistics import one_sided, unskewed

PERMUTATIONS = 9999
"""Random assignments behind a p-value. With fewer, Holm's correction over many phrases could not mark any."""
CHUNK = 1000
"""Random assignments that are computed at once."""
BLOCK = 100
"""Pictures that are kept together: 400 are the first 400 of 1,500."""
TIED = 0.02
"""Strength of the ridge on what was in the prompt, or on which words are in a text."""
SHOWN = 0.05
"""Level of the test, for each phrase, of whether the pictures of prompts with it show it more than others."""


@dataclass(frozen=True, eq=False)
class Made:
    """Pictures that a generator made by random combinations of k phrases."""

    samples: Samples
    """n pictures."""
    asked: Tensor
    """(n, k) 1 where the phrase was in the prompt, otherwise 0."""
    read: Tensor | None
    """(n, k) presence of the phrases in the pictures; None without a model of the role image-text."""
    given: Samples | None = None
    """What was edited; None if the pictures were drawn anew."""
    source: tuple[int, ...] = ()
    """(n,) index of the given picture that each was made of; empty if they were drawn anew."""


@dataclass(frozen=True)
class Wording:
    """How evidence of one kind is told."""

    kind: Kind
    made: str
    """What its pictures are."""
    says_shown: str
    says_prompt: str
    unit_shown: str
    unit_prompt: str


def evidence_of(
    task: Task,
    phrases: Sequence[str],
    made: Made,
    wording: Wording,
    *,
    permutations: int,
    penalty: float | None,
    alpha: float,
    minimum: float,
    notes: Sequence[str] = (),
) -> Evidence:
    """The evidence of pictures that were made by random combinations of phrases.

    The margin is regressed on what the pictures show, as `xcore_evidence.observed` does with pictures of the data. The
    effect of having a phrase in the prompt is estimated jointly, too, on the margin less that before the edit, and is
    in the details. Without readings it is the estimate; its p-values come from random assignments of the same prompts
    to the pictures, and are exact where no phrase at all has an effect, also if pictures were used more than once.

    Where given pictures were edited more than once, the errors of what is shown are clustered by the given picture.

    Parameters
    ----------
    permutations, penalty, alpha, minimum
        See `xcore_evidence.factorial.factorial`.

    Raises
    ------
    NotApplicable
        There are too few pictures for so many phrases, or the margin is the same for all of them.
    """
    n, k = made.asked.shape
    degrees = ridge.degrees_left(n, k, wording.made)
    after = margin(task.classifier.logits(made.samples), task.target)
    moved, groups = after, None
    if made.given is not None:
        moved = after - margin(task.classifier.logits(made.given), task.target)[list(made.source)]
        groups = made.source if len(made.given) < n else None
    gap = gap_of(task)
    rng = np.random.default_rng([task.seed, 89])
    effects, errors, p, p_against = by_chance(
        jointly(made.asked, intercept=True),
        moved,
        lambda c: moved[torch.from_numpy(rng.permuted(np.tile(np.arange(n), (c, 1)), axis=1))].T,
        permutations,
        minimum * abs(gap),
    )
    prompt = {
        "prompt_effect": effects,
        "prompt_t": t_of(effects, errors),
        "prompt_p": torch.tensor(p, dtype=after.dtype),
        "prompt_p_against": torch.tensor(p_against, dtype=after.dtype),
    }
    if made.read is None:
        return Evidence(
            kind=wording.kind,
            says=wording.says_prompt,
            unit=wording.unit_prompt,
            estimates=estimates(
                phrases,
                effects.tolist(),
                errors.tolist(),
                degrees=degrees,
                ranges=[1.0] * k,
                gap=gap,
                alpha=alpha,
                minimum=minimum,
                details=details_of(prompt, k),
                p_values=(p, p_against),
            ),
            n=n,
            gap=gap,
            covariance=plain(covariance(made.asked, moved, intercept=True)),
            degrees=degrees,
            notes=(*notes, f"what the {wording.made} show was not read: no model of the role image-text is named"),
        )
    read = made.read
    found = ridge.fit(read, after, penalty=penalty, groups=groups, seed=task.seed)
    if groups is not None:
        degrees = min(degrees, len(set(groups)) - 1)
    t = t_of(found.coefficients, found.errors)
    straight = [unskewed(*pair) for pair in zip(t.tolist(), found.skews.tolist(), strict=True)]
    up, down = one_sided(straight, degrees)
    together = (ridge.standardised(read) * ridge.standardised(made.asked)).mean(0)
    figures = {
        **prompt,
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
        kind=wording.kind,
        says=wording.says_shown,
        unit=wording.unit_shown,
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
            details=details_of(figures, k),
        ),
        n=n,
        gap=gap,
        explained=found.explained,
        penalty=found.penalty,
        alike=same,
        covariance=plain(found.covariance),
        degrees=degrees,
        notes=(
            *notes,
            *_check(phrases, together, n, wording.made),
            *reading_notes(phrases, read, same, found.explained, "image"),
        ),
    )


def combined(phrases: Sequence[str], n: int, at_once: int, seed: int, what: str) -> tuple[list[str], list[int], Tensor]:
    """n prompts of random combinations of k phrases, the seed of the noise of each, and (n, k) which phrases are in it.

    Parameters
    ----------
    what
        Goes into the seeds, so that other kinds of pictures have other noise.
    """
    hands = dealt(len(phrases), n, at_once, seed)
    prompts = [", ".join(phrases[c] for c in hand) for hand in hands]
    asked = torch.zeros(n, len(phrases), dtype=torch.float64)
    for row, hand in enumerate(hands):
        asked[row, list(hand)] = 1.0
    seeds = [int.from_bytes(hashlib.sha256(f"{what} {seed} {i}".encode()).digest()[:6], "big") for i in range(n)]
    return prompts, seeds, asked


def two_or_more(phrases: Sequence[str]) -> None:
    """Raise `NotApplicable` if there are fewer than two phrases to combine."""
    if len(phrases) < 2:
        raise NotApplicable(
            f"random combinations need two phrases or more, and there is {len(phrases)}",
            "name more phrases, or use observed evidence, which can do with one",
        )


def _check(phrases: Sequence[str], together: Tensor, n: int, made: str) -> list[str]:
    """Whether the pictures show what their prompts asked for."""
    notes = [f"what a prompt asks for and what its picture shows correlate by {float(together.mean()):.2f} on average"]
    t = together * ((n - 2) / (1 - together.square()).clamp_min(1e-12)).sqrt()
    p, _ = one_sided(t.tolist(), n - 2)
    unseen = [phrase for phrase, own in zip(phrases, p, strict=True) if own > SHOWN]
    if unseen:
        more = ", ..." if len(unseen) > 5 else ""
        notes.append(
            f"{len(unseen)} of {len(phrases)} phrases are not shown more by {made} that were asked for them, so that "
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
    z, solve, leverage, scale = _solved(columns, intercept)

    def statistic(y: Tensor) -> tuple[Tensor, Tensor]:
        y = y - y.mean(0) if intercept else y
        effects = solve @ y
        residual = (y - z @ effects) / (1 - leverage)[:, None]
        errors = (solve.square() @ residual.square()).sqrt()
        return effects / scale[:, None], errors / scale[:, None]

    return statistic


def covariance(columns: Tensor, y: Tensor, intercept: bool) -> Tensor:
    """(k, k) HC3 covariance of the effects that `jointly` gives for one response (n,)."""
    z, solve, leverage, scale = _solved(columns, intercept)
    y = y - y.mean() if intercept else y
    moved = solve * ((y - z @ (solve @ y)) / (1 - leverage)) / scale[:, None]
    found: Tensor = moved @ moved.T
    return found


def _solved(columns: Tensor, intercept: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled columns (n, k), what gives their coefficients (k, n), the leverage (n,) of rows, and the scales (k,)."""
    n, k = columns.shape
    centred = columns - columns.mean(0) if intercept else columns
    scale = centred.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.full_like(scale, torch.inf))
    z = centred / scale
    solve = torch.linalg.solve(z.T @ z + TIED * n * torch.eye(k, dtype=z.dtype), z.T)
    return z, solve, (z * solve.T).sum(1) + (1 / n if intercept else 0), scale


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
        t = torch.nan_to_num(t_of(*statistic(reassigned(min(CHUNK, permutations - start)))))
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


def t_of(effects: Tensor, errors: Tensor) -> Tensor:
    """Effects in standard errors; 0 where there is no error."""
    return torch.where(errors > 0, effects / errors, torch.zeros_like(effects))


def details_of(figures: dict[str, Tensor], k: int) -> list[dict[str, float]]:
    """The figures of each of k phrases."""
    return [{name: float(values[i]) for name, values in figures.items()} for i in range(k)]
