"""Read the words that an answer lists. Lists in many forms are understood; prose and echoes give no words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from xcore.inputs.words import WORD

PHRASE = 3
"""A phrase has at most this number of words."""
SENTENCE = frozenset(
    {"i", "you", "he", "she", "it", "we", "they", "is", "are", "am", "was", "were", "be", "been", "being", "have"}
    | {"has", "had", "do", "does", "did", "can", "cannot", "could", "will", "would", "shall", "should", "must", "may"}
    | {"might", "this", "that", "these", "those", "there", "here", "please", "sorry", "i'm", "it's", "don't", "can't"}
    | {"i'll", "i'd", "you're", "who", "whom", "whose", "which", "because"}
)
"""Words that show that a piece is part of a sentence and not a synonym."""

_BULLET = re.compile(r"^\s*(?:\(?\d{1,2}[.):]|[-*•–—])\s+")
_NUMBER = re.compile(r"(?:^|(?<=[\s,;]))\(?\d{1,2}[.)]\s*(?=[^\W\d_\"'“‘*])")
_SPLIT = re.compile(r"[,;|/\n]|\s+(?:and|or|&)\s+|^(?:and|or|&)\s+")
_END = re.compile(r"(?<=[^\W\d_])[.!?][\"'”’\])]*(?=\s|$)")
_WORDS = re.compile(rf"{WORD.pattern}(?: {WORD.pattern})*")
_EDGE = " \t\r\"'`“”‘’«»*_()[]{}<>.!?:–—-…#"


def parse(
    answer: str, word: str, *, asked: Sequence[str] = (), shots: Sequence[str] = (), finished: bool = True
) -> tuple[str, ...]:
    """The words or short phrases that an answer lists.

    Parameters
    ----------
    answer
        The text that the model wrote.
    word
        The word that was asked about; neither it nor a phrase with it is kept.
    asked
        The questions that were asked; a piece of one of them is an echo and is not kept.
    shots
        The answers that were shown as examples for other words; a list that only copies one is not kept.
    finished
        Whether the model ended the answer. If not, its last item may be cut off and is left out if there is another.

    Returns
    -------
    Words and phrases of at most three words in lower case, each once, in their order; () for an answer without a list.
    """
    for question in asked:
        answer = re.sub(re.escape(question), "\n", answer, flags=re.IGNORECASE)
    whole = _clean(answer)
    if " " in whole and any(whole in _clean(question) for question in asked):
        return ()
    body, ended = _body(answer.strip())
    pieces = [p for p in _SPLIT.split(body) if p.strip(_EDGE)]
    cut = not finished and not ended and pieces and body.rstrip().endswith(pieces[-1].rstrip())
    items = [_clean(p) for p in pieces]
    prose = [len(i.split()) > PHRASE or not SENTENCE.isdisjoint(i.split()) for i in items]
    if 2 * sum(prose) >= max(1, len(items)):
        return ()
    echoes = {_clean(p) for question in asked for p in _SPLIT.split(question)}
    taboo = f" {_clean(word)} "
    places: dict[str, int] = {}  # item -> where it comes first
    for i, item in enumerate(items):
        if not prose[i] and _WORDS.fullmatch(item) and item not in echoes and taboo not in f" {item} ":
            places.setdefault(item, i)
    if cut and len(places) > 1:
        places = {item: i for item, i in places.items() if i != len(items) - 1}
    found = tuple(places)
    copied = [tuple(_clean(p) for p in _SPLIT.split(shot)) for shot in shots]
    return () if len(found) > 1 and any(found == c[: len(found)] for c in copied) else found


def _body(text: str) -> tuple[str, bool]:
    """The part of an answer that is the list, with a separator between its items, and whether text follows it."""
    lines = [line for line in text.splitlines() if line.strip()]
    bullets = [line for line in lines if _BULLET.match(line)]
    if len(bullets) > 1 or (bullets and not _NUMBER.search(_BULLET.sub("", bullets[0]))):
        ended = not _BULLET.match(lines[-1])
        # In such a line an explanation may follow the word: "1. client: one who pays".
        return "\n".join(re.split(r":|\(|\s[-–—]\s", _BULLET.sub("", line))[0] for line in bullets), ended
    if bracket := re.search(r"[\[{]([^\[\]{}]*)(?:[\]}]|$)", text):
        return bracket[1], bracket[0][-1:] in "]}"
    while lines and lines[0].rstrip().endswith(":") and len(lines) > 1:  # "Here are some synonyms:"
        lines = lines[1:]
    short = list(takewhile(lambda line: len(line.split()) <= PHRASE, lines))
    if len(short) > 1 and not any("," in line for line in short):  # a word a line
        return "\n".join(short), len(short) < len(lines)
    line = next((line for line in lines if "," in line), lines[0] if lines else "")
    more = line != lines[-1] if lines else False
    if ":" in line.rstrip().rstrip(":"):
        line = line[line.rindex(":", 0, len(line.rstrip().rstrip(":"))) + 1 :]
    line = _NUMBER.sub(",", line)
    if end := _END.search(line):
        return line[: end.start()], True
    return line, more


def _clean(piece: str) -> str:
    """A piece in lower case, without punctuation at its edges and without the brackets that follow it."""
    piece = re.sub(r"\([^)]*\)?", " ", piece) if piece.strip()[:1] != "(" else piece
    return re.sub(r"\s+", " ", piece.replace("’", "'")).strip(_EDGE).lower()
