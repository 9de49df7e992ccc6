"""Describes the pictures of a data set, by which copies are found, and keeps the descriptions for the next run."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcore import session
from xcore.inputs.copies import CELLS, description
from xcore.inputs.images import Picture, Unreadable

WORTH_KEEPING = 200
"""Descriptions that are kept for the next run; fewer are made anew faster than they are found."""
WORTH_SAYING = 2000
"""Pictures that take long enough to tell the user what is being done."""

Array = NDArray[Any]


def describe(
    picture: Callable[[int], Picture], stamps: Sequence[str], max_pixels: int, name: str, shown: str
) -> tuple[Array, dict[int, str]]:
    """The descriptions of pictures, which are kept in the user's cache, and why some of them cannot be read.

    Parameters
    ----------
    picture
        Gives the i-th picture; it may raise `Unreadable`.
    stamps
        What identifies the content of each picture without reading it, such as its path, size and time.
    name
        Identifies the pictures together: descriptions are kept under it.
    shown
        What they are, for a line on stderr if there are many.

    Returns
    -------
    (n, 76), and index -> reason for those that cannot be read, whose rows are zero.
    """
    keys = np.array(
        [list(hashlib.blake2b(s.encode("utf-8", "surrogateescape"), digest_size=16).digest()) for s in stamps]
    )
    keys = keys.reshape(len(stamps), 16).astype(np.uint8)
    found = np.zeros((len(stamps), CELLS), dtype=np.float16)
    kept = _kept(name) if len(stamps) >= WORTH_KEEPING else {}
    missing = []
    for i, key in enumerate(keys):
        if (known := kept.get(key.tobytes())) is not None:
            found[i] = known
        else:
            missing.append(i)
    if len(missing) >= WORTH_SAYING:
        print(f"looking for copies among {len(missing)} pictures of {shown}, once", file=sys.stderr)
    unreadable: dict[int, str] = {}

    def one(i: int) -> None:
        try:
            found[i] = description(picture(i), max_pixels)
        except Unreadable as error:
            unreadable[i] = str(error)

    Image.init()  # else two threads could begin to, and one of them would find a format unknown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are checked, and of metadata that nobody reads
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(one, missing))
    if len(missing) >= WORTH_KEEPING:
        readable = np.array([i not in unreadable for i in range(len(stamps))])
        _keep(name, keys[readable], found[readable])
    return found, unreadable


def _file(name: str) -> Path:
    return session.cached_artifact("picture-descriptions", {"of": name, "version": 1}, lambda folder: None) / "kept.npz"


def _kept(name: str) -> dict[bytes, Array]:
    try:
        with np.load(_file(name), allow_pickle=False) as arrays:
            keys, values = arrays["keys"], arrays["values"]
        return dict(zip((key.tobytes() for key in keys), values, strict=True)) if values.shape[1:] == (CELLS,) else {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # not there, cut off, or no cache can be written
        return {}


def _keep(name: str, keys: Array, values: Array) -> None:
    try:
        path = _file(name)
        handle, temporary = tempfile.mkstemp(prefix=".writing-", suffix=".npz", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            np.savez(file, keys=keys, values=values)
        os.replace(temporary, path)
    except OSError:  # descriptions that cannot be kept cost time only
        pass
