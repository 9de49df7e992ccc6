"""Seed prompts, the actions of the policy: the user's, or a vocabulary ranked on the class samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from xcore.errors import MissingError, NotApplicable
from xcore.protocols import Generator, Task
from xcore.roles import Embedder, ImageText
from xcore.samples import Samples
from xcore_rlpo.options import Options


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
        For ``seeds="vqa"``, which is not there yet.
    MissingError
        If there is no vocabulary, or the class name is in all of it.
    """
    if options.prompts and not options.ranks:
        return Seeds(options.prompts)
    if options.seeds == "vqa" and not options.prompts:
        raise NotApplicable(
            "seed prompts from visual question answering are not there yet", "use rlpo.seeds=vocabulary or rlpo.prompts"
        )
    phrases = options.prompts or without_class_name(task.vocabulary, task.target_name)
    if not phrases:
        what = "the class name is in all of its phrases" if task.vocabulary else "it has no vocabulary"
        raise MissingError(f"the data set offers no seed prompts: {what}", "give some with --set rlpo.prompts=[...]")
    embed = embedding(task)
    texts = normalize(embed(Samples("text", tuple(phrases), tuple(phrases))), dim=1)
    scores = probabilities(embed(pieces(task.samples, options.grid)), texts, options.logit_scale)
    order = torch.argsort(scores, descending=True, stable=True).tolist()
    if not options.prompts:
        kept = distinct(texts[order], options.dedup)[: options.actions]
        order = [order[i] for i in kept]
    return Seeds(tuple(phrases[i] for i in order), tuple(float(scores[i]) for i in order))


def without_class_name(phrases: Sequence[str], name: str) -> tuple[str, ...]:
    """The phrases that do not contain the class name, upper and lower case alike; each once."""
    return tuple(dict.fromkeys(p for p in phrases if name.lower() not in p.lower()))


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


def pieces(samples: Samples, grid: int) -> Samples:
    """What the phrases are compared with: images whole or cut into grid x grid patches, texts as they are."""
    if samples.kind == "text" or grid == 1:
        return samples
    images = samples.images
    height, width = images.shape[-2] // grid, images.shape[-1] // grid
    if not height or not width:
        raise NotApplicable(f"images of {images.shape[-2]}x{images.shape[-1]} have no {grid}x{grid} patches")
    cut = [
        images[:, :, r * height : (r + 1) * height, c * width : (c + 1) * width]
        for c in range(grid)
        for r in range(grid)
    ]
    ids = tuple(f"{i}#patch{p}" for p in range(len(cut)) for i in samples.ids)
    grown = interpolate(torch.cat(cut), size=images.shape[-2:], mode="bilinear", align_corners=False)
    return Samples("image", grown.clamp(0, 1), ids)


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
