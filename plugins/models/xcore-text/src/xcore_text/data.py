"""Texts with classes as a data set: its splits, samples and concepts. Sub-classes read the texts from their source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from xcore.contract import Modality, Samples, Split, Truth, UsageError, unknown
from xcore.inputs.class_names import counted, one_spelling
from xcore.inputs.encodings import decoded, reason, refuse_others
from xcore.inputs.name_files import names_from_file
from xcore.inputs.paths import existing_folder
from xcore.inputs.splits import SPLITS, places
from xcore.inputs.tables import is_utf8
from xcore.inputs.words import content_words
from xcore_text.options import DataOptions


class Entry(NamedTuple):
    """A text as it was read."""

    id: str
    text: str
    label: str
    split: Split | None
    """The split that its source names; None if the text is to be dealt to a split."""


class TextData:
    """Texts with classes (protocol `xcore.contract.Dataset`).

    No two splits share a text: a text that occurs several times is used once. Texts whose source names no split are
    ordered by a digest of their content and dealt to the splits in turn, class by class, whatever their order in the
    source. If a source has only one of the splits for validation and test, its texts are dealt to "explain" and
    "heldout" in the same way; if it has training texts only, or no training texts, all of them are dealt.

    Parameters
    ----------
    options
        Concepts, defaults and the seed of the splits.
    name
        Name of the source, used in ids and messages.
    entries
        The texts, in the order of the source.
    classes
        Names of the classes, in the order of the labels; the option `names` may give them other ones.
    skipped
        Inputs of the source that gave no text with a class, a line for each with the reason.
    notes
        What a reader must know about the source.

    Raises
    ------
    UsageError
        There are no entries.
    """

    modality: Modality = "text"

    def __init__(
        self,
        options: DataOptions,
        name: str,
        entries: Iterable[Entry],
        classes: Sequence[str],
        skipped: Sequence[str],
        notes: Sequence[str] = (),
    ) -> None:
        self._name, self._skipped, self._encoding = name, list(skipped), options.encoding
        self.notes: list[str] = list(notes)
        """What a reader must know about the texts given so far: repeated texts, and fewer texts than requested."""
        entries = list(entries)
        names = names_from_file(options.names, classes) if options.names else {}
        shown = {c: names[c][0] if c in names else c for c in classes}
        self.classes = tuple(dict.fromkeys(shown.values()))
        self.aliases: dict[str, tuple[str, ...]] = {}
        """Class -> its other names: what it is called in the source, and those that the option `names` gives it."""
        for c, called in names.items():
            other = dict.fromkeys((*self.aliases.get(shown[c], ()), c, *called))
            self.aliases[shown[c]] = tuple(name for name in other if name != shown[c])
        entries = [e._replace(label=shown[e.label]) for e in entries] if names else entries
        self._parts = self._dealt(self._unique(entries), options.split_seed)
        self._concepts = self._read_concepts(options.concepts)
        self.concepts = tuple(self._concepts)
        given = {"classifier": options.classifier, "generator": options.generator}
        self.defaults: Mapping[str, str] = {key: ref for key, ref in given.items() if ref}

    def __repr__(self) -> str:
        return f"<data {self._name!r}, texts, {counted(self.classes)}>"

    @property
    def skipped(self) -> tuple[str, ...]:
        """Inputs that gave no text, a line for each with the reason."""
        return tuple(self._skipped)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The content words of the training texts; those that occur in most texts come first."""
        return content_words(e.text for c in self.classes for e in self._parts[c, "train"])

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n texts of a class (None = of all classes) from a split, or all that there are; labels index `classes`."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if cls is not None and cls not in self.classes:
            raise unknown(f"class in {self._name!r}:", cls, self.classes)
        what = f"class {cls!r}" if cls is not None else "all classes"
        pool = [e for c in (self.classes if cls is None else (cls,)) for e in self._parts[c, split]]
        if split == "explain" and not pool:
            raise UsageError(
                f"{what} of {self._name!r} has no text to explain", f"skipped inputs: {len(self._skipped)}"
            )
        drawn = self._draw(pool, n, seed, f"{what}, split {split!r}")
        labels = torch.tensor([self.classes.index(e.label) for e in drawn], dtype=torch.long)
        return Samples("text", tuple(e.text for e in drawn), tuple(e.id for e in drawn), labels)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n example texts of a concept, or all that there are."""
        if name not in self._concepts:
            raise unknown("concept", name, self.concepts)
        drawn = self._draw(self._concepts[name], n, seed, f"concept {name!r}")
        return Samples("text", tuple(e.text for e in drawn), tuple(e.id for e in drawn))

    def truth(self, classifier: str) -> Truth | None:
        """None: it is not known what a classifier of these texts uses."""
        return None

    def _draw(self, pool: Sequence[Entry], n: int, seed: int, what: str) -> list[Entry]:
        if len(pool) < n:
            line = f"{what}: there are {len(pool)} texts, {n} were requested; all of them are used"
            self.notes += [line] if line not in self.notes else []
        return [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:n]]

    def _unique(self, entries: Iterable[Entry]) -> list[Entry]:
        """Each text once: the training text if it is in several splits, else the first."""
        first: dict[str, Entry] = {}
        again = 0
        for entry in sorted(entries, key=lambda e: e.split != "train"):
            known = first.setdefault(entry.text, entry)
            if known is not entry and known.label != entry.label:
                self._skipped.append(f"{entry.id}: the same text as {known.id}, which is labelled {known.label!r}")
            again += known is not entry and known.label == entry.label
        if not first:
            hint = self._skipped[0] if self._skipped else ""
            raise UsageError(
                f"there are no texts with a class in {self._name!r}; skipped inputs: {len(self._skipped)}", hint
            )
        if again:
            self.notes.append(f"{again} texts of {self._name} repeat another text and are left out")
        return list(first.values())

    def _dealt(self, entries: Sequence[Entry], seed: int) -> dict[tuple[str, Split], list[Entry]]:
        allowed = places({e.split for e in entries})
        parts: dict[tuple[str, Split], list[Entry]] = {(c, s): [] for c in self.classes for s in SPLITS}
        turns: dict[tuple[str, Split | None], int] = {}
        for entry in sorted(entries, key=lambda e: hashlib.sha256(f"{seed}\0{e.text}".encode()).digest()):
            turn = turns[entry.label, entry.split] = turns.get((entry.label, entry.split), -1) + 1
            splits = allowed[entry.split]
            parts[entry.label, splits[turn % len(splits)]].append(entry)
        return parts

    def _read_concepts(self, directory: str | None) -> dict[str, list[Entry]]:
        if directory is None:
            return {}
        root = existing_folder(directory, "concept folder")
        found: dict[str, list[Entry]] = {}
        for path in sorted(p for p in root.iterdir() if not p.name.startswith(".")):
            if path.is_dir():
                texts = [(f.relative_to(root).as_posix(), self.read(f)) for f in sorted(path.rglob("*.txt"))]
            elif path.suffix == ".txt":
                lines = (self.read(path) or "").splitlines()
                texts = [(f"{path.name}/{i}", line.strip()) for i, line in enumerate(lines, 1)]
            else:
                self._skipped.append(f"{path}: neither a folder nor a .txt file")
                continue
            found[path.stem] = [Entry(f"{root.name}/{i}", text, "", None) for i, text in texts if text]
        empty = [name for name, entries in found.items() if not entries]
        if empty or not found:
            if empty:
                what = f"the concept {empty[0]!r} in {directory!r} has no text"
            else:
                what = f"there are no concepts in {directory!r}"
            raise UsageError(
                what, "a concept is a file NAME.txt with an example on each line, or a sub-folder of .txt files"
            )
        return found

    def read(self, path: Path) -> str | None:
        """The stripped text of a file; None, and a line in `skipped`, if it is empty or cannot be read.

        Raises
        ------
        UsageError
            It is not UTF-8, and the option `encoding` names no other encoding.
        """
        text, why = read_text(path, self._encoding)
        if why.startswith(NOT_UTF8) and not self._encoding:
            refuse_others(path.read_bytes(), str(path), option="encoding")
        if why:
            self._skipped.append(f"{path}: {why}")
        return text or None


NOT_UTF8 = "not UTF-8"
"""How the reason begins why the text of a file was not read that is in another encoding."""


def read_text(path: Path, encoding: str = "") -> tuple[str, str]:
    """The stripped text of a file in an encoding (see `xcore.inputs.encodings.decoded`), or the reason for none.

    Raises
    ------
    UsageError
        It cannot be read in the encoding that is named, or that its byte order mark says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    if not encoding and b"\0" in content and (problem := reason(content)):
        return "", f"{NOT_UTF8}: {problem[0]}"
    text = decoded(content, str(path), encoding).strip()
    if not is_utf8(text):
        return "", NOT_UTF8
    return text, "" if text else "empty"


def one_label(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Texts whose labels differ in case, spaces or underscores only get the most frequent of them, with a note."""
    counts = Counter(e.label for e in entries)
    kept = one_spelling(counts)
    changed = {label: to for label, to in kept.items() if label != to}
    if not changed:
        return list(entries), []
    shown = ", ".join(f"{counts[label]} of {label!r} with {to!r}" for label, to in [*changed.items()][:5])
    number = sum(counts[label] for label in changed)
    note = f"{number} text(s) have labels that differ from others in spelling only and are put together: {shown}"
    return [e._replace(label=kept[e.label]) for e in entries], [note]
