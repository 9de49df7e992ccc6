"""``folder:DIR``: a folder of images, whose classes are its sub-folders or in a table, or all images as one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.contract import Split, UsageError
from xcore.inputs.paths import IMAGE_SUFFIXES, existing_folder, printable
from xcore_vision.files import Skipped, folders, image_files, is_file
from xcore_vision.metadata import SYNSETS, Described, Description, Finder, descriptions, merge, near, solutions
from xcore_vision.options import FolderOptions
from xcore_vision.pictures import Pictures, Record, file_id
from xcore_vision.splits import MARKS

MASKS = ("masks", "segmentations")
"""Folders that hold the mask of each picture under the path of the picture."""
PICTURES_OF_IMAGENET = "ILSVRC/Data/CLS-LOC"
"""Where the pictures are in the archive of the ImageNet challenge."""


class Folder(Pictures):
    """Images in a folder (protocol `xcore.contract.Dataset`); see `Pictures` for the splits.

    The class of an image is what a table says (``metadata.csv`` in the folder, in the folders of its splits or beside
    it; the tables of CelebA and ImageNet), else the sub-folder that it is in. Sub-folders called train, val and test
    are splits, not classes. Images without any of these are one class, which is called like the folder.

    Parameters
    ----------
    options
        Size of the images, columns of the table, concepts, vocabulary and limits.
    directory
        The folder.

    Raises
    ------
    UsageError
        The folder does not exist or contains no images with a class, or a table lacks what an option names.
    """

    def __init__(self, options: FolderOptions, directory: str) -> None:
        self._root = existing_folder(directory, "image folder")
        skipped: dict[str, str] = {}
        contents = _Contents(options, self._root, skipped)
        super().__init__(
            options,
            directory,
            str(self._root.resolve()),
            contents.records(),
            skipped=skipped,
            attributes=contents.attributes,
            left_out=contents.left_out,
            synset_mapping=near(self._root, SYNSETS),
            vocabulary=self._root / "vocabulary.txt",
        )


class _Contents:
    """What is in a folder: its files, the folders of its splits and masks, and what its tables say."""

    def __init__(self, options: FolderOptions, root: Path, skipped: Skipped) -> None:
        self._root, self._name, self._skipped = root, root.resolve().name, skipped
        self._base = root / PICTURES_OF_IMAGENET if (root / PICTURES_OF_IMAGENET).is_dir() else root
        masks = [self._base / name for name in MASKS if (self._base / name).is_dir()]
        every = image_files(self._base, IMAGE_SUFFIXES, skipped, top=False)
        self._files = [f for f in every if not any(mask in f.parents for mask in masks)]
        self._masks = {
            f.relative_to(mask).with_suffix("").as_posix(): f for mask in masks for f in every if mask in f.parents
        }
        self._parts = _parts(self._base, self._files)
        finder = Finder(self._base, self._files)
        described = descriptions(options, root, [self._base / name for name in self._parts], finder)
        self._rows = merge(described, finder, root, skipped)
        tables = described if self._rows else []
        named = {_mask_file(row.mask, table, self._base) for table, row in self._rows.values()}
        self._files = [f for f in self._files if f not in named]
        self._labelled = next((t.table for t in tables if t.labelled), "")
        self.attributes = tuple(dict.fromkeys(a for t in tables for a in t.attributes))
        self._places = {f: self._place(f) for f in self._files}
        self._solutions = {} if self._labelled or not self._files else solutions(root)
        self._has_classes = bool(self._labelled or self._solutions) or any(cls for _, cls in self._places.values())
        inside = [t.table for t in described if t.folder.resolve().is_relative_to(root.resolve())]
        if inside and self._files and not self._rows and not self._has_classes:
            reasons = [f"{where}: {why}" for where, why in skipped.items() if where.startswith(f"{inside[0]}, row ")]
            raise UsageError(
                f"{inside[0]} describes none of the images in {str(root)!r}", (*reasons, "it has no rows")[0]
            )
        self.left_out = {} if self._labelled or not self._has_classes else self._empty([p.name for p in masks])

    def records(self) -> list[Record]:
        """The images that have a class; the others are skipped."""
        found, lacking = [], Counter[Path]()
        for file, (split, folder) in self._places.items():
            table, row = self._rows.get(file, (None, None))
            label = self._label(file, folder, row)
            if label:
                found.append(self._record(file, label, split, table, row))
            elif self._labelled:
                what = "no row" if row is None else "no class"
                self._skipped[printable(file)] = f"{what} in {self._labelled}"
            elif file.parent == self._base:
                kind = "splits" if self._parts else "classes"
                self._skipped[printable(file)] = f"lies beside the folders of the {kind}"
            else:
                lacking[self._base / file.relative_to(self._base).parts[0]] += 1
        for place, n in lacking.items():
            beside = bool(self._parts) and place.name not in self._parts
            why = "it lies beside the folders of the splits" if beside else "neither a folder nor a table says which"
            self._skipped[printable(place)] = f"{n} images without a class: {why}"
        return found

    def _place(self, file: Path) -> tuple[Split | None, str]:
        """The split and the class by the folders that a file is in."""
        above = file.relative_to(self._base).parts[:-1]
        if not self._parts:
            return None, printable(above[0]) if above else ""
        split = self._parts.get(above[0]) if above else None
        return split, printable(above[1]) if split is not None and len(above) > 1 else ""

    def _label(self, file: Path, folder: str, row: Described | None) -> str:
        if self._labelled:
            return row.label if row is not None else ""
        if not self._has_classes:
            beside = self._parts and self._places[file][0] is None
            return "" if beside else printable(self._name)
        return folder or self._solutions.get(file.stem, "")

    def _record(
        self, file: Path, label: str, split: Split | None, table: Description | None, row: Described | None
    ) -> Record:
        plain = Record(file_id(self._name, self._root, file), file, label, split, mask=self._mask(file))
        if table is None or row is None:
            return plain
        cells = dict(zip(table.attributes, row.attributes, strict=True))
        return plain._replace(
            split=row.split or split,
            group=row.group,
            caption=row.caption,
            mask=_mask_file(row.mask, table, self._base) or plain.mask,
            attributes=tuple(cells.get(name) for name in self.attributes),
        )

    def _mask(self, file: Path) -> Path | None:
        """The mask under the path of an image, with or without the first folder, such as ``images``."""
        if not self._masks:
            return None
        path = file.relative_to(self._base).with_suffix("")
        shorter = Path(*path.parts[1:]).as_posix()
        return self._masks.get(path.as_posix()) or self._masks.get(shorter)

    def _empty(self, masks: Sequence[str]) -> dict[str, str]:
        """Folder of a class without images -> what is to be told to who asks for it; each is skipped."""
        full = {cls for _, cls in self._places.values()}
        found = {}
        for part in [self._base / name for name in self._parts] or [self._base]:
            for folder in folders(part):
                name = printable(folder.name)
                if name not in full and folder.name not in masks:
                    self._skipped[printable(folder)] = "no images in this folder"
                    found[name] = f"no images in the folder {str(folder)!r}"
        return found


def _parts(base: Path, files: Sequence[Path]) -> Mapping[str, Split]:
    """Sub-folder -> split, if they are called train, val, test or the like: all of them, or train and another one."""
    above = {path.parts[0] for f in files if len((path := f.relative_to(base)).parts) > 1}
    named = {name: MARKS[name.lower()] for name in sorted(above) if name.lower() in MARKS}
    enough = len(named) == len(above) or (len(named) > 1 and "train" in named.values())
    return named if enough else {}


def _mask_file(cell: Any, table: Description, base: Path) -> Path | None:
    """The mask that a table names; a file that does not exist is told when it is read."""
    if not isinstance(cell, str):
        return None
    return next((path for folder in (table.folder, base) if is_file(path := folder / cell)), table.folder / cell)
