"""One explanation in a folder of its own, with the samples that it explains, as a notebook keeps it.

::

    FOLDER/record.json            the explanation and how it was made; the format of the records of a run
    FOLDER/tensors.safetensors    its tensors
    FOLDER/files/                 the files of the method
    FOLDER/samples.*              the explained samples
    FOLDER/*.png, concepts/       pictures
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcore.base.errors import UsageError
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation
from xcore.store.codec import check_plain, decode, encode, load_samples, save_samples
from xcore.store.records import Damaged, check_files, read_record, sums_of, write_record

RECORD = "record.json"


def save(
    folder: Path,
    explanation: Explanation,
    samples: Samples | None,
    recipe: Mapping[str, Any],
    pictures: Callable[[Path], None] | None,
) -> Path:
    """Write an explanation (see `xcore.explained.Explained.save`); `pictures` draws into the folder."""
    folder = folder.resolve()  # of a link, the folder that it leads to is replaced
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "name a new folder")
    if folder.is_dir() and any(folder.iterdir()) and "recipe" not in _record(folder):
        raise UsageError(f"{folder} holds something else than an explanation", "name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}", "choose another folder") from error
    try:
        plain = encode(explanation, work, copy_files=True)
        about: dict[str, Any] = {"status": "ok", "recipe": recipe, "explanation": plain}
        if samples is not None:
            save_samples(samples, work)
            about["samples"] = list(samples.ids)
        if pictures is not None:
            pictures(work)
        held = [path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()]
        write_record(work / RECORD, {**about, "sums": sums_of(work, (f for f in held if not f.endswith(".png")))})
        work.chmod(0o755)  # mkdtemp lets nobody else read
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return folder


def load(folder: Path) -> tuple[Explanation, Samples | None, dict[str, Any]]:
    """An explanation, its samples (None in the record of a run) and how it was made; see `xcore.explained.load`."""
    from safetensors import SafetensorError

    where = _only_record(folder)
    record = read_record(where / RECORD, {"explanation": dict | None})
    if record["explanation"] is None:
        raise UsageError(f"{where} holds no explanation: {record.get('reason', '')}", "run the command again")
    check_plain(record["explanation"], where / RECORD)
    check_files(where, record.get("sums", {}), where / RECORD)
    try:
        explanation = decode(record["explanation"], where)
        samples = None
        if "samples" in record:
            samples = replace(load_samples(where, ""), ids=tuple(record["samples"]))
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:  # a record without checksums
        raise Damaged(where, f"{type(error).__name__}: {error}") from error
    return explanation, samples, record.get("recipe") or _recipe_of_cell(record.get("cell", {}))


def _only_record(folder: Path) -> Path:
    """The folder itself, or the only record of a run."""
    if (folder / RECORD).is_file():
        return folder
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}", "name one that save(path) or `xcore explain` wrote")
    inside = sorted(path.parent for path in folder.glob(f"explanations/*/{RECORD}"))
    if not inside:
        raise UsageError(f"{folder} holds no explanation", "name a folder that save(path) or `xcore explain` wrote")
    if len(inside) > 1:
        shown = ", ".join(str(path.relative_to(folder)) for path in inside[:3])
        raise UsageError(f"{folder} holds {len(inside)} explanations", f"name the folder of one, such as {shown}")
    return inside[0]


def _record(folder: Path) -> dict[str, Any]:
    return read_record(folder / RECORD) if (folder / RECORD).is_file() else {}


def _recipe_of_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """How the explanation of a run was made, with the names that `xcore.explain` gives."""
    names = ("method", "classifier", "generator", "models", "layer", "seed")
    return {name: cell[name] for name in names if name in cell}
