"""How the class answers to a concept of strength -2 to +2: pictures are edited, words are put in and taken out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from xcore_evidence import kept
from xcore_evidence.factorial import occurrences_of, put_in, without
from xcore_evidence.margins import margin
from xcore_evidence.observed import observed
from xcore_evidence.readings import gap_of, of_the_class, presence
from xcore_evidence.ridge import standardised

from xcore.contract import Generator, MissingError, NotApplicable, Samples, Task
from xcore.inputs.words import lemma, words
from xcore.models.outputs import probabilities, scores_of
from xcore.pretrained.drawing import check_can

Array = NDArray[np.float64]
DOSES: tuple[float, ...] = (-2, -1, 0, 1, 2)
"""At dose d a picture is edited with |d| / 2 of the greatest strength; a phrase is put into a text, or taken out of it,
|d| times."""
PICTURES, TEXTS = 160, 100
"""Pictures that are edited, half of them of the class, and texts that are changed, at each dose."""
NEUTRAL = 5
"""Phrases whose edits the asked ones are compared with: those that matter least by observed evidence."""
DESCRIBED = 2
"""Phrases that describe a picture in the prompts of its edits."""
LEAST = 5
"""Samples without which there is no curve."""
SEARCHED = 2000
"""Texts of the class among which those with a phrase are looked for."""
FROM_EDITS = (
    "margin of edited pictures, half of them of the class, less that of the same pictures edited as strongly without "
    "the concept"
)
FROM_WORDS = (
    "margin of texts of the class with the phrase put in, less that with their most frequent word put in at the same "
    "places; or with the phrase taken out, less that before"
)


@dataclass(frozen=True, eq=False)
class Dosed:
    """The answers of n samples to the doses of one concept."""

    doses: tuple[float, ...]
    probability: Array
    """(n, D) probability of the class; nan where a sample was not given a dose."""
    unchanged: Array
    """(n, D) the same for what the response is measured against."""
    response: Array
    """(n, D) the difference of the margins, as a share of the size of the class's gap."""
    shown: tuple[Samples | None, ...]
    """One sample at each dose; of texts one that has it."""
    says: str
    against: str
    """What the response is measured against, for the picture."""
    notes: tuple[str, ...] = ()


def dosing(
    task: Task, asked: Sequence[str], beside: Sequence[str], strength: float, at_most: int | None = None
) -> Callable[[str], Dosed]:
    """What gives the answers to doses of a phrase; what is the same for all phrases is done once.

    Pictures of the class and as many of others are edited towards the phrases that describe them and, at a dose above
    0, the asked one; at a dose below 0 away from it (as a negative prompt); with |d| / 2 of the strength. An edit
    changes the margin whatever phrase it is made towards or away from, so the response is the margin beyond that of the
    same picture edited with the same noise and strength towards, or away from, another phrase, drawn by chance from
    those of `beside` that do not describe it and matter least by observed evidence. (Most phrases speak against a
    class, so one that does not matter would rise beside any others.) Into texts the phrase is put |d| times at random
    places, and the response is the margin beyond that with the most frequent word there, since any word may part others
    that belong together; or it is taken out at its first |d| places, where a text has so many.

    Parameters
    ----------
    asked
        The phrases that doses are given of.
    beside
        Phrases that pictures are described by, and that edits are compared with; none says the same as an asked one.
    strength
        Strength of the edits at ±2, in (0, 1].
    at_most
        Number of samples; None = `PICTURES` or `TEXTS`.

    Raises
    ------
    MissingError
        Pictures are explained, and there is no generator.
    NotApplicable
        The generator cannot edit, or there are fewer than `LEAST` samples of the class.
    """
    gap = gap_size(task)
    if task.samples.modality == "text":
        return _worded(task, gap, at_most or TEXTS)
    return _edited(task, asked, beside, gap, strength, at_most or PICTURES)


def _edited(
    task: Task, asked: Sequence[str], beside: Sequence[str], gap: float, strength: float, at_most: int
) -> Callable[[str], Dosed]:
    generator = check_generator(task.generator)
    own = of_the_class(task, at_most // 2)
    own = own.take(slice(at_most // 2))
    _enough(len(own))
    given = Samples.concat([own, task.random_set(len(own), 0)])
    described, note = _descriptions(task, given, beside)
    n = len(given)
    seeds = [int.from_bytes(sha256(f"dose {task.seed} {i}".encode()).digest()[:6], "big") for i in range(n)]

    def changed(phrases: Sequence[str], dose: float) -> Samples:
        """The pictures, each edited towards its phrase (a dose above 0) or away from it."""
        if not dose:
            return given
        towards = phrases if dose > 0 else [""] * n
        prompts = [", ".join([*by, phrase] if phrase else by) for by, phrase in zip(described, towards, strict=True)]
        away = list(phrases) if dose < 0 and any(phrases) else None
        return kept.edited(task, generator, given, prompts, seeds, strength * abs(dose) / max(DOSES), away)

    rng = np.random.default_rng([task.seed, 131])
    neutral, compared = _neutral(task, asked, beside)
    free = [[phrase for phrase in neutral if phrase not in by] for by in described]
    others = [phrases[rng.integers(len(phrases))] if phrases else "" for phrases in free]
    plain = {d: answered(task, changed(others, d)) for d in DOSES}

    def of(phrase: str) -> Dosed:
        columns, shown = tables()
        probability, unchanged, response = columns
        for i, d in enumerate(DOSES):
            task.progress(i, len(DOSES), f"{phrase!r} at strength {d:g}")
            samples = changed([phrase] * n, d)
            (m, p), (before, chance) = answered(task, samples), plain[d]
            probability.append(p)
            unchanged.append(chance)
            response.append((m - before) / gap)
            shown.append(samples.take([0, len(own)]))
        against = "the same edits with another phrase" if any(others) else "the same edits without a phrase"
        return dosed(columns, shown, FROM_EDITS, against, note, *compared)

    return of


def least(modality: str) -> int:
    """The least number of samples that doses are given to: half of the pictures are of the class, and all texts."""
    return 2 * LEAST if modality == "image" else LEAST


def check_generator(generator: Generator | None) -> Generator:
    """The generator, if it can edit pictures.

    Raises
    ------
    MissingError
        There is none.
    NotApplicable
        It cannot edit.
    """
    if generator is None:
        raise MissingError("a dose-response of pictures needs a generator that edits", "name one with --generator REF")
    check_can(generator, "edit", "a dose-response", "name a diffusion pipeline with --generator REF")
    return generator


def _descriptions(task: Task, given: Samples, beside: Sequence[str]) -> tuple[list[list[str]], str]:
    """For each picture the phrases that set it apart from the others, and a note; none without an image-text model.

    An edit towards "grass" alone would draw a meadow without the animal.
    """
    if not beside:
        missing = (
            "what else the pictures show is not in the prompts of the edits, and edits are compared with edits without "
        )
        return [[] for _ in given.ids], missing + "a phrase: no phrases are beside the concepts"
    if "image-text" not in task.roles:
        missing = "what else the pictures show is not in the prompts of the edits: "
        return [[] for _ in given.ids], missing + "no model of the role image-text is named"
    z = standardised(presence(task, given, beside))
    most = z.argsort(dim=1, descending=True, stable=True)[:, :DESCRIBED].tolist()
    note = f"prompts hold the {DESCRIBED} phrases beside the concepts that set each picture apart, and the concept"
    return [[beside[j] for j in row] for row in most], note


def _neutral(task: Task, asked: Sequence[str], beside: Sequence[str]) -> tuple[list[str], list[str]]:
    """Phrases beside the asked ones that matter little, and a note of what edits are compared with.

    They are all phrases beside the asked ones if these are few, or if no image-text model can say which matter little.
    """
    if not beside:
        return [], []
    if len(beside) <= NEUTRAL or "image-text" not in task.roles:
        return list(beside), ["edits are compared with those by the phrases beside the concepts"]
    shares = {e.phrase: abs(e.share) for e in observed(task, [*asked, *beside]).estimates}
    chosen = sorted(beside, key=shares.__getitem__)[:NEUTRAL]
    names = ", ".join(map(repr, chosen))
    return chosen, [f"edits are compared with those by phrases that matter least by observed evidence: {names}"]


def _worded(task: Task, gap: float, at_most: int) -> Callable[[str], Dosed]:
    texts = of_the_class(task, SEARCHED)
    _enough(len(texts))
    common = Counter(word for text in texts.texts for word in words(text)).most_common()

    def of(phrase: str) -> Dosed:
        unit = tuple(lemma(word) for word in words(phrase))
        if not unit:
            raise NotApplicable(f"{phrase!r} has no words to put into texts", "name a phrase of letters")
        often = [occurrences_of(text, unit) for text in texts.texts]
        holding = sorted((i for i in range(len(texts)) if often[i]), key=lambda i: -min(often[i], 2))[: at_most // 2]
        others = [i for i in range(len(texts)) if not often[i]][: at_most - len(holding)]
        some, counts = texts.take([*holding, *others]), [often[i] for i in [*holding, *others]]
        plain = next((w for w, _ in common if lemma(w) not in unit), phrase)

        def changed(dose: float, rows: Sequence[int], put: str) -> Samples:
            """The texts with a dose of the phrase; what is put in is `put`, at the same places for every `put`."""
            made = []
            for i in rows:
                text, rng = some.texts[i], np.random.default_rng([task.seed, 127, i])
                if dose < 0:
                    text = without(text, unit, int(-dose))
                for _ in range(int(max(dose, 0))):
                    text = put_in(text, put, rng)
                made.append(text)
            return Samples("text", tuple(made), tuple(f"dose/{put}/{dose:g}/{some.ids[i]}" for i in rows))

        blank = np.full(len(some), np.nan)
        columns, shown = tables()
        probability, unchanged, response = columns
        for d in DOSES:
            have = [i for i, count in enumerate(counts) if count >= -d]
            if not have:
                for table in (probability, unchanged, response):
                    table.append(blank)
                shown.append(None)
                continue
            samples = changed(d, have, phrase)
            (m, p), (before, chance) = answered(task, samples), answered(task, changed(max(d, 0), have, plain))
            for table, values in ((probability, p), (unchanged, chance), (response, (m - before) / gap)):
                full = blank.copy()
                full[have] = values
                table.append(full)
            shown.append(samples.take([0]))
        once, twice = (sum(count >= d for count in counts) for d in (1, 2))
        note = f"{phrase!r} occurs in {once} of {len(counts)} texts, and twice or more in {twice}; what is put in is "
        note += f"compared with {plain!r}"
        return dosed(columns, shown, FROM_WORDS, "with another word, or before", note)

    return of


def gap_size(task: Task) -> float:
    """What responses are shares of: the size of the gap of the class."""
    return abs(gap_of(task))


def answered(task: Task, samples: Samples) -> tuple[Array, Array]:
    """(n,) margin and probability of the class."""
    logits: Tensor = task.classifier.logits(samples)
    share = probabilities(logits.double(), scores_of(task.classifier))[:, task.target]
    return margin(logits, task.target).numpy(), share.numpy()


Columns = tuple[list[Array], list[Array], list[Array]]
"""For each dose (n,) the probability of the class, that without the change, and the response."""


def tables() -> tuple[Columns, list[Samples | None]]:
    """Empty columns, and an empty list of the samples that are shown."""
    return ([], [], []), []


def dosed(
    columns: Columns,
    shown: Sequence[Samples | None],
    says: str,
    against: str,
    *notes: str,
) -> Dosed:
    """The answers from their columns."""
    probability, unchanged, response = (np.stack(table, 1) for table in columns)
    return Dosed(DOSES, probability, unchanged, response, tuple(shown), says, against, notes)


def _enough(n: int) -> None:
    if n < LEAST:
        raise NotApplicable(
            f"a dose-response needs {LEAST} samples of the class, and there {'is' if n == 1 else 'are'} {n}",
            "give more samples of the class",
        )
