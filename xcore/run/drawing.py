"""What generators draw: pictures of the size of the pictures of a class, and the pools of random sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xcore.base.errors import MissingError
from xcore.contract.samples import Modality, Samples
from xcore.inputs.everyday import EVERYDAY

if TYPE_CHECKING:
    from xcore.contract.protocols import Generator
    from xcore.contract.types import Adapter
    from xcore.inputs.images import Framing

AT_ONCE = 120
"""Pictures that are held at the generator's own size before they are framed: 380 MB of 512 x 512 pixels."""


FEW_WORDS = 200
"""With fewer words than these, random lists would often be of the words that are explained: everyday words join them.

Half of the words of a few reviews may be what a classifier uses, and CAVs against lists of such words say little about
a word (docs/text.md).
"""


def drawn_phrases(vocabulary: Sequence[str], modality: Modality, more: Sequence[str] = ()) -> tuple[str, ...]:
    """What random pictures are drawn of, or the words that random lists are of.

    Parameters
    ----------
    vocabulary
        The phrases of the data set. Without any, random pictures are of everyday attributes.
    more
        For texts: further words, such as those of the texts of other classes. Where the vocabulary has fewer words than
        `FEW_WORDS`, these join it, and then everyday words.
    """
    if modality == "image":
        return tuple(vocabulary) or EVERYDAY
    found = tuple(vocabulary)
    for further in (more, EVERYDAY):
        if len(found) < FEW_WORDS:
            found = tuple(dict.fromkeys((*found, *further)))
    return found


def few_words_note(vocabulary: Sequence[str], phrases: Sequence[str]) -> list[str]:
    """Tell where random words come from if the texts have few of their own."""
    if len(phrases) == len(vocabulary):
        return []
    few = f"only {len(vocabulary)}" if vocabulary else "no"
    more = len(phrases) - len(vocabulary)
    return [
        f"the data have {few} words to draw random lists of; {more} words of other texts and everyday things are added"
    ]


def framing_like(samples: Samples, framing: Framing | None) -> Framing | None:
    """How drawn pictures get the size of the pictures of a class; None for texts.

    Parameters
    ----------
    samples
        The samples of the class.
    framing
        How the classifier frames pictures from files, if it does.
    """
    from xcore.inputs.images import Framing

    if samples.modality != "image":
        return None
    height, width = samples.images.shape[-2:]
    if framing is not None and framing.size == (height, width):
        return framing
    return Framing((height, width), min(height, width))


class FramedGenerator:
    """A generator whose pictures have the size of the pictures of the class.

    Those of another size are framed with pixels of 8 bits, as if they were files of a folder, so that methods, random
    sets and metrics see drawn and photographed pictures alike. Everything else is passed on to the generator.

    Parameters
    ----------
    inner
        The generator.
    framing
        How pictures of another size are framed.
    """

    def __init__(self, inner: Generator, framing: Framing) -> None:
        self._inner, self._framing = inner, framing
        self._prompts: dict[str, None] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        """Draw one sample for each prompt, as the generator does, and frame the pictures."""
        self._prompts.update(dict.fromkeys(prompts))
        if len(prompts) <= AT_ONCE:
            return self._framed(self._inner.generate(prompts, seeds, adapter))
        parts = []
        for i in range(0, len(prompts), AT_ONCE):
            rows = slice(i, i + AT_ONCE)
            parts.append(self._framed(self._inner.generate(prompts[rows], seeds[rows], adapter)))
        return replace(Samples.concat(parts), meta=_joined(parts))

    def edit(self, samples: Samples, prompts: Sequence[str], seeds: Sequence[int], **more: Any) -> Samples:
        """Edit samples as the generator does; they keep the size that they have."""
        self._prompts.update(dict.fromkeys(prompts))
        edited: Samples = self._inner.edit(samples, prompts, seeds, **more)  # type: ignore[attr-defined]
        return edited

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the prompts so far, e.g. that some are too long for the generator."""
        remarks = getattr(self._inner, "remarks", None)
        return tuple(remarks(tuple(self._prompts))) if remarks else ()

    def _framed(self, drawn: Samples) -> Samples:
        from xcore.inputs.images import framed

        if drawn.modality != "image" or tuple(drawn.images.shape[-2:]) == self._framing.size:
            return drawn
        return replace(drawn, data=framed(drawn.images, self._framing))


def _joined(parts: Sequence[Samples]) -> dict[str, Any]:
    """The meta of all parts: entries that hold something for each sample are joined, others are those of the first."""
    import torch

    joined = dict(parts[0].meta)
    for name, first in parts[0].meta.items():
        values = [part.meta[name] for part in parts]
        if isinstance(first, torch.Tensor) and first.ndim and len(first) == len(parts[0]):
            joined[name] = torch.cat(values)
        elif isinstance(first, tuple | list) and len(first) == len(parts[0]):
            joined[name] = tuple(entry for value in values for entry in value)
    return joined


def generate_pool(
    generator: Generator, vocabulary: Sequence[str], start_seed: int, n: int, rows: range | None = None
) -> Samples:
    """Draw n samples of random phrases of the vocabulary with the generator's base weights, or some of them.

    Fewer if it has no words for some of them.

    Parameters
    ----------
    rows
        Which of the n samples are drawn; None = all.
    """
    import numpy as np

    rng, rows = np.random.default_rng(start_seed), rows if rows is not None else range(n)
    chosen = rng.integers(len(vocabulary), size=n)
    prompts = [vocabulary[chosen[i]] for i in rows]
    drawn = generator.generate(prompts, [start_seed + i for i in rows])
    filled = replace(drawn, meta={}).filled()
    if not len(filled):
        raise _no_words(prompts)
    return filled


def generate_sets(
    generator: Generator,
    vocabulary: Sequence[str],
    start_seed: int,
    phrases: int,
    each: int,
    adapter: Adapter | None = None,
    rows: range | None = None,
) -> Samples:
    """Draw sets of one phrase each: `each` samples of every one of `phrases` random phrases of the vocabulary.

    There are fewer phrases if the vocabulary has no more, or if a generator of texts has words for too few.

    Parameters
    ----------
    rows
        Which of the phrases are drawn; None = all.

    Returns
    -------
    The sets one after the other, in order of their phrases; ``meta["prompt"]`` holds the phrase of each sample.
    """
    import numpy as np

    known = tuple(dict.fromkeys(vocabulary))
    order = np.random.default_rng(start_seed).permutation(len(known))[:phrases]
    rows = range(len(order)) if rows is None else rows
    asked = each if generator.modality == "image" else each + each // 2  # some answers may hold no words
    prompts = [known[order[row]] for row in rows for _ in range(asked)]
    seeds = range(start_seed + rows.start * asked, start_seed + rows.stop * asked)
    drawn = generator.generate(prompts, list(seeds), adapter)
    sets: list[Samples] = []
    for i, row in enumerate(order[rows.start : rows.stop]):
        filled = replace(drawn.take(range(i * asked, (i + 1) * asked)), labels=None, meta={}).filled()
        if len(filled) >= each:
            sets.append(replace(filled.take(range(each)), meta={"prompt": (known[row],) * each}))
    if not sets:
        raise _no_words(prompts)
    return replace(Samples.concat(sets), meta={"prompt": tuple(p for s in sets for p in s.meta["prompt"])})


def _no_words(prompts: Sequence[str]) -> MissingError:
    return MissingError(
        f"the generator has no words for any of {len(set(prompts))} phrases of the vocabulary, such as {prompts[0]!r}",
        "name another generator or another question for it",
    )
