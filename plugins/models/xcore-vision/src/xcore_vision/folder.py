"""``folder:DIR``: a folder of images as a data set, with one sub-folder for each class, or all images as one class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xcore.contract import Modality, Samples, Split, Truth, UsageError, unknown
from xcore.inputs.images import SUFFIXES, Unreadable, read_picture
from xcore.inputs.paths import existing_file, existing_folder
from xcore.models.torch_model import TensorCache
from xcore_vision.options import FolderOptions

_TURNS: tuple[Split, ...] = ("explain", "heldout", "train")


class Folder:
    """Images in a folder (protocol `xcore.contract.Dataset`).

    The files of a class are sorted by a digest of their names and dealt to the splits in turn. So splits never share a
    file, they are equally large, and they do not depend on the seed. Images are read when they are asked for; a file
    that cannot be read is named in `skipped`, and another one takes its place.

    Parameters
    ----------
    options
        Size of the images, concepts, vocabulary and limits.
    directory
        The folder.

    Raises
    ------
    UsageError
        The folder does not exist or contains no images.
    """

    modality: Modality = "image"

    def __init__(self, options: FolderOptions, directory: str) -> None:
        self._root = existing_folder(directory, "image folder")
        self._options = options
        self._skipped: dict[Path, str] = {}
        self.notes: list[str] = []
        """Notes for the reader on samples given so far: where there were fewer images than asked for."""
        self.left_out: dict[str, str] = {}
        """Sub-folder -> why it is not among `classes`: what a user is told who asks for it."""
        self._cache = TensorCache()
        self._files = self._classes(self._root)
        if not self._files:
            raise UsageError(
                f"no images in {directory!r}", "put images in it, or one sub-folder of images for each class"
            )
        self.classes = tuple(self._files)
        self._concepts = self._concept_files()
        self.concepts = tuple(self._concepts)
        self.vocabulary = self._phrases()
        self.defaults: Mapping[str, str] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        """The files that could not be read as images so far, one line each with the reason."""
        return tuple(f"{path}: {reason}" for path, reason in sorted(self._skipped.items()))

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n images of a class (None = of all classes) from a split, or all of them if there are fewer.

        Labels are positions in `classes`.

        Raises
        ------
        UsageError
            There is no such split or class, or the split "explain" has no readable image of it.
        """
        if split not in _TURNS:
            raise unknown("split", split, _TURNS)
        if cls is not None and cls not in self._files:
            raise unknown(f"class in {str(self._root)!r}:", cls, self.classes)
        names = self.classes if cls is None else (cls,)
        pool = [(p, self.classes.index(c)) for c in names for p in self._dealt(c)[split]]
        what = f"class {cls!r}" if cls is not None else "all classes"
        samples = self._draw(self._root, pool, n, seed, f"{what}, split {split!r}")
        if split == "explain" and not len(samples):
            count = len(self._skipped)
            raise UsageError(f"{what} of {str(self._root)!r} has no readable image", f"{count} files were skipped")
        return samples

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n images of a concept, or all of them if there are fewer; raises `UsageError` if there is no such concept."""
        if name not in self._concepts:
            raise unknown("concept", name, self.concepts)
        root = Path(self._options.concepts or "").expanduser()
        drawn = self._draw(root, [(p, 0) for p in self._concepts[name]], n, seed, f"concept {name!r}")
        return Samples("image", drawn.images, drawn.ids, meta=drawn.meta)

    def truth(self, classifier: str) -> Truth | None:
        """None: nothing is known about what a classifier uses in a folder of images."""
        return None

    def _dealt(self, cls: str) -> dict[Split, list[Path]]:
        def rank(path: Path) -> str:
            return hashlib.sha256(path.relative_to(self._root).as_posix().encode()).hexdigest()

        ordered = sorted(self._files[cls], key=rank)
        return {split: ordered[turn :: len(_TURNS)] for turn, split in enumerate(_TURNS)}

    def _draw(self, root: Path, pool: Sequence[tuple[Path, int]], n: int, seed: int, what: str) -> Samples:
        images: list[Tensor] = []
        ids: list[str] = []
        labels: list[int] = []
        for at in np.random.default_rng(seed).permutation(len(pool)):
            if len(images) == n:
                break
            path, label = pool[at]
            image = self._read(path)
            if image is not None:
                images.append(image)
                ids.append(f"{root.resolve().name}/{path.relative_to(root).as_posix()}")
                labels.append(label)
        if len(images) < n:
            self._note(f"{what}: {n} images were asked for and there are {len(images)}; all are used")
        size = self._options.size
        data = torch.stack(images) if images else torch.zeros(0, 3, size, size)
        return Samples("image", data, tuple(ids), torch.tensor(labels, dtype=torch.long))

    def _read(self, path: Path) -> Tensor | None:
        if path in self._skipped:
            return None
        image = self._cache.get(path)
        if image is None:
            try:
                image = read_picture(path, (self._options.size, self._options.size), self._options.max_pixels)
            except Unreadable as error:
                self._skipped[path] = str(error)
                return None
            self._cache.put(path, image)
        return image

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _classes(self, root: Path) -> dict[str, list[Path]]:
        """Image files by class; sub-folders are classes if any of them holds images."""
        found = {d.name: self._images(d) for d in _folders(root)}
        classes = {name: files for name, files in found.items() if files}
        top = self._images(root, deep=False)
        if not classes:
            return {root.resolve().name: top} if top else {}
        for name in found:
            if name not in classes:
                self._skipped[root / name] = "no images in this folder"
                self.left_out[name] = f"no images in the folder {str(root / name)!r}"
        for path in top:
            self._skipped[path] = "lies beside the folders of the classes"
        return classes

    def _images(self, directory: Path, *, deep: bool = True) -> list[Path]:
        files = []
        for folder, folders, names in os.walk(directory):
            folders[:] = sorted(f for f in folders if not f.startswith(".")) if deep else []
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                    files.append(path)
                elif deep and not name.startswith("."):
                    self._skipped[path] = f"not an image file ({path.suffix or 'no suffix'})"
        return files

    def _concept_files(self) -> dict[str, list[Path]]:
        if self._options.concepts is None:
            return {}
        root = existing_folder(self._options.concepts, "concept folder")
        found = {d.name: self._images(d) for d in _folders(root)}
        empty = [name for name, files in found.items() if not files]
        if empty or not found:
            where = f"{root / empty[0]}" if empty else str(root)
            raise UsageError(
                f"no images in the concept folder {where!r}", "it needs one sub-folder of images for each concept"
            )
        return found

    def _phrases(self) -> tuple[str, ...]:
        given, usual = self._options.vocabulary, self._root / "vocabulary.txt"
        if given is None and not usual.is_file():
            return ()
        path = existing_file(given, "vocabulary file") if given is not None else usual
        lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
        return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
