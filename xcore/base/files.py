"""JSON and text files that exist whole or not at all, and names that are safe as file names."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xcore.base.errors import UsageError


def slug(name: str) -> str:
    """A name as part of a file name: it can never leave the run directory."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:48] or "x"


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object; raises `UsageError` that names the file if it is damaged or has not all of these keys."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise UsageError(f"cannot read {path}: it is nested too deeply", "remove it and run again") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", "remove it and run again") from error
    if not isinstance(plain, dict) or not all(key in plain for key in keys):
        raise UsageError(f"{path} is damaged", "remove it and run again")
    return plain


def write_json(path: Path, value: Mapping[str, Any], *, sync: bool = True) -> None:
    """Write JSON under a temporary name, sync and rename (see `write_text`). NaN is refused: it is no JSON."""
    write_text(path, as_json(value), sync=sync)


def as_json(value: Mapping[str, Any], *, lines: bool = False) -> str:
    """The text of a JSON file. NaN is refused: it is no JSON and no result.

    Parameters
    ----------
    lines
        Each entry is one line, whatever is in it: many times as fast where there is much, and hard to read.
    """
    encoder = json.JSONEncoder(indent=None if lines else 1, allow_nan=False, default=_plain, ensure_ascii=False)
    if not lines or not value:
        return encoder.encode(value)
    entries = (f" {encoder.encode(key)}: {encoder.encode(entry)}" for key, entry in value.items())
    return "{\n" + ",\n".join(entries) + "\n}"


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a file under a temporary name, sync and rename: it is there whole or not at all.

    What is no character, such as a byte of a path that is not UTF-8, is written with the escape that JSON has for it.

    Parameters
    ----------
    sync
        Wait until the disk has it, so that it is also whole after a power failure. Not needed in a folder that is
        synced before it gets its name.
    """
    import tempfile  # late: `xcore list` reads files only

    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp lets nobody else read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_if_changed(path: Path, text: str) -> None:
    """Write a file as `write_text` does, unless it says this already."""
    try:
        same = path.read_bytes() == text.encode("utf-8", "backslashreplace")
    except OSError:
        same = False
    if not same:
        write_text(path, text)


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch, and mappings and sets, as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not plain data: {value!r}")


def cache_directory() -> Path:
    """Where xcore keeps what all runs of a user share: the variable XCORE_CACHE, else the system's cache folder."""
    if chosen := os.environ.get("XCORE_CACHE"):
        return Path(chosen)
    system: str = sys.platform  # a variable: mypy would take the rest for code that is never reached
    if system == "linux":  # as platformdirs has it, whose import costs 4 ms of every start
        return Path(os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache") / "xcore"
    from platformdirs import user_cache_path

    return user_cache_path("xcore")


@contextlib.contextmanager
def staying_here() -> Iterator[None]:
    """Go back to the current folder, whatever a plugin makes the current one: users' paths are relative to it."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    try:
        yield
    finally:
        if here:
            with contextlib.suppress(OSError):
                os.chdir(here)
