"""The environment of a run: versions, numerics, machine, commit. It is recorded, and identifies no result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from xcore.models import batches, device
from xcore.store.installed import NUMERIC, version


def numerics(threads: int) -> dict[str, Any]:
    """What can change the last bits of a result although nothing that identifies it changed.

    Torch is not imported for it: where nobody has imported it yet, its default type is still its own.
    """
    torch = sys.modules.get("torch")
    outer = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list has one number a nesting level
    return {
        "versions": {name: v for name in NUMERIC if (v := version(name))},
        "threads": threads or (int(outer) if outer.isdigit() else 0) or os.cpu_count(),
        "machine": platform.machine(),
        "device": device.current(),
        "batch_size": batches.current() or "default",
        "dtype": str(torch.get_default_dtype()).removeprefix("torch.") if torch else "float32",
    }


def record(threads: int, distributions: Iterable[str]) -> dict[str, Any]:
    """The part of run.json that says where and with what the run was made."""
    return {
        "numerics": numerics(threads),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "distributions": {d: version(d) for d in sorted(set(distributions))},
        "git": _git(),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The numerics that changed, with both values; what an older version did not record counts as unchanged."""
    flat_old, flat_new = _flat(old), _flat(new)
    return [
        f"{k} {flat_old.get(k)} instead of {flat_new.get(k)}"
        for k in sorted({*flat_old, *flat_new})
        if k in flat_old and flat_old[k] != flat_new.get(k)
    ]


def _flat(numerics: Mapping[str, Any]) -> dict[str, Any]:
    return {**numerics.get("versions", {}), **{k: v for k, v in numerics.items() if k != "versions"}}


def _git() -> dict[str, Any]:
    """Commit of the working directory and whether it has uncommitted changes; empty outside of a checkout."""
    try:
        call = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        text = subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = text.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), "")
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}
