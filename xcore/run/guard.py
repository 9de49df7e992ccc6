"""Cells cannot harm each other: what they share is remembered before a method or metric runs, and compared after it.

Who changed something is failed by name. Settings of the process are put back, components are made anew, and what was
drawn meanwhile is drawn again, so that no neighbour sees the change.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.contents import content
from xcore.base.errors import XcoreError
from xcore.contract.samples import Samples
from xcore.run.guard_networks import RESTORE, Look, differences, look, networks_of, put_back
from xcore.run.guard_process import Settings, read_settings
from xcore.run.guard_process import put_back as put_back_settings

if TYPE_CHECKING:
    from torch import Tensor, nn

WATCHED = ("classifier", "dataset", "generator", "model", "metric")
"""Kinds of components that a cell must leave as they are. A method may keep what it likes in itself."""

FIELDS = (
    "modality",
    "classes",
    "can",
    "aliases",
    "framing",
    "fingerprint",
    "concepts",
    "vocabulary",
    "defaults",
    "direction",
    "needs",
)
"""Fields of the contract, in which components differ from one another but not from cell to cell."""

SAMPLES = "work on a copy: samples.images.clone()"


class Lent:
    """Samples that a cell was given, with what their content was."""

    def __init__(self) -> None:
        self._given: dict[int, tuple[str, weakref.ref[Tensor], int]] = {}

    def note(self, what: str, samples: Samples) -> Samples:
        """The same samples, whose content is compared after the cell."""
        for tensor in (samples.data, samples.labels):
            if tensor is None or isinstance(tensor, tuple):
                continue
            known = self._given.get(id(tensor))
            if known is None or known[1]() is not tensor:
                self._given[id(tensor)] = what, weakref.ref(tensor), content(tensor)
        return samples

    def copy(self, what: str, samples: Samples) -> Samples:
        """A copy of samples that others are given, too; noted."""
        data = samples.data if samples.modality == "text" else samples.images.clone()
        return self.note(what, replace(_with_own_labels(samples), data=data))

    def share(self, what: str, samples: Samples) -> Samples:
        """The samples with pictures that others are given, too: a copy costs more than to see whether they changed."""
        return self.note(what, _with_own_labels(samples))

    def sets(self, what: str, give: Callable[..., Samples]) -> Callable[..., Samples]:
        """A random set, every draw of which is noted. Draws are copies."""
        return lambda *args, **more: self.note(what, give(*args, **more))

    def changed(self) -> list[str]:
        """What the cell changed of what it still holds; what it holds no more was a copy or is checked elsewhere."""
        known = ((what, ref(), was) for what, ref, was in self._given.values())
        return [*dict.fromkeys(what for what, tensor, was in known if tensor is not None and content(tensor) != was)]

    def clear(self) -> None:
        """Forget what was given."""
        self._given.clear()


def _with_own_labels(samples: Samples) -> Samples:
    labels = None if samples.labels is None else samples.labels.clone()
    return replace(samples, labels=labels, meta={k: _own(v) for k, v in samples.meta.items()})


def _own(value: Any) -> Any:
    return deepcopy(value) if isinstance(value, (list, dict, set)) or hasattr(value, "shape") else value


@dataclass
class _Watched:
    """A component that is in use, and what it was when it was made or last found in order."""

    what: str
    component: Any
    networks: Mapping[str, tuple[nn.Module, Look]]
    fields: Mapping[str, Any]
    shadows: frozenset[str]

    @staticmethod
    def of(what: str, component: Any) -> _Watched:
        networks = {path: (network, look(network)) for path, network in networks_of(component).items()}
        return _Watched(what, component, networks, _fields(component), _shadows(component))


def _fields(component: Any) -> dict[str, Any]:
    """Copies of the fields of the contract that are plain attributes."""
    own = getattr(component, "__dict__", {})
    found = {name: copy(own[name]) for name in FIELDS if name in own}
    if hasattr(component, "batch_size"):  # a property, as a rule
        found["batch_size"] = component.batch_size
    return found


def _shadows(component: Any) -> frozenset[str]:
    """Functions of the component itself that stand before those of its class."""
    own = getattr(component, "__dict__", {})
    return frozenset(k for k, v in own.items() if callable(v) and callable(getattr(type(component), k, None)))


class Guard:
    """Watches the components that cells share, the samples that they are given, and the settings of the process.

    Parameters
    ----------
    forget
        Takes the keys of components that are no longer to be used, after which what was made of them is made anew.
    """

    def __init__(self, forget: Callable[[Sequence[str]], None]) -> None:
        self.lent = Lent()
        self.made: list[Path] = []
        """Directories that cells share (artifacts) and that were made since the cell began."""
        self._forget = forget
        self._watched: dict[str, _Watched] = {}
        self._recent: list[str] = []
        self._spoilt: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def remember(self, key: str, kind: str, name: str, component: Any) -> None:
        """Watch a component from now on.

        Raises
        ------
        XcoreError
            It holds a network that a cell has changed: its plugin gave the same object again.
        """
        if kind not in WATCHED:
            return
        watched = _Watched.of(f"the {kind} {name}", component)
        if any(network in self._spoilt for network, _ in watched.networks.values()):
            raise XcoreError(
                f"{watched.what} was changed by another cell, and its plugin gives the changed network again",
                "let its factory load the network anew at every call",
            )
        self._watched[key] = watched
        self._recent.append(key)

    @contextmanager
    def watch(self, who: str) -> Iterator[None]:
        """Fail `who` by name if something that others use is not as it was when the `with` block ends.

        Raises
        ------
        XcoreError
            Something was changed. Where the block raises an error of its own, that one is raised, with a note; but a
            cell that says that it does not apply must not have changed anything either.
        """
        before = read_settings()
        self._recent.clear()
        self.made.clear()
        try:
            yield
        except BaseException as error:
            if found := self._cleared_up(before):
                told = _told(who, found)
                if not isinstance(error, Exception) or not _is_skip(error):
                    error.add_note(str(told))
                    raise
                raise told from error
            raise
        else:
            if found := self._cleared_up(before):
                raise _told(who, found)
        finally:
            self.lent.clear()

    def _cleared_up(self, before: Settings) -> list[tuple[str, str]]:
        """Put back or give up what was changed; say what that is, each with the advice for its author."""
        found = put_back_settings(before)
        harmed = []
        for key, was in self._watched.items():
            changes = self._changes(was)
            if changes:
                found += changes
                harmed.append(key)
        found += [(f"changed the samples that it was given ({what})", SAMPLES) for what in self.lent.changed()]
        if found:
            for key in dict.fromkeys([*harmed, *self._recent]):
                self._watched.pop(key, None)
            self._forget([*dict.fromkeys([*harmed, *self._recent])])
            for directory in self.made:
                shutil.rmtree(directory, ignore_errors=True)
        return found

    def _changes(self, was: _Watched) -> list[tuple[str, str]]:
        now = _Watched.of(was.what, was.component)
        found = []
        for path, (network, before) in was.networks.items():
            current = now.networks.get(path)
            if current is None or current[0] is not network:
                found.append((f"replaced the network {path} of {was.what}", "leave it: make one of your own"))
                continue
            several = len(was.networks) > 1
            changes = differences(before, current[1], f"{path} of {was.what}" if several else was.what)
            if changes:
                put_back(before, network)
                if differences(before, look(network), ""):
                    self._spoilt.add(network)
            found += changes
        for name, value in was.fields.items():
            if now.fields.get(name) != value:
                found.append((f"changed {name} of {was.what}{_from_to(value, now.fields.get(name))}", RESTORE))
                setattr(was.component, name, value)
        for name in sorted(now.shadows - was.shadows):
            found.append((f"replaced {name}() of {was.what}", RESTORE))
            delattr(was.component, name)
        if not found:
            was.networks = now.networks  # with what was loaded since, and new caches
        return found


def _from_to(was: Any, now: Any) -> str:
    return f" from {was!r} to {now!r}" if isinstance(was, (int, str)) else ""


def _is_skip(error: BaseException) -> bool:
    from xcore.base.errors import MissingError, NotApplicable

    return isinstance(error, (NotApplicable, MissingError))


def _told(who: str, found: Sequence[tuple[str, str]]) -> XcoreError:
    lines = [line for line, _ in found]
    more = f"; and {len(lines) - 3} more changes" if len(lines) > 3 else ""
    return XcoreError(f"{who} {'; it '.join(lines[:3])}{more}", found[0][1])
