"""What installed distributions say of themselves: versions, requirements, and the packages of plugins.

It is kept in a file, since reading it anew for every command takes longer than showing a finished run. As with kept
cards (see `xcore.cards`), it is used only while no distribution was installed, removed or replaced, which the folders
that hold distributions tell.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from xcore.base.files import write_text
from xcore.cards import GROUP, distribution_folders, environment_file

NUMERIC = ("torch", "numpy", "scipy", "scikit-learn", "torchvision", "timm", "diffusers", "transformers", "peft")
"""Distributions whose version can change the last bits of a result."""


def version(name: str) -> str:
    """The version of a distribution; "" if it is not installed."""
    kept: Mapping[str, str] = _kept()["versions"]
    return kept[name] if name in kept else _version(name)


def requires(name: str) -> Sequence[str]:
    """What a distribution requires, one line each; nothing for one that is not installed."""
    kept: Mapping[str, Sequence[str]] = _kept()["requires"]
    return kept[name] if name in kept else _requires(name)


@cache
def plugin_packages() -> Mapping[str, frozenset[str]]:
    """Distribution -> the packages that its entry points are in, of all plugins that are installed, loaded or not."""
    return {name: frozenset(packages) for name, packages in _kept()["packages"].items()}


def normalised(name: str) -> str:
    """A name of a distribution as others write it, too."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _kept() -> dict[str, Any]:
    """What was read before in this environment; what is read now if there is none, or anything has changed since."""
    folders = distribution_folders()
    path = environment_file("installed")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there, or of another version of xcore
        kept: dict[str, Any] = json.loads(path.read_bytes())
        if kept["state"] == _state(folders) and kept.keys() >= {"versions", "requires", "packages"}:
            return kept
    state = _state(folders)
    found: dict[str, Any] = {"state": state, **_read()}
    with contextlib.suppress(OSError):  # where nothing can be kept, it only costs time
        if state == _state(folders):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(found), sync=False)
    return found


def _state(folders: Sequence[str]) -> list[Any]:
    return [sys.version, [[folder, os.stat(folder).st_mtime_ns] for folder in folders]]


def _read() -> dict[str, Any]:
    from importlib.metadata import entry_points

    packages: dict[str, set[str]] = {}
    for point in entry_points(group=GROUP):
        if point.dist:
            packages.setdefault(normalised(point.dist.name), set()).add(point.module.partition(".")[0])
    return {
        "versions": {name: _version(name) for name in (*NUMERIC, *packages)},
        "requires": {name: _requires(name) for name in packages},
        "packages": {name: sorted(found) for name, found in packages.items()},
    }


@cache
def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(name)
    except PackageNotFoundError:
        return ""


def _requires(name: str) -> list[str]:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import requires as required

    try:
        return required(name) or []
    except PackageNotFoundError:  # a plugin file, or a distribution that is gone
        return []
