"""The words that a TextCNN knows, in the order of the rows of its embedding."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from xcore.contract import UsageError
from xcore.inputs.words import words

PAD, UNK = "<pad>", "<unk>"


class Vocabulary:
    """Words and their numbers; a text is split by `xcore.inputs.words.words`.

    Parameters
    ----------
    known
        The words from number 2 on; number 0 is ``<pad>`` and number 1 is ``<unk>``.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.words: tuple[str, ...] = (PAD, UNK, *known)
        self._numbers = {word: i for i, word in enumerate(self.words)}
        if len(self._numbers) < len(self.words):
            twice = next(w for w, count in Counter(self.words).items() if count > 1)
            raise UsageError(f"the vocabulary has the word {twice!r} twice", "remove one of them")

    @classmethod
    def build(cls, texts: Iterable[str], *, minimum: int = 1, size: int | None = None) -> Vocabulary:
        """The vocabulary of texts: words that occur `minimum` times or more, most frequent first, at most `size`."""
        counts = Counter(word for text in texts for word in words(text))
        often = sorted((w for w, count in counts.items() if count >= minimum), key=lambda w: (-counts[w], w))
        return cls(often[:size])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._numbers

    def encode(self, text: str) -> list[int]:
        """The numbers of the words of a text, 1 for an unknown word; empty for a text without words."""
        return [self._numbers.get(word, 1) for word in words(text)]

    def save(self, path: Path) -> None:
        """Write the words to a JSON file."""
        path.write_text(json.dumps(list(self.words), ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a file that `save` wrote; raises `UsageError` for any other file."""
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"no vocabulary can be read from {str(path)!r}: {error}") from error
        if not isinstance(read, list) or read[:2] != [PAD, UNK] or not all(isinstance(w, str) for w in read):
            raise UsageError(
                f"{str(path)!r} is no vocabulary", f"it must hold a JSON list of words that begins with {PAD}, {UNK}"
            )
        return cls(read[2:])
