"""The run directory. A record exists whole or not at all.

::

    runs/<name>/run.json                       schema, plan, versions, numerics, machine
    runs/<name>/identities.json                what cells and scores were identified by
    runs/<name>/explanations/<slug>.<hash>/    record.json, tensors.safetensors, pictures, files/
    runs/<name>/scores/<hash>.json
    runs/<name>/artifacts/<name>.<hash>/       shared between cells
    runs/<name>/table.*                        rebuilt whenever the run is reported
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xcore.base.digests import digest
from xcore.base.errors import UsageError, XcoreError
from xcore.base.files import read_json, slug, write_json
from xcore.contract.types import Cell, Explanation, Score
from xcore.store.codec import decode, decode_score, encode, encode_score

SCHEMA = 1
PARTS = ("explanations", "scores", "artifacts")
LOCK = ".lock"


class Artifacts:
    """Directories that are found by the content of a key and made once, whatever process asks first."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The directory of this name and key; ``make(directory)`` fills a new one, under a lock."""
        from filelock import FileLock

        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / f"{slug(name)}.{digest(key)}"
        with FileLock(f"{target}.lock"):
            if not target.exists():
                work = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.root))
                try:
                    make(work)
                    write_json(work / "key.json", {"name": name, **key})
                    _sync_tree(work)
                    work.rename(target)
                except BaseException:
                    shutil.rmtree(work, ignore_errors=True)
                    raise
        return target


class Store:
    """One run directory.

    Parameters
    ----------
    root
        The directory; it is made if it does not exist.
    reading
        It is only read: nothing is made, and where there is no directory there are no records.
    """

    def __init__(self, root: Path, *, reading: bool = False) -> None:
        self.root = root
        self._paths: dict[str, Path] = {}
        self._records: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}
        parts = [] if reading else [root / part for part in PARTS]
        self._new = [path for path in (*parts, root, *root.parents) if not path.exists()]
        try:
            for part in parts:
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {root}: {error.strerror}", "choose another folder with --out") from error

    # -- explanations ------------------------------------------------------------------------------------------------
    def record_name(self, cell: Cell, identity: str) -> str:
        """Directory name of a record; the hash alone identifies it, the rest is for people."""
        return f"{slug(cell.label)}.{slug(str(cell.data))}.{slug(cell.cls)}.{cell.seed}.{identity}"

    def find(self, identity: str) -> Path | None:
        """The record with this identity, whatever label it was made under."""
        if identity not in self._paths or not self._paths[identity].exists():
            self._paths = {p.name.rpartition(".")[2]: p for p in (self.root / "explanations").glob("*")}
        return self._paths.get(identity)

    def read(self, identity: str) -> dict[str, Any] | None:
        """The plain part of a record, or None."""
        path = self.find(identity)
        if path is None:
            return None
        try:
            stat = (path / "record.json").stat()
        except OSError as error:
            raise UsageError(f"{path} is damaged: it has no record.json", "remove it and run again") from error
        state = stat.st_mtime_ns, stat.st_size
        if self._records.get(path, (None,))[0] != state:
            self._records[path] = state, read_json(path / "record.json", ("status",))
        return self._records[path][1]

    def load(self, identity: str) -> Explanation:
        """The explanation of a finished record."""
        path = self.find(identity)
        if path is None:
            raise UsageError(f"{self.root} has no record {identity}", "run the command that made it again")
        try:
            return decode(read_json(path / "record.json")["explanation"], path)
        except XcoreError:
            raise
        except Exception as error:  # a tensor or a key that is not there, a file that is cut off
            raise UsageError(
                f"{path} is damaged: {type(error).__name__}: {error}", "remove it and run again"
            ) from error

    def write(
        self,
        name: str,
        record: Mapping[str, Any],
        explanation: Explanation | None = None,
        pictures: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write a record under a temporary name, sync it and rename it; a record of that name is replaced."""
        target = self.root / "explanations" / name
        work = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            plain = encode(explanation, work) if explanation is not None else None
            if pictures is not None:
                pictures(work)
            write_json(work / "record.json", {**record, "schema": SCHEMA, "explanation": plain})
            _sync_tree(work)
            if target.exists():
                shutil.rmtree(target)
            work.rename(target)
            _sync(target.parent)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return target

    # -- scores ------------------------------------------------------------------------------------------------------
    def read_scores(self, identity: str) -> list[Score] | None:
        """The scores with this identity, or None."""
        path = self.root / "scores" / f"{identity}.json"
        return [decode_score(s) for s in read_json(path, ("scores", "direction"))["scores"]] if path.exists() else None

    def write_scores(self, identity: str, scores: Sequence[Score], about: Mapping[str, Any]) -> None:
        """Keep the scores of one metric over one explanation (or one group of them)."""
        plain = {**about, "schema": SCHEMA, "scores": [encode_score(s) for s in scores]}
        write_json(self.root / "scores" / f"{identity}.json", plain)

    # -- artifacts ---------------------------------------------------------------------------------------------------
    def artifact(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """A directory that cells share; see `Artifacts.get`."""
        return Artifacts(self.root / "artifacts").get(name, key, make)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from this directory; a killed process holds nothing.

        If nothing is written meanwhile, as for a request that is refused, what is new of the directory is removed.
        """
        from filelock import FileLock, Timeout

        known = (self.root / LOCK).exists()
        lock = FileLock(self.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another process works in {self.root}", "wait until it is done, or name another folder with --out"
            ) from None
        try:
            yield
        finally:
            empty = not known and self._is_empty()
            if empty:
                self._remove_locks()
            lock.release()
            for path in self._new if empty else ():
                with suppress(OSError):  # something is in it
                    path.rmdir()

    def _is_empty(self) -> bool:
        """Whether the directory holds nothing but the lock, empty folders and locks of artifacts that failed."""
        return all(path.is_dir() or path.suffix == ".lock" or path.name == LOCK for path in self.root.rglob("*"))

    def _remove_locks(self) -> None:
        for path in (self.root / LOCK, *(self.root / "artifacts").glob("*.lock")):
            with suppress(OSError):  # where a file that is open cannot be removed
                path.unlink()

    def clean(self) -> None:
        """Remove what killed runs left half-written."""
        for part in (*PARTS, "."):
            for leftover in (self.root / part).glob(".writing-*"):
                shutil.rmtree(leftover, ignore_errors=True)
                with suppress(FileNotFoundError):
                    leftover.unlink(missing_ok=True)


def _sync_tree(root: Path) -> None:
    for path in root.rglob("*"):
        _sync(path)
    _sync(root)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
