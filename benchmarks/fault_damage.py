"""Damage to the files of a finished run, as disks, editors and older versions of xcore do it: DAMAGE has all kinds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def flip(path: Path, at: float = 0.5) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def flip_as_a_disk_does(path: Path) -> None:
    """Flip one bit, and leave the file as old as it was."""
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut(path: Path) -> None:
    """Lose the second half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(content: str) -> Callable[[Path], None]:
    """Put other text there."""
    return lambda path: path.write_text(content) and None  # type: ignore[func-returns-value]


def forged(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change a record as an older xcore, which had no checksums, could have written it."""

    def do(path: Path) -> None:
        plain = json.loads(path.read_text())
        plain.pop("sum")
        change(plain)
        path.write_text(json.dumps({**plain, "schema": 1}))

    return do


def remove(path: Path) -> None:
    """Delete it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def into_a_folder(path: Path) -> None:
    """A folder stands there."""
    path.unlink()
    path.mkdir()


RECORD, TENSORS, SCORES = "explanations/*/record.json", "explanations/*/tensors.safetensors", "scores/*.json"
SHARED = "artifacts/number.*/n.txt"
DAMAGE: Mapping[str, tuple[str, Callable[[Path], None], str]] = {
    "bit of a record": (RECORD, flip, r"record\.json is damaged"),
    "bit of tensors": (TENSORS, flip, r"tensors\.safetensors is damaged: its checksum is wrong"),
    "bit of scores": (SCORES, flip, r"scores/\w+\.json is damaged"),
    "bit of the plan": ("run.json", flip, r"run\.json is damaged"),
    "bit of the identities": ("identities.json", flip, r"identities\.json is damaged"),
    "bit of an artefact": (SHARED, flip, r""),
    "half a record": (RECORD, cut, r"record\.json is damaged: it is not JSON"),
    "half of tensors": (TENSORS, cut, r"tensors\.safetensors is damaged"),
    "an empty record": (RECORD, text(""), r"record\.json is damaged: it is not JSON"),
    "a list for a record": (RECORD, text("[]"), r"record\.json is damaged"),
    "nested JSON": (RECORD, text("[" * 100_000), r"record\.json is damaged: it is nested too deeply"),
    "a number of 5,000 digits": (SCORES, text("1" * 5000), r"scores/\w+\.json is damaged"),
    "scores that are a number": (SCORES, forged(lambda r: r.update(scores=3)), r"scores"),
    "scores without a key": (SCORES, forged(lambda r: r.pop("scores")), r"scores"),
    "a record without a key": (RECORD, forged(lambda r: r.pop("status")), r"status"),
    "unknown status": (RECORD, forged(lambda r: r.update(status="done")), r"status is 'done'"),
    "a word for a number": (
        RECORD,
        forged(lambda r: r["explanation"]["concepts"][0].update(importance="much")),
        r"concepts\[0\]\.importance is 'much' instead of a finite number",
    ),
    "a deleted record": (RECORD, remove, r"has no record\.json|No such file"),
    "deleted tensors": (TENSORS, remove, r"tensors\.safetensors is damaged: No such file"),
    "deleted scores": (SCORES, remove, r""),
    "a deleted explanation": ("explanations/reads.*", remove, r""),
    "a deleted artefact": ("artifacts/number.*", remove, r""),
    "all artefacts deleted": ("artifacts", remove, r""),
    "no identities": ("identities.json", remove, r""),
    "a folder for a record": (RECORD, into_a_folder, r"record\.json is damaged"),
}
"""Damage -> the files (the first of them is damaged), what is done, and what is told of it; "" = nothing need be."""
