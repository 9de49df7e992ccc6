"""Pictures with classes as a data set: splits, samples and concepts. Sub-classes find the pictures in their source."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from xcore.contract import Modality, Samples, Split, Truth, UsageError, unknown
from xcore.inputs.class_names import counted
from xcore.inputs.copies import groups
from xcore.inputs.images import Framing, Picture, Unreadable, read_mask, read_picture
from xcore.inputs.name_files import names_from_file
from xcore.inputs.paths import IMAGE_SUFFIXES, existing_file, existing_folder, printable
from xcore.inputs.splits import SPLITS, places
from xcore.inputs.tables import numbers_first
from xcore.models.torch_model import TensorCache
from xcore_vision.copies import describe
from xcore_vision.files import Skipped, folders, image_files, stamp
from xcore_vision.names import other_names
from xcore_vision.options import PictureOptions
from xcore_vision.splits import ENOUGH, Item, deal

USUAL_SIZE = 224
"""Side in pixels of pictures that no classifier frames."""
COMPARED = 10_000
"""Pictures that are all compared with one another for copies; in larger data sets, only those of each class are."""
_BAD_MASK = "the mask of "
NAMED = 3
"""Classes that a note names; it counts all of them."""


class Shelf(Protocol):
    """Holds pictures that are no files of their own."""

    stamp: str
    """Identifies the content of all of them without reading it."""

    def picture(self, row: int) -> Picture:
        """The picture of a row; raises `Unreadable` if there is none."""


class Kept(NamedTuple):
    """A picture on a shelf."""

    shelf: Shelf
    row: int

    def __hash__(self) -> int:
        return hash((self.shelf.stamp, self.row))


Source = Path | Kept
"""Where a picture is."""


class Record(NamedTuple):
    """A picture of a data set, not yet read."""

    id: str
    source: Source
    label: str
    split: Split | None = None
    """The split that the data set names for it; None if it is to be dealt to one."""
    group: str = ""
    caption: str = ""
    mask: Source | None = None
    attributes: tuple[Any, ...] = ()
    """One for each of the data set's attributes."""


class Pictures:
    """Pictures with classes (protocol `xcore.contract.Dataset`). They are read when they are asked for.

    Where the source names no splits, they are dealt by content: copies of a picture, saved anew or resized, are always
    in the same split, and the splits depend neither on names nor on the seed (see `xcore_vision.splits`). A picture
    that cannot be read is named in `skipped`, and another one takes its place.

    `Samples.meta` holds ``group``, ``caption``, ``attributes`` (a mapping for each sample) and ``masks`` (n, H, W) in
    [0, 1], as far as the source has them. A sample without a mask has an empty one.

    Parameters
    ----------
    options
        Size, concepts, vocabulary, names of classes and limits.
    name
        Name of the source, used in messages.
    place
        What identifies the source on this machine, such as its path.
    records
        The pictures.
    skipped
        What of the source is no picture with a class.
    attributes
        The names of `Record.attributes`.
    left_out
        What a user may take for a class -> why it is none.
    aliases
        Class -> its other names.
    synset_mapping
        ImageNet's file of the names of its classes, if there is one.
    notes
        What a reader must know about the source.
    vocabulary
        File of phrases that is used if the options name none.

    Raises
    ------
    UsageError
        There are no records, or an option names a file or folder that does not exist or cannot be read.
    """

    modality: Modality = "image"

    def __init__(
        self,
        options: PictureOptions,
        name: str,
        place: str,
        records: Sequence[Record],
        *,
        skipped: Skipped | None = None,
        attributes: Sequence[str] = (),
        left_out: Mapping[str, str] | None = None,
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        synset_mapping: Path | None = None,
        notes: Sequence[str] = (),
        vocabulary: Path | None = None,
    ) -> None:
        self._options, self._name, self._place = options, name, place
        self._framing: Framing | tuple[int, int] = (options.size or USUAL_SIZE,) * 2
        self._skipped: Skipped = {} if skipped is None else skipped
        self.notes: list[str] = list(notes)
        """What a reader must know about the pictures given so far: copies, and classes with few pictures."""
        self.left_out: dict[str, str] = dict(left_out or {})
        """What a user may take for a class -> why it is none."""
        if not records:
            if not self._skipped:
                raise UsageError(f"no images in {name!r}", "put images in it")
            first = next(f"{what}: {why}" for what, why in self._skipped.items())
            raise UsageError(
                f"no images with a class in {name!r}; skipped: {len(self._skipped)}", f"the first: {first}"
            )
        self._records = self._named(records, aliases or {}, synset_mapping)
        self._attributes = tuple(attributes)
        self._by_class: dict[str, list[int]] = {c: [] for c in self.classes}
        for i, record in enumerate(self._records):
            self._by_class[record.label].append(i)
        self._dealt: dict[str, dict[Split, list[int]]] = {}
        self._copied = Counter[str]()
        self._cache = TensorCache()
        self._concepts = self._concept_files()
        self.concepts = tuple(self._concepts)
        self.vocabulary = _phrases(options.vocabulary, vocabulary)
        self.defaults: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<data {self._name!r}, {len(self._records)} images, {counted(self.classes)}>"

    @property
    def skipped(self) -> tuple[str, ...]:
        """What could not be read as a picture so far, one line each with the reason."""
        return tuple(f"{what}: {reason}" for what, reason in sorted(self._skipped.items()))

    def framed(self, framing: Framing) -> Pictures:
        """The same data set, whose pictures are read as a classifier frames them, unless the option `size` is set."""
        if self._options.size is not None:
            return self
        made = copy.copy(self)  # what was read, skipped and noted so far belongs to both
        made._framing = framing
        return made

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n pictures of a class (None = of all classes) from a split, or all of them if there are fewer.

        Labels are positions in `classes`.

        Raises
        ------
        UsageError
            There is no such split or class, or the split "explain" has no readable picture of it.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if cls is not None and cls not in self._by_class:
            raise unknown(f"class in {self._name!r}:", cls, self.classes)
        pool = [i for c in (self.classes if cls is None else (cls,)) for i in self._split(c)[split]]
        drawn, images = self._draw([self._records[i].source for i in pool], n, seed)
        records = [self._records[pool[at]] for at in drawn]
        if len(drawn) < min(n, ENOUGH) and cls is not None:
            self._note_small_classes()
        if split == "explain" and not records:
            what = f"class {cls!r}" if cls is not None else "all classes"
            count = len(self._skipped)
            raise UsageError(f"{what} of {self._name!r} has no readable image", f"{count} files were skipped")
        labels = torch.tensor([self.classes.index(r.label) for r in records], dtype=torch.long)
        return Samples("image", images, tuple(r.id for r in records), labels, self._meta(records))

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n pictures of a concept, or all if there are fewer; raises `UsageError` if there is no such concept."""
        if name not in self._concepts:
            raise unknown("concept", name, self.concepts)
        files, root = self._concepts[name], Path(self._options.concepts or "").expanduser()
        drawn, images = self._draw(files, n, seed)
        if len(drawn) < n:
            self._note(f"concept {name!r}: {n} images were asked for and there are {len(drawn)}; all are used")
        ids = tuple(file_id(root.resolve().name, root, files[at]) for at in drawn)
        return Samples("image", images, ids)

    def truth(self, classifier: str) -> Truth | None:
        """None: nothing is known about what a classifier uses in these pictures."""
        return None

    # -- classes -----------------------------------------------------------------------------------------------------
    def _named(
        self, records: Sequence[Record], aliases: Mapping[str, tuple[str, ...]], synset_mapping: Path | None
    ) -> list[Record]:
        """The records with the names that the classes are to have; sets `classes` and `aliases`."""
        own = numbers_first({r.label for r in records})
        others = {**other_names(own, synset_mapping), **aliases}
        given = names_from_file(self._options.names, own) if self._options.names else {}
        shown = {c: given[c][0] if c in given else c for c in own}
        self.classes = tuple(dict.fromkeys(shown.values()))
        self.aliases: dict[str, tuple[str, ...]] = {}
        for c in own:
            names = dict.fromkeys((*self.aliases.get(shown[c], ()), c, *given.get(c, ()), *others.get(c, ())))
            names.pop(shown[c], None)
            if names:
                self.aliases[shown[c]] = tuple(names)
        return [r._replace(label=shown[r.label]) for r in records] if given else list(records)

    # -- splits ------------------------------------------------------------------------------------------------------
    @cached_property
    def _allowed(self) -> Mapping[Split | None, tuple[Split, ...]]:
        return places({r.split for r in self._records})

    def _split(self, cls: str) -> dict[Split, list[int]]:
        """The records of a class by split; dealt when they are first asked for."""
        if cls not in self._dealt:
            whole = len(self._records) <= COMPARED
            if not whole:
                self._note(f"{self._name} has more than {COMPARED} pictures: copies are looked for in each class only")
            self._deal(self.classes if whole else (cls,), cls="" if whole else cls)
        return self._dealt[cls]

    def _deal(self, classes: Sequence[str], cls: str) -> None:
        """Deal the records of some classes: all of them, or the one that `cls` names."""
        rows = [i for c in classes for i in self._by_class[c]]
        dealt: list[Split]
        if all(len(self._allowed[self._records[i].split]) == 1 for i in rows) and len(rows) > COMPARED:
            dealt = [self._allowed[self._records[i].split][0] for i in rows]
            self._note(f"class {cls!r} has more than {COMPARED} pictures: copies across its splits are not looked for")
        else:
            rows, described = self._describe(rows, cls)
            same = groups(described)
            records = [self._records[i] for i in rows]
            ranks = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in described]
            items = [Item(r.label, r.split, int(s), k) for r, s, k in zip(records, same, ranks, strict=True)]
            dealt = deal(items, self._allowed)
            self._note_copies(records, same.tolist(), dealt)
        for c in classes:
            self._dealt[c] = {split: [] for split in SPLITS}
        for i, split in zip(rows, dealt, strict=True):
            self._dealt[self._records[i].label][split].append(i)

    def _describe(self, rows: Sequence[int], cls: str) -> tuple[list[int], np.ndarray[Any, Any]]:
        """The rows whose pictures can be read, and their descriptions; the others are skipped."""
        sources = [self._records[i].source for i in rows]
        described, unreadable = describe(
            lambda at: content(sources[at]),
            [_stamp(source) for source in sources],
            self._options.max_pixels,
            f"{self._place}\0{cls}",
            f"{self._name} {cls}".strip(),
        )
        for at, reason in unreadable.items():
            self._skip(sources[at], self._records[rows[at]].id, reason)
        kept = [at for at in range(len(rows)) if at not in unreadable]
        return [rows[at] for at in kept], described[kept]

    def _note_copies(self, records: Sequence[Record], same: Sequence[int], dealt: Sequence[Split]) -> None:
        """Tell how many pictures are copies, and which ones are in two classes, or by the source in two splits."""
        sets: dict[int, list[int]] = {}
        for i, picture in enumerate(same):
            sets.setdefault(picture, []).append(i)
        copied = [members for members in sets.values() if len(members) > 1]
        self._copied["pictures"] += len(records)
        if not copied:
            return
        several = [m for m in copied if len({records[i].label for i in m}) > 1]
        across = [m for m in copied if len({dealt[i] for i in m}) > 1]

        def example(members: Sequence[int], by: Sequence[str]) -> str:
            other = next((i for i in members if by[i] != by[members[0]]), members[1])
            return f"{records[members[0]].id} and {records[other].id}"

        self._copied["copies"] += sum(len(m) - 1 for m in copied)
        self.notes[:] = [note for note in self.notes if " are copies of others " not in note]
        counts, two = self._copied, example(copied[0], [""] * len(records))
        self._note(
            f"{counts['copies']} of {counts['pictures']} pictures are copies of others (the same again, saved anew or "
            f"resized), such as {two}; copies of a picture are in the same split"
            + (", but for those that the data set itself puts in two" if across else "")
        )
        if several:
            labels = [r.label for r in records]
            self._note(f"{len(several)} picture(s) are in two classes, such as {example(several[0], labels)}")
        if across:
            self._note(
                f"{len(across)} picture(s) are in two splits of the data set, such as {example(across[0], dealt)}"
            )

    def _note_small_classes(self) -> None:
        """One note for all classes, which does not depend on what was asked for."""
        if any(note.startswith("few pictures in ") for note in self.notes):
            return
        sizes = {c: [len(self._dealt[c][s]) for s in SPLITS] for c in self.classes if c in self._dealt}
        small = sorted((c for c in sizes if sizes[c][0] < ENOUGH or sizes[c][1] < ENOUGH), key=lambda c: sum(sizes[c]))
        shown = [f"{c} has {sum(sizes[c])} ({sizes[c][0]} explained, {sizes[c][1]} held out)" for c in small[:NAMED]]
        more = f", and so on for {len(small)} classes" if len(small) > NAMED else ""
        self._note(f"few pictures in {printable(self._name)}: {', '.join(shown)}{more}; all of them are used")

    # -- reading -----------------------------------------------------------------------------------------------------
    @property
    def _sides(self) -> tuple[int, int]:
        """(height, width) in pixels of the pictures that are given."""
        return self._framing.size if isinstance(self._framing, Framing) else self._framing

    def _draw(self, pool: Sequence[Source], n: int, seed: int) -> tuple[list[int], Tensor]:
        """The positions in the pool of n pictures that can be read, and the pictures (m, 3, H, W)."""
        drawn: list[int] = []
        images: list[Tensor] = []
        for at in np.random.default_rng(seed).permutation(len(pool)).tolist():
            if len(drawn) == n:
                break
            image = self._read(pool[at])
            if image is not None:
                drawn.append(at)
                images.append(image)
        return drawn, torch.stack(images) if images else torch.zeros(0, 3, *self._sides)

    def _read(self, source: Source) -> Tensor | None:
        key = (source, self._framing)
        image = self._cache.get(key)
        if image is None and _shown(source) not in self._skipped:
            try:
                image = read_picture(content(source), self._framing, self._options.max_pixels)
            except Unreadable as error:
                self._skip(source, "", str(error))
                return None
            self._cache.put(key, image)
        return image

    def _mask(self, record: Record) -> Tensor:
        if record.mask is None or self._skipped.get(_shown(record.mask), "").startswith(_BAD_MASK):
            return torch.zeros(self._sides)
        try:
            limits = self._framing, self._options.max_pixels
            return read_mask(content(record.mask), content(record.source), *limits)
        except Unreadable as error:
            self._skip(record.mask, "", f"{_BAD_MASK}{record.id}: {error}")
            return torch.zeros(self._sides)

    def _meta(self, records: Sequence[Record]) -> dict[str, Any]:
        """What is known of the samples beside their classes; what the source has for no picture at all is left out."""
        meta: dict[str, Any] = {}
        has_groups, has_captions, has_masks = self._has
        if has_groups:
            meta["group"] = tuple(r.group for r in records)
        if has_captions:
            meta["caption"] = tuple(r.caption for r in records)
        if self._attributes:
            meta["attributes"] = tuple(_attributes(self._attributes, r.attributes) for r in records)
        if has_masks:
            masks = [self._mask(r) for r in records]
            meta["masks"] = torch.stack(masks) if masks else torch.zeros(0, *self._sides)
        return meta

    @cached_property
    def _has(self) -> tuple[bool, bool, bool]:
        """Whether any picture has a group, a caption, a mask."""
        kinds = [(bool(r.group), bool(r.caption), r.mask is not None) for r in self._records]
        return any(k[0] for k in kinds), any(k[1] for k in kinds), any(k[2] for k in kinds)

    def _skip(self, source: Source, name: str, reason: str) -> None:
        self._skipped[_shown(source) if isinstance(source, Path) or not name else name] = reason

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    # -- concepts ----------------------------------------------------------------------------------------------------
    def _concept_files(self) -> dict[str, list[Path]]:
        if self._options.concepts is None:
            return {}
        root = existing_folder(self._options.concepts, "concept folder")
        found = {printable(d.name): image_files(d, IMAGE_SUFFIXES, self._skipped) for d in folders(root)}
        empty = [name for name, files in found.items() if not files]
        if not found and image_files(root, IMAGE_SUFFIXES, {}):
            raise UsageError(
                f"the images of the concept folder {str(root)!r} lie in no sub-folder",
                "it needs one sub-folder of images for each concept; "
                f"where an option takes NAME=DIR, {root.resolve().name}={root} makes all of them one concept",
            )
        if empty or not found:
            where = f"{root / empty[0]}" if empty else str(root)
            raise UsageError(
                f"no images in the concept folder {where!r}", "it needs one sub-folder of images for each concept"
            )
        return found


def content(source: Source) -> Picture:
    """The picture of a source; raises `Unreadable` if a shelf has none."""
    return source if isinstance(source, Path) else source.shelf.picture(source.row)


def file_id(name: str, root: Path, path: Path) -> str:
    """The id of a file: the name of its data set, and the path from the folder of the data set."""
    return printable(f"{name}/{path.relative_to(root).as_posix()}")


def _shown(source: Source) -> str:
    return printable(source) if isinstance(source, Path) else f"{source.shelf.stamp}/{source.row}"


def _stamp(source: Source) -> str:
    if not isinstance(source, Path):
        return f"{source.shelf.stamp}\0{source.row}"
    try:
        return stamp(source)
    except OSError:
        return str(source)


def _attributes(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Attribute -> its value: numbers where it is one, and those of a cell that lists several."""
    found: dict[str, Any] = {}
    for name, value in zip(names, values, strict=False):
        if name.lower() == "attributes":
            found |= _listed(value)
        elif value not in ("", None):
            found[name] = _number(value)
    return found


def _listed(value: Any) -> dict[str, Any]:
    """The attributes in one cell: a JSON object, a list, or ``striped; colour=black``."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [part.strip() for part in value.replace(";", ",").split(",") if part.strip()]
    if isinstance(value, Mapping):
        return {str(k): v for k, v in value.items()}
    pairs = [str(part).partition("=") for part in (value if isinstance(value, list) else [value]) if part is not None]
    return {name.strip(): _number(given.strip()) if equals else 1 for name, equals, given in pairs}


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def _phrases(given: str | None, usual: Path | None) -> tuple[str, ...]:
    if given is None and (usual is None or not usual.is_file()):
        return ()
    path = existing_file(given, "vocabulary file") if given is not None else usual
    assert path is not None
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
