"""What the words of a concept name, by the truth's table of phrases."""

from __future__ import annotations

from collections.abc import Sequence

from xcore.types import Concept, Truth
from xcore.words import lemma, words

Values = frozenset[str]


class Names:
    """Reads phrases by the table of a truth: as they stand there, else a single word by its lemma.

    The lemma of a word ("stripe") is compared with those of the single words of the table ("striped", "stripes"). One
    that stands there for words of different values names nothing that is known.
    """

    def __init__(self, truth: Truth) -> None:
        self._phrases = truth.phrases
        self._lemmas: dict[str, set[Values]] | None = None

    def phrases(self, concept: Concept) -> tuple[str, ...]:
        """What a concept is read by: its name if the table lists it, else its words, else its name all the same."""
        return (concept.name,) if concept.name in self._phrases else concept.words or (concept.name,)

    def lists(self, concept: Concept) -> bool:
        """Whether the table lists all that a concept is read by as it stands."""
        return all(p in self._phrases for p in self.phrases(concept))

    def listed(self, phrases: Sequence[str]) -> Values:
        """The values that phrases name as they stand in the table; one that it does not list names nothing known."""
        return frozenset().union(*(self._phrases.get(p, frozenset()) for p in phrases))

    def of(self, phrases: Sequence[str]) -> Values:
        """The same, with single words that the table does not list read by their lemmas."""
        return frozenset().union(*(self._find(p) or frozenset() for p in phrases))

    def of_all(self, concepts: Sequence[Concept]) -> tuple[Values, ...] | None:
        """What every concept names by its words; None if they do not speak for all, or the table knows none of them.

        An unknown phrase of several words may say a thing of the table in a way of its own, so it is not taken to say
        nothing: it does not speak for its concept. Nor does a name without words that the table does not list.
        """
        every = [p for c in concepts for p in self.phrases(c)]
        speak = all(c.words or self.lists(c) for c in concepts)
        if not speak or any(p not in self._phrases and len(words(p)) > 1 for p in every):
            return None
        known = any(self._find(p) is not None for p in every)
        return tuple(self.of(self.phrases(c)) for c in concepts) if known else None

    def _find(self, phrase: str) -> Values | None:
        """None = the table does not know it."""
        if phrase in self._phrases or len(said := words(phrase)) != 1:
            return self._phrases.get(phrase)
        if self._lemmas is None:
            self._lemmas = {}
            for text, values in self._phrases.items():
                if len(single := words(text)) == 1:
                    self._lemmas.setdefault(lemma(single[0]), set()).add(values)
        found = self._lemmas.get(lemma(said[0]), set())
        return next(iter(found)) if len(found) == 1 else None
