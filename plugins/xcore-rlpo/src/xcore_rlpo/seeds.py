"""Seed prompts, the actions of the policy: the user's, or phrases that are ranked on the class samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xcore.errors import MissingError, NotApplicable
from xcore.protocols import Generator, Task
from xcore.roles import Embedder, ImageText, VisualQuestionAnswering
from xcore.samples import Samples
from xcore_rlpo import vqa
from xcore_rlpo.options import Options
from xcore_rlpo.patches import pieces


@dataclass(frozen=True)
class Seeds:
    """The seed prompts, in the order of the actions."""

    phrases: tuple[str, ...]
    prior: tuple[float, ...] | None = None
    """Mean probability that the embedding gives each phrase; None where it was not asked."""
    notes: tuple[str, ...] = ()


def choose(task: Task, options: Options) -> Seeds:
    """The seed prompts of a task.

    Raises
    ------
    NotApplicable
        For ``seeds="vqa"`` or a ``grid`` on texts.
    MissingError
        If there is no vocabulary or nothing was said, or the class name is in all of it; for ``seeds="vqa"`` without a
        model that can be asked.
    """
    if task.samples.kind == "text" and options.grid > 1:
        raise NotApplicable(f"rlpo.grid={options.grid} cuts images, these samples are texts", "leave rlpo.grid at 1")
    if options.prompts and not options.ranks:
        return Seeds(options.prompts)
    asked = not options.prompts and _asks(task, options)
    notes: tuple[str, ...] = ()
    if asked:
        phrases, notes = said(task, options)
    else:
        phrases = options.prompts or _vocabulary(task)
    embed = embedding(task)
    texts = normalize(embed(Samples("text", phrases, phrases)), dim=1)
    if asked:  # of two answers that are one, the one that was given more often stays
        kept = distinct(texts, options.dedup)
        phrases, texts = tuple(phrases[i] for i in kept), texts[kept]
    scores = probabilities(embed(pieces(task.samples, options.grid)), texts, options.logit_scale)
    order = torch.argsort(scores, descending=True, stable=True).tolist()
    if not options.prompts:
        kept = distinct(texts[order], options.dedup)[: options.actions]
        order = [order[i] for i in kept]
    return Seeds(tuple(phrases[i] for i in order), tuple(float(scores[i]) for i in order), notes)


def _asks(task: Task, options: Options) -> bool:
    """Whether a model is asked what the class images show."""
    if options.seeds == "auto":
        return task.samples.kind == "image" and "vqa" in task.roles
    if options.seeds == "vqa" and task.samples.kind != "image":
        raise NotApplicable("rlpo.seeds=vqa asks about images, these samples are texts", "use rlpo.seeds=vocabulary")
    return options.seeds == "vqa"


def _vocabulary(task: Task) -> tuple[str, ...]:
    """The phrases of the data set without the class name."""
    phrases = without_class_name(task.vocabulary, task.target_name)
    if not phrases:
        what = "the class name is in all of its phrases" if task.vocabulary else "it has no vocabulary"
        raise MissingError(f"the data set offers no seed prompts: {what}", "give some with --set rlpo.prompts=[...]")
    return phrases


def said(task: Task, options: Options) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a model answers about the class images, and a note of how much of it is left; most frequent phrases first.

    Answers with the class name go before forms of one phrase are merged, as in the released code of the paper.
    """
    model: VisualQuestionAnswering = task.model("vqa")
    images = task.samples.take(range(min(len(task.samples), options.vqa_images)))
    questions = tuple(dict.fromkeys((*vqa.QUESTIONS, *options.questions)))

    def told(done: int) -> None:
        task.progress(0, options.steps + 2, f"asked about {done} of {len(images)} images")

    counts = vqa.ask(model, images, questions, options.vqa_grid, told)
    answers = {text: n for text, n in counts.items() if vqa.says_something(text)}
    others = {text: answers[text] for text in without_class_name(tuple(answers), task.target_name)}
    phrases = tuple(vqa.merged(others))
    total, telling, usable = (sum(c.values()) for c in (counts, answers, others))
    story = (
        f"{total} answers about {len(images)} images: {total - telling} name nothing, {telling - usable} have the "
        f"class name, {len(phrases)} phrases are left"
    )
    if not phrases:
        raise MissingError(
            f"visual question answering offers no seed prompts: {story}",
            "use rlpo.seeds=vocabulary, give rlpo.prompts, or ask more with rlpo.questions",
        )
    return phrases, (f"seed prompts from {story}",)


def without_class_name(phrases: Sequence[str], name: str) -> tuple[str, ...]:
    """The phrases that do not contain the class name, upper and lower case alike; each once.

    A name with underscores (polar_bear) is looked for with spaces, too: so people and models write it.
    """
    names = {name.lower(), name.lower().replace("_", " ")}
    return tuple(dict.fromkeys(p for p in phrases if not any(n in p.lower() for n in names)))


def distinct(texts: Tensor, threshold: float) -> list[int]:
    """Rows that survive greedy de-duplication: each kept row removes all later ones with a cosine above the threshold.

    Parameters
    ----------
    texts
        (k, d) unit rows; their order decides who survives.
    """
    near = texts @ texts.T > threshold
    kept: list[int] = []
    for i in range(len(texts)):
        if not near[i, kept].any():
            kept.append(i)
    return kept


def probabilities(samples: Tensor, texts: Tensor, scale: float) -> Tensor:
    """(k,) softmax over k phrases of scaled cosines, averaged over samples."""
    return (scale * normalize(samples, dim=1) @ texts.T).softmax(1).mean(0)


def embedding(task: Task) -> Callable[[Samples], Tensor]:
    """What embeds class samples and phrases in one space, (n, d): of the role that reads this kind of samples."""
    if task.samples.kind == "text":
        embedder: Embedder = task.model("text-embedder")
        return embedder.embed
    model: ImageText = task.model("image-text")
    return lambda x: model.embed_images(x) if x.kind == "image" else model.embed_texts(x.texts)


ASKED = 2
"""Drawings by which a phrase shows that the generator has something to say to it."""


def answered(found: Seeds, generator: Generator, noise: Sequence[int]) -> Seeds:
    """The seed prompts to which a generator of text has words, with a note of the others.

    Raises
    ------
    MissingError
        If it has words for none.
    """
    if generator.kind != "text":
        return found
    phrases = found.phrases
    drawn = generator.generate([p for p in phrases for _ in noise], [*noise] * len(phrases))
    kept = [i for i in range(len(phrases)) if len(drawn.take(range(i * len(noise), (i + 1) * len(noise))).filled())]
    if not kept:
        said = drawn.meta.get("answer", ("",))[0]
        raise MissingError(
            f"the generator answers with no list of words for any of {len(phrases)} seed words; "
            f"to {phrases[0]!r} it said {said[:80]!r}",
            "name another generator, or another question for it",
        )
    mute = [p for i, p in enumerate(phrases) if i not in kept]
    notes = (f"{some(mute)} left out: the generator has no words for them",)
    prior = found.prior and tuple(found.prior[i] for i in kept)
    return Seeds(tuple(phrases[i] for i in kept), prior, notes if mute else ())


NAMED = 5
"""Seed words that a note names; all are counted."""


def some(phrases: Sequence[str]) -> str:
    """How many seed words, and the first of them."""
    more = f" and {len(phrases) - NAMED} more" if len(phrases) > NAMED else ""
    return f"{len(phrases)} seed words ({', '.join(phrases[:NAMED])}{more})"
