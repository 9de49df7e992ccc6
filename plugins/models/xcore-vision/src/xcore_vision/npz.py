"""``npz:FILE``: arrays of pictures and classes in a file of numpy, such as MNIST's and MedMNIST's."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcore.contract import UsageError, unknown
from xcore.inputs.images import Picture
from xcore.inputs.paths import existing_file, printable
from xcore_vision.files import stamp
from xcore_vision.metadata import label_name
from xcore_vision.options import ArrayOptions
from xcore_vision.pictures import Kept, Pictures, Record
from xcore_vision.splits import MARKS, NUMBERS

IMAGES = ("images", "image", "x", "data", "arr_0")
LABELS = ("labels", "label", "y", "targets", "target", "arr_1")
NAMES = ("names", "class_names", "classes")
SPLIT = ("split", "splits")
GROUP = ("group", "groups")
CAPTION = ("caption", "captions")
MASKS = ("masks", "mask")

Array = NDArray[Any]


class Arrays(Pictures):
    """Pictures in a .npz file; see `Pictures` for the splits.

    Arrays called ``images`` (or x, data), ``labels`` (or y, targets) and, if there are any, ``split``, ``group``,
    ``caption``, ``masks`` and ``names`` of the classes 0, 1 and so on. Arrays of each split may be in the file, called
    like ``x_train`` or ``train_images``. Nothing is unpickled.

    Parameters
    ----------
    options
        Names of the arrays, and the options of every data set of pictures.
    path
        The file.

    Raises
    ------
    UsageError
        There is no such file, it holds no pictures, arrays do not fit together, or values are no levels of colours.
    """

    def __init__(self, options: ArrayOptions, path: str) -> None:
        file = existing_file(path, "file of arrays")
        arrays = _read(file)
        listed = _get(arrays, NAMES, "", None, default=np.array([]))
        names = [printable(_text(listed, i)) for i in range(len(listed))]
        records: list[Record] = []
        skipped: dict[str, str] = {}
        for part in _parts(arrays, options):
            pixels = _pictures(_get(arrays, IMAGES, part, options.images), file)
            content = f"{stamp(file.resolve())}\0{part}"
            shelf = Rows(content, pixels)
            columns = {
                what: _fitting(_get(arrays, usual, part, given, default=np.array([])), len(pixels), usual[0], file)
                for what, usual, given in (
                    ("label", LABELS, options.labels),
                    ("split", SPLIT, None),
                    ("group", GROUP, None),
                    ("caption", CAPTION, None),
                    ("mask", MASKS, None),
                )
            }
            masks = Rows(f"{content}\0masks", _masks(columns["mask"], file)) if len(columns["mask"]) else None
            for row in range(len(pixels)):
                name = f"{file.name}/{part}/{row}" if part else f"{file.name}/{row}"
                cells = {what: _text(column, row) for what, column in columns.items() if what != "mask"}
                mark = cells["split"].lower()
                if mark and mark not in MARKS and mark not in NUMBERS:
                    skipped[name] = f"its split {mark!r} is none of {', '.join((*MARKS, *NUMBERS))}"
                    continue
                split = MARKS.get(mark) or NUMBERS.get(mark) or MARKS.get(part)
                label = label_name(cells["label"], names) if len(columns["label"]) else file.stem
                if not label:
                    skipped[name] = "no class"
                    continue
                mask = Kept(masks, row) if masks is not None else None
                records.append(Record(name, Kept(shelf, row), label, split, cells["group"], cells["caption"], mask))
        super().__init__(options, str(path), str(file.resolve()), records, skipped=skipped)


class Rows:
    """The pictures of an array (protocol `xcore_vision.pictures.Shelf`)."""

    def __init__(self, stamp: str, pixels: Array) -> None:
        self.stamp, self._pixels = stamp, pixels

    def picture(self, row: int) -> Picture:
        return np.ascontiguousarray(self._pixels[row])


def _read(file: Path) -> Mapping[str, Array]:
    hint = "save arrays of numbers and strings with np.savez; objects are refused, since they could run code"
    with open(file, "rb") as opened:
        start = opened.read(6)
    if not start.startswith((b"PK", b"\x93NUMPY")):  # numpy would take it for a pickle, and say how to load it unsafely
        raise UsageError(f"{str(file)!r} is no file that np.savez wrote", hint)
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise UsageError(f"{str(file)!r} is a single array", "save it with np.savez(file, images=..., labels=...)")
        with found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{str(file)!r} cannot be read as arrays: {reason}", hint) from error


def _spellings(name: str, part: str) -> tuple[str, ...]:
    return (f"{name}_{part}", f"{part}_{name}") if part else (name,)


def _get(
    arrays: Mapping[str, Array], usual: Sequence[str], part: str, given: str | None, default: Array | None = None
) -> Array:
    """The array that an option names, else the first usual one."""
    plain = {name.lower(): array for name, array in arrays.items()}
    for name in (given,) if given is not None else usual:
        for spelling in _spellings(name, part):
            if spelling in arrays:
                return arrays[spelling]
            if given is None and spelling in plain:
                return plain[spelling]
    if given is not None:
        raise unknown("array", given, tuple(arrays))
    if default is None:
        raise UsageError(f"there is no array of {usual[0]}", f"the file has {', '.join(arrays)}")
    return default


def _parts(arrays: Mapping[str, Array], options: ArrayOptions) -> tuple[str, ...]:
    """The splits whose arrays are in the file; ("",) if it has one array of pictures."""
    names = {name.lower() for name in arrays}
    images = (options.images,) if options.images else IMAGES
    if any(name in names or name in arrays for name in images):
        return ("",)
    found = tuple(m for m in MARKS if any(s in names for name in images for s in _spellings(name, m)))
    if not found:
        raise UsageError(
            "the file has no array of pictures", f"name it: images=ARRAY, one of {', '.join(map(printable, arrays))}"
        )
    return found


def _pictures(array: Array, file: Path) -> Array:
    """(n, H, W, 3) or (n, H, W), as levels of 8 bits, or (n, H, W, 3) as float32 in [0, 1]."""
    shape = array.shape
    if array.ndim == 4 and shape[3] not in (1, 3, 4) and shape[1] in (1, 3, 4):
        array = np.moveaxis(array, 1, 3)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3, 4)) or 0 in shape[1:]:
        raise UsageError(
            f"the pictures of {file.name} have shape {shape}", "it must be (n, H, W), (n, H, W, 3) or (n, 3, H, W)"
        )
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "uif":
        raise UsageError(f"the pictures of {file.name} are of type {array.dtype}", "they must be numbers")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 65535):
        raise UsageError(
            f"the pictures of {file.name} have values from {low:g} to {high:g}",
            "save them as they were before they were normalised: 0 to 1, or 0 to 255",
        )
    if array.dtype.kind in "ui" and high <= 255:
        return array.astype(np.uint8)
    scaled: Array = (array / (1 if high <= 1 else 255 if high <= 255 else 65535)).astype(np.float32)
    return scaled[..., :3] if scaled.ndim == 4 else np.repeat(scaled[..., None], 3, axis=3)


def _masks(array: Array, file: Path) -> Array:
    """(n, H, W), as levels of 8 bits."""
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        array = array[:, 0] if array.shape[1] == 1 else array[..., 0]
    if array.ndim != 3:
        raise UsageError(f"the masks of {file.name} have shape {array.shape}", "it must be (n, H, W)")
    largest = array.reshape(len(array), -1).max(1, initial=0).astype(np.float64).clip(min=1e-9)[:, None, None]
    levels: Array = np.rint(np.clip(array / largest, 0, 1) * 255).astype(np.uint8)
    return levels


def _fitting(array: Array, n: int, what: str, file: Path) -> Array:
    if array.size and len(array) != n:
        raise UsageError(f"{file.name} has {n} pictures but {len(array)} {what}", "there must be one for each picture")
    return array if array.size or not n else array[:0]


def _text(column: Array, row: int) -> str:
    """A cell as text; one number of a column of one, or the position of the one that is set."""
    if not len(column):
        return ""
    value = column[row]
    if np.ndim(value):
        value = value.ravel()[0] if value.size == 1 else int(value.argmax())
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
