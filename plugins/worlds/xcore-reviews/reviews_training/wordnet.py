"""Read synonyms from the database files of WordNet 3 (Debian package wordnet-base); only the trainings need them.

Fellbaum (ed.), WordNet: An Electronic Lexical Database, MIT Press 1998; format: wndb(5WN).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

DIRECTORY = Path("/usr/share/wordnet")
PARTS = ("adj", "noun", "verb", "adv")
WORD = re.compile(r"[a-z]{3,}")
SIMILAR = "&"
COARSE = re.compile(r"\b(obscene|vulgar|offensive|ethnic slur|disparag|derogatory|coarse|slang|contempt)")
"""Finds the definitions of offensive words, which are left out."""


def synonyms(directory: Path = DIRECTORY, most: int = 9000) -> dict[str, tuple[str, ...]]:
    """The most frequent words -> their synonyms, at most eight, those that share a synset with the word first.

    Synonyms are the other words in the synsets of a word and, for adjectives, the words in similar synsets. Only single
    words of plain letters that occur in WordNet's tagged texts and have two synonyms or more are kept.
    """
    frequency = counts(directory)
    members: dict[tuple[str, str], list[str]] = {}
    near: dict[tuple[str, str], list[tuple[str, str]]] = {}
    of: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for part in PARTS:
        for line in _lines(directory / f"data.{part}"):
            head, _, gloss = line.partition("|")
            if COARSE.search(gloss):
                continue
            fields = head.split()
            key, n = (part, fields[0]), int(fields[3], 16)
            found = [re.sub(r"\(\w+\)$", "", w.lower()) for w in fields[4 : 4 + 2 * n : 2]]
            members[key] = [w for w in found if WORD.fullmatch(w)]
            at = 5 + 2 * n
            pointers = [fields[at + 4 * i : at + 4 * i + 4] for i in range(int(fields[at - 1]))]
            near[key] = [(part, p[1]) for p in pointers if p[0] == SIMILAR]
            for word in members[key]:
                of[word].append(key)
    kept: dict[str, tuple[str, ...]] = {}
    for word, _ in frequency.most_common():
        if not WORD.fullmatch(word):
            continue
        # words that occur in no tagged text are left out
        own = [w for key in of[word] for w in members[key]]
        similar = [w for key in of[word] for other in near[key] for w in members.get(other, ())]
        both = [w for w in dict.fromkeys([*own, *similar]) if w != word and frequency[w]]
        if len(both) >= 2:
            kept[word] = tuple(sorted(both, key=lambda w: (w not in own, -frequency[w], w))[:8])
        if len(kept) == most:
            break
    return kept


def counts(directory: Path = DIRECTORY) -> Counter[str]:
    """How often each word was tagged, summed over its senses (``cntlist.rev``: sense key, sense number, count)."""
    found: Counter[str] = Counter()
    for line in _lines(directory / "cntlist.rev"):
        key, _, count = line.split()
        found[key.partition("%")[0]] += int(count)
    return found


def glosses(directory: Path = DIRECTORY) -> list[tuple[tuple[str, ...], str]]:
    """The words and the definition, without examples, of each synset."""
    made = []
    for part in PARTS:
        for line in _lines(directory / f"data.{part}"):
            head, _, gloss = line.partition("|")
            fields = head.split()
            n = int(fields[3], 16)
            found = [re.sub(r"\(\w+\)$", "", w.lower()) for w in fields[4 : 4 + 2 * n : 2]]
            made.append((tuple(w for w in found if WORD.fullmatch(w)), gloss.partition(";")[0].strip()))
    return made


def _lines(path: Path) -> list[str]:
    """The lines of a database file without its licence, whose lines are indented by two spaces."""
    return [line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith("  ")]
