"""The settings that everything in a process shares: read before a cell, compared after it, and put back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting of the process.

    Parameters
    ----------
    name
        What a reader calls it.
    read, write
        Give its value, which must be a copy, and set it.
    advice
        How an author changes it for a while only.
    grows
        Whether it is a collection to which importing a package may add.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    advice: str
    grows: bool = False


@dataclass(frozen=True)
class Settings:
    """The values of all settings at one moment."""

    values: Mapping[str, Any]
    packages: frozenset[str]
    """The packages that were imported by then."""


def read_settings() -> Settings:
    """The settings as they are now."""
    return Settings({s.name: s.read() for s in _settings()}, _packages(len(sys.modules)))


def put_back(before: Settings) -> list[tuple[str, str]]:
    """Make the settings what they were; give those that were not, each with the advice for its author.

    What importing a package added to the environment, the paths or the filters of warnings is put back, too, but not
    told: the import is not what an author can undo.
    """
    imported = _packages(len(sys.modules)) > before.packages
    changed = []
    for setting in _settings():
        was, now = before.values[setting.name], setting.read()
        if was == now:
            continue
        setting.write(was)
        if not (setting.grows and imported and _only_added(was, now)):
            changed.append((f"changed {setting.name}{_detail(was, now)}", setting.advice))
    return changed


@lru_cache(1)
def _packages(modules: int) -> frozenset[str]:
    """The packages that are imported, found anew when the number of modules is another."""
    return frozenset(name for name in [*sys.modules] if "." not in name)


def _set_cudnn(settings: Mapping[str, bool]) -> None:
    from torch.backends import cudnn

    for name, value in settings.items():
        setattr(cudnn, name, value)


def _only_added(was: Any, now: Any) -> bool:
    if isinstance(was, Mapping):
        return all(key in now and now[key] == value for key, value in was.items())
    rest = iter(now)
    return all(any(entry is one or entry == one for one in rest) for entry in was)  # in the same order, with gaps


def _detail(was: Any, now: Any) -> str:
    """What exactly changed, in a few words."""
    if isinstance(was, Mapping):
        names = sorted({k for k in (*was, *now) if was.get(k) != now.get(k)})
        return ": " + ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if isinstance(was, bool | int | float | str) or type(was).__module__ == "torch":
        return f" from {was} to {now}"
    return ""


@cache
def _settings() -> tuple[Setting, ...]:
    import numpy as np
    import torch

    cudnn = torch.backends.cudnn
    restore = "put it back in a `finally`, also after an error"
    return (
        Setting("the default dtype of torch", torch.get_default_dtype, torch.set_default_dtype, "pass dtype= instead"),
        Setting("the default device of torch", torch.get_default_device, _set_device, "pass device= instead"),
        Setting(
            "the gradient mode of torch",
            torch.is_grad_enabled,
            torch.set_grad_enabled,
            "use `with torch.no_grad():` or `with torch.enable_grad():`",
        ),
        Setting(
            "the deterministic mode of torch",
            lambda: {
                "on": torch.are_deterministic_algorithms_enabled(),
                "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            },
            lambda v: torch.use_deterministic_algorithms(v["on"], warn_only=v["warn_only"]),
            restore,
        ),
        Setting(
            "the number of threads of torch",
            torch.get_num_threads,
            torch.set_num_threads,
            "leave it: it changes figures, and the core sets it for every cell",
        ),
        Setting(
            "the precision of matrix products of torch",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            restore,
        ),
        Setting(
            "torch's search for anomalies",
            torch.is_anomaly_enabled,
            lambda v: torch.autograd.set_detect_anomaly(v, check_nan=True),
            "use `with torch.autograd.detect_anomaly():`",
        ),
        Setting(
            "the automatic precision (autocast) of torch",
            lambda: torch.is_autocast_enabled("cpu"),
            lambda v: torch.set_autocast_enabled("cpu", v),
            "use `with torch.autocast(...):`",
        ),
        Setting(
            "the settings of cuDNN",
            lambda: {k: getattr(cudnn, k) for k in ("enabled", "benchmark", "deterministic")},
            _set_cudnn,
            "use `with torch.backends.cudnn.flags(...):`",
        ),
        Setting("how numpy treats errors", np.geterr, lambda v: np.seterr(**v), "use `with np.errstate(...):`"),
        Setting("environment variables", lambda: dict(os.environ), _set_environment, restore, grows=True),
        Setting("the working directory", _directory, _set_directory, "use `contextlib.chdir`, or absolute paths"),
        Setting("the mask of file permissions (umask)", _umask, lambda v: os.umask(int(v, 8)), restore),
        Setting(
            "the filters of warnings",
            lambda: tuple(warnings.filters),
            _set_filters,
            "use `with warnings.catch_warnings():`",
            grows=True,
        ),
        Setting("sys.path", lambda: tuple(sys.path), _set_path, "install the package that you need", grows=True),
        Setting("sys.stdout", lambda: _Same(sys.stdout), lambda v: _set_stream("stdout", v), _REDIRECT),
        Setting("sys.stderr", lambda: _Same(sys.stderr), lambda v: _set_stream("stderr", v), _REDIRECT),
        Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, restore),
        Setting("the handlers of signals", _handlers, _set_handlers, restore),
    )


_REDIRECT = "use `with contextlib.redirect_stdout(...):`"


class _Same:
    """An object that equals only itself, whatever its own `==` says."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    __hash__ = None  # type: ignore[assignment]


def _set_stream(name: str, value: _Same) -> None:
    setattr(sys, name, value.thing)


def _set_device(device: Any) -> None:
    import torch

    torch.set_default_device(None if device.type == "cpu" else device)


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in [*os.environ]:
        if name not in wanted:
            del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _set_directory(wanted: str) -> None:
    with suppress(OSError):  # it is gone: whoever deleted it is told by name
        os.chdir(wanted)


def _umask() -> str:
    mask = os.umask(0o077)  # it cannot be read without being set
    os.umask(mask)
    return f"{mask:03o}"


def _set_filters(wanted: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():  # which makes Python forget what it decided by the filters, now and at its end
        pass
    warnings.filters[:] = wanted  # type: ignore[index]
    warnings.filterwarnings("default", append=True)  # the same for the new list
    warnings.filters[:] = wanted  # type: ignore[index]


def _set_path(wanted: tuple[str, ...]) -> None:
    sys.path[:] = wanted


_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def _handlers() -> dict[str, Any]:
    return {s.name: signal.getsignal(s) for s in _SIGNALS}


def _set_handlers(wanted: Mapping[str, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for s in _SIGNALS:
        if wanted[s.name] is not None and signal.getsignal(s) is not wanted[s.name]:
            signal.signal(s, wanted[s.name])
