"""The words of texts: how xcore finds them, their lemmas, and which of them are content words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import category, normalize

# Combining marks, such as accents and the vowel signs of Hindi or Thai, belong to words, but Python's \w leaves them
# out. These blocks hold the marks of the Basic Multilingual Plane, except for the variation selectors behind emoji.
_BLOCKS = (range(0x300, 0x3100), range(0xA66F, 0xAC00), range(0xFB1E, 0xFB1F), range(0xFE20, 0xFE30))
_MARKS = "".join(chr(i) for block in _BLOCKS for i in block if category(chr(i))[0] == "M")
_LETTERS = rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*"
WORD = re.compile(rf"{_LETTERS}(?:['’\-]{_LETTERS})*")
"""A word: letters of any script with their marks, joined by apostrophes or hyphens."""

_GRAMMAR = """
a about above after again against ago ah all almost along already also although always am among an and another any
anyone anything are aren't around as at away back be became because become been before behind being below between both
but by came can can't cannot could couldn't did didn't do does doesn't doing don't done down during each either else
enough even ever every everyone everything few first for from further get gets getting give given gives go goes going
gone got had hadn't has hasn't have haven't having he he'd he'll he's her here here's hers herself him himself his how
how's however i i'd i'll i'm i've if in instead into is isn't it it's its itself just keep kept last least less let
let's like made make makes many may maybe me might mine more most much must my myself near neither never next no
nobody none nor not nothing now of off often oh on once one only onto or other others our ours ourselves out over own
per perhaps put quite rather really said same say says see seem seemed seems seen several shall she she'd she'll she's
should shouldn't since so some someone something somewhat soon still such take taken than that that's the their theirs
them themselves then there there's these they they'd they'll they're they've this those though through thus to
together too took toward towards two under until up upon us very via was wasn't we we'd we'll we're we've well went
were weren't what what's when when's where where's whether which while who who's whole whom whose why why's will with
within without won't would wouldn't yes yet you you'd you'll you're you've your yours yourself yourselves
"""
STOPWORDS = frozenset(_GRAMMAR.split())
"""English function words, which carry no content of their own."""


def words(text: str) -> list[str]:
    """The words of a text in their order, in lower case, without digits and punctuation, and normalised to NFC.

    Examples
    --------
    >>> words("Don’t re-read 3 films!")
    ["don't", 're-read', 'films']
    """
    return [normalize("NFC", match.group().lower()).replace("’", "'") for match in WORD.finditer(text)]


@lru_cache(maxsize=100_000)
def lemma(word: str) -> str:
    """The lemma of an English word in lower case: both "stripes" and "striped" give "stripe"."""
    from simplemma import lemmatize  # imported here because loading its dictionary takes half a second

    found: str = lemmatize(word, lang="en")
    return found.lower()


def content_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of texts that are not in `STOPWORDS` and have at least two letters.

    Returns
    -------
    Each word once, first those that occur in most texts; ties are in alphabetical order.
    """
    counts = Counter(w for text in texts for w in set(words(text)) if len(w) > 1 and w not in STOPWORDS)
    return tuple(sorted(counts, key=lambda w: (-counts[w], w)))
