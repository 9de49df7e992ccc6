"""What a component did beside its work, seen by looking at everything that others share before and after it."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rich.style  # noqa: F401 (draws a number when it is first imported, which no component has done)
import torch

from xcore.base.errors import XcoreError
from xcore.contract.samples import Samples
from xcore.run.guard import Guard, Lent
from xcore.run.guard_process import put_back, read_settings
from xcore.testing.checklist import Skipped

GRACE = 0.5
"""Seconds in which threads may come to their end."""


@dataclass
class Watched:
    """What a call gave, and what it did beside."""

    value: Any = None
    error: Exception | None = None
    components: str = ""
    """What it changed of the components that it was given: networks, fields and functions."""
    samples: tuple[str, ...] = ()
    """What it changed of the samples that it was given."""
    settings: tuple[str, ...] = ()
    """What it changed of the settings of the process, each with how to avoid it."""
    randomness: tuple[str, ...] = ()
    """The global random states that it moved."""
    threads: tuple[str, ...] = ()
    """Threads that it left running."""
    printed: str = ""
    """What it wrote to the standard output."""
    moved_output: bool = False
    """Whether the descriptor of the standard output leads elsewhere now."""

    def result(self) -> Any:
        """What the call gave; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.value

    def came_to_an_end(self) -> None:
        """Raise `Skipped` if the call raised an error, before which it did no harm: another check tells the error."""
        if self.error is not None:
            raise Skipped(f"until it raised {type(self.error).__name__}, it did no harm")


@dataclass
class Subject(ABC):
    """A component with what it is checked on, of which every kind makes its own."""

    shared: dict[str, Any] = field(default_factory=dict, kw_only=True)
    """What several checks of one component look at: it is computed once."""

    @abstractmethod
    def watch(self) -> Watched:
        """Let the component do its work, and see what it does beside."""

    def watched(self) -> Watched:
        """The same, done once for all checks."""
        if "watched" not in self.shared:
            self.shared["watched"] = self.watch()
        seen: Watched = self.shared["watched"]
        return seen


class Held(Lent):
    """Samples that are kept until they were compared: a set that was written to and dropped is seen, too."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Samples] = []

    def note(self, what: str, samples: Samples) -> Samples:
        self._held.append(samples)
        return super().note(what, samples)


@dataclass
class Given:
    """What a call is given, to be compared after it."""

    components: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """What a reader calls it -> its kind (see `xcore.run.guard.WATCHED`), and the component."""
    contents: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    """What a reader calls it -> a digest of its content."""
    lent: Held = field(default_factory=Held)


def watch(call: Callable[[], Any], given: Given) -> Watched:
    """Make a call, see what it did beside its work, and put back what can be put back.

    The call finds the global random states where no usual seed leaves them: a method that seeds them is seen even if it
    sets what an earlier test has set.
    """
    seen = Watched()
    guard = Guard(lambda keys: None)
    before_contents = {name: digest() for name, digest in given.contents.items()}
    for name, (kind, component) in given.components.items():
        guard.remember(name, kind, name, component)
    threads = set(threading.enumerate())
    with _unusual_randomness() as states:
        try:
            with guard.watch("it"), _output(seen):
                settings = read_settings()
                try:
                    seen.value = call()
                except Exception as error:
                    seen.error = error
                finally:
                    seen.settings = tuple(f"it {line} ({advice})" for line, advice in put_back(settings))
        except XcoreError as error:
            seen.components = str(error)
        seen.randomness = tuple(name for name, was in states.items() if _states()[name] != was)
    changed = [name for name, digest in given.contents.items() if digest() != before_contents[name]]
    seen.samples = tuple(dict.fromkeys([*given.lent.changed(), *changed]))
    seen.threads = _left(threads)
    return seen


def global_state() -> tuple[Any, ...]:
    """The global random states, to be compared before and after."""
    return tuple(_states().values())


def _states() -> dict[str, Any]:
    numpy_state = tuple(np.asarray(part).tobytes() for part in np.random.get_state())
    return {
        "random": random.getstate(),
        "numpy.random": numpy_state,
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


@contextlib.contextmanager
def _unusual_randomness() -> Iterator[dict[str, Any]]:
    """Global random states that no seeding leads to, as each is some draws away from an unlikely seed."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(904_625_697)
    np.random.seed(904_625_697)
    torch.manual_seed(904_625_697)
    for _ in range(7):
        random.random()
        np.random.rand()
        torch.rand(1)
    try:
        yield _states()
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


@contextlib.contextmanager
def _output(seen: Watched) -> Iterator[None]:
    """Take what is written to the standard output, by `print` or past it by the descriptor."""
    with tempfile.TemporaryFile() as file:
        _flush()
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        ours = os.fstat(1)
        own = sys.stdout
        stream = open(os.dup(1), "w", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        sys.stdout = stream
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            try:
                now = os.fstat(1)
                seen.moved_output = (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)
            except OSError:  # it was closed
                seen.moved_output = True
            sys.stdout = own
            os.dup2(kept, 1)
            os.close(kept)
            with contextlib.suppress(OSError, ValueError):
                stream.close()
            file.seek(0)
            seen.printed = file.read().decode(errors="replace")


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def _left(before: set[threading.Thread]) -> tuple[str, ...]:
    """The names of threads that were started meanwhile and are still there after a while.

    The monitor of tqdm and those of torch's own pools end with the process, and whoever shows progress has them.
    """
    until = time.monotonic() + GRACE
    while True:
        new = [
            t for t in threading.enumerate() if t not in before and type(t).__name__ not in ("TMonitor", "_DummyThread")
        ]
        if not new or time.monotonic() > until:
            return tuple(sorted(t.name for t in new))
        time.sleep(0.01)


def sets_digest(random_set: Callable[..., Samples], count: int = 2) -> str:
    """A digest of the first random sets for both purposes, as they are given now; "" where there are none."""
    made = []
    for purpose in ("negative", "null"):
        for index in range(count):
            try:
                made.append(random_set(4, index, "as-is", purpose).digest)
            except (XcoreError, TypeError):  # too few samples, or a task of an author's own with simpler sets
                return ""
    return "".join(made)


def split_digest(data: Any, splits: Sequence[str]) -> str:
    """A digest of samples of all classes of a data set, as they are given now; "" where it gives none of a split."""
    made = []
    for split in splits:
        for cls in getattr(data, "classes", ()):
            try:
                made.append(data.samples(cls, split, 100, 0).digest)
            except XcoreError:
                made.append("")
    return "".join(made)
