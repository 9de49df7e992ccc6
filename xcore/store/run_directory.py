"""The run directory. A record exists whole or not at all.

::

    runs/<name>/run.json                       schema, plan, versions, numerics, machine
    runs/<name>/identities.json                what cells and scores were identified by
    runs/<name>/explanations/<slug>.<hash>/    record.json, tensors.safetensors, pictures, files/
    runs/<name>/scores/<hash>.json
    runs/<name>/artifacts/<name>.<hash>/       shared between cells: key.json, sums.json, and what a method made
    runs/<name>/table.*                        rebuilt whenever the run is reported

Records have checksums, which are compared when they are read (see `xcore.store.records`). What is damaged is made again
by whoever can make it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xcore.base.digests import digest
from xcore.base.errors import UsageError, XcoreError
from xcore.base.files import slug, write_json
from xcore.base.shapes import ShapeError, check_shape
from xcore.contract.types import Cell, Explanation, Score, Status
from xcore.store.codec import check_plain, decode, decode_score, encode, encode_score
from xcore.store.records import SCHEMA as SCHEMA
from xcore.store.records import Damaged, check_files, read_record, sums_of, write_record

RECORD = "record.json"
SUMS = "sums.json"
"""What an artifact's files were when it was made."""
PARTS = ("explanations", "scores", "artifacts")
LOCK = ".lock"
SURE_AFTER = 2_000_000_000
"""Nanoseconds after which every further change of a folder gives it another modification time."""


@dataclass(frozen=True)
class NumericsShape:
    """The shape of what run.json says about library versions."""

    versions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunShape:
    """The shape of run.json. What has a default is missing in runs of older versions."""

    plugins: list[str]
    plan: dict[str, Any]
    folder: str = ""
    command: str = ""
    written: float = 0.0
    amended: float = 0.0
    numerics: NumericsShape = field(default_factory=NumericsShape)
    python: str = ""
    platform: str = ""
    cores: int | None = None
    git: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


KEYS = {"status": Status, "reason": str, "seconds": float, "explanation": dict | None}
"""What every record has."""
SCORES = {"direction": str, "scores": tuple[Score, ...]}
"""What every file of scores has."""


def tell_on_stderr(line: str) -> None:
    """Print a line that the user must see, where there is no reporter."""
    print(line, file=sys.stderr, flush=True)


class Artifacts:
    """Directories that are found by the content of a key and made once, whatever process asks first.

    Parameters
    ----------
    tell
        Takes one line, where a directory is damaged and made again.
    """

    def __init__(self, root: Path, tell: Callable[[str], None] = tell_on_stderr) -> None:
        self.root, self._tell = root.absolute(), tell

    def get(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The directory of this name and key; ``make(directory)`` fills a new one, under a lock.

        Its files are compared with their checksums; if one of them is damaged or gone, all are made again.
        """
        from filelock import FileLock

        self.root.mkdir(parents=True, exist_ok=True)
        target = self._target(name, key)
        unfinished = f".writing-{target.name}-"
        with FileLock(f"{target}.lock"):
            if not _is_whole(target, self._tell):
                for killed in self.root.glob(f"{unfinished}*"):
                    shutil.rmtree(killed, ignore_errors=True)
                work = Path(tempfile.mkdtemp(prefix=unfinished, dir=self.root))
                try:
                    make(work)
                    write_json(work / "key.json", {"name": name, **key})
                    write_record(work / SUMS, {"sums": sums_of(work, _files_of(work))})
                    _sync_tree(work)
                    _remove(target)
                    work.rename(target)
                except BaseException:
                    shutil.rmtree(work, ignore_errors=True)
                    raise
        return target

    def busy(self, name: str, key: Mapping[str, Any]) -> bool:
        """Whether some process is making the directory of this name and key at the moment."""
        from filelock import FileLock, Timeout

        lock = FileLock(f"{self._target(name, key)}.lock", timeout=0)
        if not self.root.is_dir():
            return False
        try:
            with lock:
                return False
        except Timeout:
            return True

    def _target(self, name: str, key: Mapping[str, Any]) -> Path:
        return self.root / f"{slug(name)}.{digest(key)}"


class Store:
    """One run directory.

    Parameters
    ----------
    root
        The directory; it is made if it does not exist.
    reading
        It is only read: nothing is made, and where there is no directory there are no records.
    tell
        Takes one line for each record that is damaged.
    """

    def __init__(self, root: Path, *, reading: bool = False, tell: Callable[[str], None] = tell_on_stderr) -> None:
        self.given = root
        """The directory as it was named, which is how people are told of it."""
        self.root = root = root.absolute()  # whatever folder a plugin makes the current one
        self.tell = tell
        self._records = f"{root}/explanations"
        self._names: dict[str, str] = {}
        self._looked_at = -1
        self._known: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._told: set[str] = set()
        self.used: set[str] = set()
        """Names of the artifacts that this process asked for; what it writes names them, so that others can go."""
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
        place = self._place(identity)
        return None if place is None else Path(place)

    def identities(self) -> set[str]:
        """The identities of all records that are there, whole or not."""
        self._look_again(self._records)
        return {*self._names}

    def _place(self, identity: str) -> str | None:
        """The same as a text: a run of many cells asks so often that making paths would take most of the time."""
        name = self._names.get(identity)
        if name is None or not os.path.exists(f"{self._records}/{name}"):
            self._look_again(self._records)
            name = self._names.get(identity)
        return None if name is None else f"{self._records}/{name}"

    def _look_again(self, folder: str) -> None:
        """List the folder of records again, unless its modification time says that nothing has changed in it.

        File systems round modification times, so that two changes in a row may have the same one. So a modification
        time is trusted only once it is older than `SURE_AFTER`.
        """
        try:
            changed = os.stat(folder).st_mtime_ns
            if changed != self._looked_at:
                self._looked_at = changed if time.time_ns() - changed > SURE_AFTER else -1
                self._names = {name.rpartition(".")[2]: name for name in os.listdir(folder)}
        except FileNotFoundError:
            self._looked_at, self._names = -1, {}

    def read(self, identity: str) -> dict[str, Any] | None:
        """The plain part of a record, or None if there is none; raises `Damaged` if it is not what was written."""
        place = self._place(identity)
        if place is None:
            return None
        try:
            return self._read_if_new(f"{place}/{RECORD}", _explained)
        except FileNotFoundError:
            raise Damaged(Path(place), f"it has no {RECORD}") from None

    def _read_if_new(self, path: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What a file holds; it is read again only after it has changed."""
        stat = os.stat(path)
        state = stat.st_mtime_ns, stat.st_size
        known = self._known.get(path)
        if known is None or known[0] != state:
            known = self._known[path] = state, read(Path(path))
        return known[1]

    def checked(self, identity: str, *, every: bool = False) -> dict[str, Any] | None:
        """As `read`, after comparing the files beside the record with their checksums.

        `every` also reads those that nobody touched since it was written (see `xcore.store.records.check_files`).
        """
        record = self.read(identity)
        if record is not None and record.get("sums") and (path := self.find(identity)):
            check_files(path, record["sums"], path / RECORD, every=every)
        return record

    def whole(self, identity: str, *, every: bool = False) -> dict[str, Any] | None:
        """As `checked`, but None for a damaged record, which is told of."""
        try:
            return self.checked(identity, every=every)
        except Damaged as error:
            self.tell_once(error.message)
            return None

    def load(self, identity: str) -> Explanation:
        """The explanation of a finished record; raises `Damaged` if a file of it is not what was written."""
        path, record = self.find(identity), self.read(identity)
        if path is None or record is None:
            raise UsageError(f"{self.root} has no record {identity}", "run the command that made it again")
        check_files(path, record.get("sums", {}), path / RECORD)
        try:
            return decode(record["explanation"], path)
        except XcoreError:
            raise
        except Exception as error:  # a record without checksums: a tensor is not there, a file is cut off
            raise Damaged(path, f"{type(error).__name__}: {error}") from error

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
            sums = sums_of(work, _files_of(work))
            about = {"reason": "", "seconds": 0.0, **record, "artifacts": sorted(self.used)}
            write_record(work / RECORD, {**about, "explanation": plain, "sums": sums}, sync=False)
            _sync_tree(work, [*sums, RECORD])
            _remove(target)
            work.rename(target)
            _sync(target.parent)
            self._names[name.rpartition(".")[2]] = name
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return target

    # -- scores ------------------------------------------------------------------------------------------------------
    def read_scores(self, identity: str) -> list[Score] | None:
        """The scores with this identity, or None; raises `Damaged` if they are not what was written."""
        path = self._scores_file(identity)
        if not os.path.exists(path):
            return None
        try:
            return [decode_score(s) for s in self.about_scores(identity)["scores"]]
        except ValueError as error:
            raise Damaged(Path(path), str(error)) from None

    def whole_scores(self, identity: str) -> list[Score] | None:
        """The scores with this identity; None if there are none, or, after telling of it, if they are damaged."""
        try:
            return self.read_scores(identity)
        except Damaged as error:
            self.tell_once(error.message)
            return None

    def about_scores(self, identity: str) -> dict[str, Any]:
        """What was written beside the scores of this identity: the metric's direction, and the number of samples."""
        path = self._scores_file(identity)
        try:
            return self._read_if_new(path, _scored)
        except FileNotFoundError as error:
            raise Damaged(Path(path), error.strerror or str(error)) from None

    def _scores_file(self, identity: str) -> str:
        return f"{self.root}/scores/{identity}.json"

    def write_scores(self, identity: str, scores: Sequence[Score], about: Mapping[str, Any]) -> None:
        """Keep the scores of one metric over one explanation (or one group of them)."""
        path = Path(self._scores_file(identity))
        write_record(path, {**about, "artifacts": sorted(self.used), "scores": [encode_score(s) for s in scores]})

    def tell_once(self, line: str) -> None:
        """Tell a line, the first time."""
        if line not in self._told:
            self._told.add(line)
            self.tell(line)

    # -- artifacts ---------------------------------------------------------------------------------------------------
    def artifact(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """A directory that cells share; see `Artifacts.get`."""
        path = Artifacts(self.root / "artifacts", self.tell).get(name, key, make)
        self.used.add(path.name)
        return path

    def busy(self, name: str, key: Mapping[str, Any]) -> bool:
        """Whether some process is making an artifact at the moment."""
        return Artifacts(self.root / "artifacts", self.tell).busy(name, key)

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


def _explained(path: Path) -> dict[str, Any]:
    """The record of an explanation."""
    record = read_record(path, KEYS)
    try:
        numerics = record.get("numerics", {})
        check_shape(numerics, dict[str, Any], "numerics")
        check_shape(numerics.get("versions", {}), dict[str, Any], "numerics.versions")
    except ShapeError as error:
        raise Damaged(path, str(error)) from None
    check_plain(record["explanation"], path, missing=record["status"] != "ok")
    return record


def _scored(path: Path) -> dict[str, Any]:
    """What a metric said, and what was written beside it."""
    plain = read_record(path, SCORES)
    try:
        check_shape(plain.get("heldout", 0), int, "heldout")
    except ShapeError as error:
        raise Damaged(path, str(error)) from None
    return plain


def _remove(folder: Path) -> None:
    """Remove what stands where a new folder goes."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _files_of(folder: Path) -> list[str]:
    """The files of a new record or artifact, but the pictures that are drawn of it."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if path.suffix != ".png" or path.parts[0] == "files"]


def _is_whole(target: Path, tell: Callable[[str], None]) -> bool:
    """Whether an artifact is there, and as it was made; those of older versions have no checksums."""
    if not target.exists():
        return False
    try:
        if (target / SUMS).exists():
            check_files(target, read_record(target / SUMS, {"sums": dict[str, list[Any]]})["sums"], target / SUMS)
    except Damaged as error:
        tell(f"{error.message}; {target.name} is made again")
        return False
    return True


def _sync_tree(root: Path, names: Iterable[str] | None = None) -> None:
    """Wait until the disk has these files of a folder, or all of them, and their folders.

    A process that is killed loses nothing that it wrote; only after a power failure a file could have its name and not
    its content. The pictures that are drawn of a record are left to the system: they can be drawn again.
    """
    files = [root / name for name in names] if names is not None else [p for p in root.rglob("*") if p.is_file()]
    for path in files:
        _sync(path)
    for folder in {root, *(parent for path in files for parent in path.parents if root in parent.parents)}:
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
