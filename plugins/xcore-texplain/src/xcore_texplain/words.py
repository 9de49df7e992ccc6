"""What counts as a word: lower case, lemmas, no words of grammar and none that every caption says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from xcore.words import STOPWORDS, lemma, words

_USUAL = """
caption close-up closeup depict display illustration image photo photograph photography picture scene shot show
snapshot view visible
"""
BOILERPLATE = frozenset(_USUAL.split())
"""What captions say whatever is to be seen, as lemmas."""


def content(sentence: str, drop: frozenset[str] = frozenset()) -> frozenset[str]:
    """The lemmas of a sentence that say something, each once.

    Parameters
    ----------
    drop
        Further lemmas that are no concepts.
    """
    lemmas = {lemma(word) for word in words(sentence) if word not in STOPWORDS}
    return frozenset(w for w in lemmas if len(w) > 1 and w not in STOPWORDS and w not in BOILERPLATE and w not in drop)


def spoken(sentences: Iterable[str]) -> dict[str, str]:
    """Lemma -> the form in which the sentences say it most often (stripe: striped); ties by the alphabet."""
    forms = Counter(word for sentence in sentences for word in words(sentence))
    found: dict[str, str] = {}
    for word in sorted(forms, key=lambda w: (-forms[w], w)):
        found.setdefault(lemma(word), word)
    return found


def dropped(given: Iterable[str]) -> frozenset[str]:
    """The lemmas of words that a user named."""
    return frozenset(lemma(word) for text in given for word in words(text))
