"""Seed prompts, the actions of the policy: the user's own, or phrases that are ranked on the class samples.

Phrases come from the vocabulary of the data set, a file or a list of everyday attributes, or from questions that a
model answers about patches of the class images, after the seed prompts of Taparia et al., arXiv:2408.13438, and their
released code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from xcore_evidence.phrases import candidates, without_class_name

from xcore.contract import (
    Embedder,
    Generator,
    ImageText,
    MissingError,
    NotApplicable,
    Samples,
    Task,
    UsageError,
    VisualQuestionAnswering,
)
from xcore.inputs.everyday import EVERYDAY
from xcore.inputs.words import lemma, words
from xcore_rlpo.options import Options

QUESTIONS = (
    "what is the pattern in the image?",
    "what are the colors in the image?",
    "what is the background color of the image?",
    "what is in the background of the image?",
    "what is the primary texture in the image?",
    "what is the secondary texture in the image?",
    "what is the shape in the image?",
)
"""The standard questions about every patch; questions of a task ("what is the gender?") come after these."""

ASKED_AT_ONCE = 64
"""Patches that a model is asked about in one call: one call for each image takes three times as long."""
EMPTY_ANSWERS = frozenset({"", "none", "nothing"})
"""Answers that name nothing, as words in lower case."""

LISTED = 5
"""How many seed words a note lists by name."""


@dataclass(frozen=True)
class SeedPrompts:
    """The seed prompts, in the order of the actions."""

    phrases: tuple[str, ...]
    prior: tuple[float, ...] | None = None
    """Mean probability of each phrase by the embedding model, in [0, 1]; None where it did not rank them."""
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    """The phrases that they were chosen from, or those of the vocabulary beside your own; without the class name."""


def choose(task: Task, options: Options) -> SeedPrompts:
    """The seed prompts of a task.

    Raises
    ------
    NotApplicable
        For ``seeds="vqa"`` or a ``grid`` on texts.
    MissingError
        If there is no vocabulary, or no answer names anything, or all phrases contain the class name; for
        ``seeds="vqa"`` without a model that answers questions.
    """
    if task.samples.modality == "text" and options.grid > 1:
        raise NotApplicable(
            f"rlpo.grid={options.grid} cuts images into patches, but these samples are texts", "leave rlpo.grid at 1"
        )
    beside = without_class_name(
        task.vocabulary or (EVERYDAY if task.samples.modality == "image" else ()), task.target_name
    )
    if options.prompts and not options.ranks:
        return SeedPrompts(options.prompts, beside=beside)
    from_answers = not options.prompts and _uses_answers(task, options)
    notes: tuple[str, ...] = ()
    if from_answers:
        phrases, notes = phrases_from_answers(task, options)
        beside = phrases
    elif options.prompts:
        phrases = options.prompts
    else:
        phrases, notes = candidates(task, (), options.vocabulary, "rlpo.vocabulary", "--set rlpo.prompts=a,b,c")
        beside = phrases
    embed = embedding(task)
    texts = normalize(embed(Samples("text", phrases, phrases)), dim=1)
    if from_answers:  # of two answers that count as one, the more frequent one stays
        kept = distinct(texts, options.dedup)
        phrases, texts = tuple(phrases[i] for i in kept), texts[kept]
    scores = probabilities(embed(pieces(task.samples, options.grid)), texts, options.logit_scale)
    order = torch.argsort(scores, descending=True, stable=True).tolist()
    if not options.prompts:
        kept = distinct(texts[order], options.dedup)[: options.actions]
        order = [order[i] for i in kept]
    return SeedPrompts(tuple(phrases[i] for i in order), tuple(float(scores[i]) for i in order), notes, beside)


def _uses_answers(task: Task, options: Options) -> bool:
    """Whether phrases come from answers to questions."""
    if options.seeds == "auto":
        return not options.vocabulary and task.samples.modality == "image" and "vqa" in task.roles
    if options.seeds == "vqa" and task.samples.modality != "image":
        raise NotApplicable(
            "rlpo.seeds=vqa asks about images, but these samples are texts", "use rlpo.seeds=vocabulary"
        )
    return options.seeds == "vqa"


def phrases_from_answers(task: Task, options: Options) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrases that a model answers about the class images, most frequent first, and a note of what was dropped.

    Answers with the class name are dropped before forms of one phrase are merged, as in the authors' released code.
    """
    model: VisualQuestionAnswering = task.model("vqa")
    images = task.samples.take(range(min(len(task.samples), options.vqa_images)))
    questions = tuple(dict.fromkeys((*QUESTIONS, *options.questions)))

    def on_image(done: int) -> None:
        task.progress(0, options.search_steps + 2, f"asked about {done} of {len(images)} images")

    counts = ask(model, images, questions, options.vqa_grid, on_image)
    answers = {text: n for text, n in counts.items() if names_something(text)}
    usable = {text: answers[text] for text in without_class_name(tuple(answers), task.target_name)}
    phrases = tuple(merged(usable))
    all_given, naming, left = (sum(c.values()) for c in (counts, answers, usable))
    summary = (
        f"{all_given} answers about {len(images)} images: {all_given - naming} name nothing, {naming - left} contain "
        f"the class name, {len(phrases)} phrases are left"
    )
    if not phrases:
        raise MissingError(
            f"visual question answering gave no seed prompts ({summary})",
            "use rlpo.seeds=vocabulary, give rlpo.prompts, or add questions with rlpo.questions",
        )
    return phrases, (f"seed prompts come from {summary}",)


def ask(
    model: VisualQuestionAnswering,
    images: Samples,
    questions: Sequence[str],
    grid: int,
    on_image: Callable[[int], None] = lambda done: None,
) -> Counter[str]:
    """How often each answer was given, over images x patches x questions.

    Parameters
    ----------
    grid
        Each image is cut into grid x grid patches, and the questions are asked patch by patch, column by column.
    on_image
        Called with the number of images done, after some of them: the patches of several images are asked at once.

    Returns
    -------
    Answers as the model gave them, in the order in which they were first given.

    Raises
    ------
    UsageError
        The model does not give one answer to each question.
    """
    counts: Counter[str] = Counter()
    at_once = max(1, ASKED_AT_ONCE // grid**2)
    for start in range(0, len(images), at_once):
        some = range(start, min(start + at_once, len(images)))
        cut = Samples.concat([patches(images.take([i]), grid) for i in some])
        rows = [p for p in range(len(cut)) for _ in questions]
        answers = model.answer(cut.take(rows), [*questions] * len(cut))
        if len(answers) != len(rows):
            raise UsageError(
                f"the model of the role 'vqa' gave {len(answers)} answers to {len(rows)} questions",
                "it must give one answer to each; name another one with --model vqa=REF",
            )
        counts.update(" ".join(text.split()) for text in answers)
        on_image(some.stop)
    return counts


def names_something(text: str) -> bool:
    """Whether an answer has words, and says more than that there is nothing."""
    return " ".join(words(text)) not in EMPTY_ANSWERS


def merged(counts: Mapping[str, int]) -> dict[str, int]:
    """Answers with the same lemmas as one, under the form that was given most often; most frequent first.

    Ties are decided by the order of `counts`.
    """
    groups: dict[str, list[str]] = {}
    for text in _by_count(counts):
        groups.setdefault(lemmas(text), []).append(text)
    return _by_count({forms[0]: sum(counts[f] for f in forms) for forms in groups.values()})


def lemmas(text: str) -> str:
    """The English lemmas of a phrase's words, in lower case: zebras' stripes -> zebra stripe."""
    return " ".join(lemma(word) for word in words(text))


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts, largest first; ties in their order."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def distinct(texts: Tensor, threshold: float) -> list[int]:
    """Rows that survive greedy de-duplication: each kept row removes all later ones with a cosine above the threshold.

    Parameters
    ----------
    texts
        (k, d) unit rows; their order decides which one survives.
    """
    near = texts @ texts.T > threshold
    kept: list[int] = []
    for i in range(len(texts)):
        if not near[i, kept].any():
            kept.append(i)
    return kept


def probabilities(samples: Tensor, texts: Tensor, scale: float) -> Tensor:
    """(k,) softmax over k phrases of scaled cosines, averaged over samples.

    Parameters
    ----------
    samples
        (m, d) embeddings, of any length.
    texts
        (k, d) unit rows.
    """
    return (scale * normalize(samples, dim=1) @ texts.T).softmax(1).mean(0)


def embedding(task: Task) -> Callable[[Samples], Tensor]:
    """The model that embeds class samples and phrases in one space, (n, d); which one depends on the modality."""
    if task.samples.modality == "text":
        embedder: Embedder = task.model("text-embedder")
        return embedder.embed
    model: ImageText = task.model("image-text")
    return lambda x: model.embed_images(x) if x.modality == "image" else model.embed_texts(x.texts)


def pieces(samples: Samples, grid: int) -> Samples:
    """What phrases are compared with: whole images or patches of the same size as the images; texts as they are."""
    if samples.modality == "text" or grid == 1:
        return samples
    cut = patches(samples, grid)
    enlarged = interpolate(cut.images, size=samples.images.shape[-2:], mode="bilinear", align_corners=False)
    return Samples("image", enlarged.clamp(0, 1), cut.ids)


def patches(samples: Samples, grid: int) -> Samples:
    """grid x grid patches of all images: the first patch of each image, then the second, ...; column by column.

    Patches are (H // grid, W // grid); what is left over at the right and the bottom is dropped.

    Raises
    ------
    NotApplicable
        The images are smaller than the grid.
    """
    images = samples.images
    height, width = images.shape[-2] // grid, images.shape[-1] // grid
    if not height or not width:
        raise NotApplicable(
            f"images of {images.shape[-2]}x{images.shape[-1]} pixels are too small for {grid}x{grid} patches",
            "lower rlpo.grid or rlpo.vqa_grid",
        )
    cut = [
        images[:, :, r * height : (r + 1) * height, c * width : (c + 1) * width]
        for c in range(grid)
        for r in range(grid)
    ]
    ids = tuple(f"{i}#patch{p}" for p in range(len(cut)) for i in samples.ids)
    return Samples("image", torch.cat(cut), ids)


def only_answered(found: SeedPrompts, generator: Generator, seeds: Sequence[int]) -> SeedPrompts:
    """The seed prompts for which a generator of text has words, with a note about the others.

    Parameters
    ----------
    seeds
        Of the noise with which the generator is tried; a phrase is kept if it gives words with any of them.

    Raises
    ------
    MissingError
        It has words for none.
    """
    if generator.modality != "text":
        return found
    phrases, m = found.phrases, len(seeds)
    drawn = generator.generate([p for p in phrases for _ in seeds], [*seeds] * len(phrases))
    kept = [i for i in range(len(phrases)) if len(drawn.take(range(i * m, (i + 1) * m)).filled())]
    if not kept:
        answer = drawn.meta.get("answer", ("",))[0]
        raise MissingError(
            f"the generator gives no list of words for any of the {len(phrases)} seed words; "
            f"its answer to {phrases[0]!r} begins {answer[:80]!r}",
            "name another generator with --generator REF, or change the question that it is asked",
        )
    unanswered = [p for i, p in enumerate(phrases) if i not in kept]
    notes = (f"{listed(unanswered)} left out: the generator gives no words for them",) if unanswered else ()
    prior = found.prior and tuple(found.prior[i] for i in kept)
    return SeedPrompts(tuple(phrases[i] for i in kept), prior, (*found.notes, *notes), found.beside)


def listed(phrases: Sequence[str], noun: str = "seed word") -> str:
    """How many seed words there are, and the first of them by name."""
    more = f" and {len(phrases) - LISTED} more" if len(phrases) > LISTED else ""
    what = noun if len(phrases) == 1 else f"{noun}s"
    return f"{len(phrases)} {what} ({', '.join(phrases[:LISTED])}{more})"
