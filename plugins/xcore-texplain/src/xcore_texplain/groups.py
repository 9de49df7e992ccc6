"""What a reader must know of the words of a class and of its groups (birds on water, birds on land)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xcore.samples import Samples
from xcore_texplain.counts import Change, Counted, Word

FEW = 10
"""Images under which the notes warn of the bootstrap."""
MOST = 6
"""Words in the note of what changes between two groups."""
SHOWN = 8
"""Words in the note of what is over the prior."""


def groups_of(samples: Samples) -> list[str]:
    """The group of each sample, if the data set names them."""
    given = samples.meta.get("group")
    if given is None or isinstance(given, str) or len(given) != len(samples):
        return []
    return [str(g.item() if hasattr(g, "item") else g) for g in given]


def few(read: Mapping[str, Counted]) -> list[str]:
    """Whose intervals are over too few images to be believed, or over one, so that there are none."""
    told = []
    for of, counted in read.items():
        if (n := len(counted.sentences)) < FEW:
            why = "intervals over so few are too narrow" if n > 1 else "there are no intervals over one"
            told.append(f"{n} image(s){of} were read: {why}")
    return told


def differing(changed: Sequence[Change], labels: tuple[str, str]) -> str:
    """The words that change most from the first group to the second, of those whose interval is clear of zero."""
    sure = sorted((row for row in changed if row.sure), key=lambda row: (-abs(row.change), row.word))[:MOST]
    words = ", ".join(f"{row.word} {row.change:+.2f}" for row in sure) or "no word whose interval is clear of 0"
    return f"share of sentences, {labels[1]} less {labels[0]}: {words}"


def clear(words: Sequence[Word]) -> list[str]:
    """Which of the words the class is told by, whose interval is over zero; nothing where there are no intervals."""
    bounded = [(w, w.over_lo) for w in words if w.over_lo is not None]
    if not bounded:
        return []
    # What every sentence says can be surely over its prior, by less than the figure shows.
    sure = [w for w, low in bounded if low > 0 and round(w.over, 2) > 0]
    if not sure:
        return ["no word is over the prior with an interval clear of 0"]
    told = ", ".join(f"{w.word} {w.over:+.2f}" for w in sorted(sure, key=lambda w: (-w.over, w.word))[:SHOWN])
    return [f"words over the prior, interval clear of 0: {told}"]
