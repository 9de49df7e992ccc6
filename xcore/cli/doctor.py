"""`xcore doctor`: what is installed, on which machine, and what a run needs and where to get it. Loads no model."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from xcore.run.needs import Need, commands, needs

LIBRARIES = (
    "xcore-xai", "torch", "torchvision", "timm", "transformers", "diffusers", "peft", "safetensors", "huggingface-hub",
    "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "matplotlib", "pillow",
)  # fmt: skip


def lines(found: Sequence[Need]) -> list[str]:
    """What is needed, one line each; below what is missing, the reason and the line that fetches it."""
    width = max((len(need.what) for need in found), default=0)
    out = []
    for need in found:
        out.append(f"{'missing' if need.problem else 'here   '}  {need.what:<{width}}  {need.reference}")
        if need.problem:
            out.append(f"         {' ' * width}  {need.problem}")
            out += [f"         {' ' * width}  {need.fetch}"] if need.fetch else []
    return out


# -- the machine -------------------------------------------------------------------------------------------------------
def diagnose(methods: Sequence[str], suite: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that `xcore doctor` prints, as plain data; `about` is what the flags of `subject` gave."""
    from xcore.api import DEFAULT_SUITE, request
    from xcore.base.files import cache_directory
    from xcore.registry import load_registry

    registry = load_registry(about["plugins"])
    given = {key: value for key, value in about.items() if key not in ("plugins", "out")}
    wanted = request(methods, suite, given, registry)
    asked = bool(methods) or any(given.values())
    plugins = [{"plugin": p.name, "version": p.version, "ok": p.ok, "reason": p.reason} for p in registry.plugins]
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "devices": devices(),
        "cache": str(cache_directory()),
        "hub_cache": _hub_cache(),
        "plugins": plugins,
        "suite": "" if asked else suite or DEFAULT_SUITE,
        "needs": [asdict(need) for need in needs(wanted, registry)],
    }


def devices() -> dict[str, Any]:
    """Cores, threads and memory (MB) of this machine, and the devices that torch can use with theirs."""
    import torch

    found: dict[str, Any] = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_mb": _memory_mb()}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = {"name": about.name, "memory_mb": about.total_memory // 2**20}
    if torch.backends.mps.is_available():
        found["mps"] = {"name": platform.processor(), "memory_mb": torch.mps.recommended_max_memory() // 2**20}
    return found


def shown_memory(mb: float) -> str:
    """An amount of memory, given in MB of 2**20 bytes, as people read it."""
    return f"{mb / 1024:.1f} GB" if mb >= 1024 else f"{mb:.0f} MB"


def _memory_mb() -> int | None:
    """The memory of this machine in MB; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return None


def _hub_cache() -> str:
    try:
        from huggingface_hub import constants
    except ImportError:
        return ""
    return str(constants.HF_HUB_CACHE)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def doctor(methods: Sequence[str], suite: str, about: Mapping[str, Any], as_json: bool) -> None:
    """Print the diagnosis; leaves with exit code 1 if what is asked for needs what is not here."""
    from xcore.cli.listing import print_line

    found = diagnose(methods, suite, about)
    needed = [Need(**need) for need in found["needs"]]
    missing = [need for need in needed if need.problem]
    if as_json:
        print_line({**found, "fetch": commands(needed)})
    else:
        typer.echo("\n".join(_words(found, needed)))
    if missing:
        raise typer.Exit(1)


def _words(found: Mapping[str, Any], needed: Sequence[Need]) -> list[str]:
    """The diagnosis in words, one line each."""
    libraries = ", ".join(f"{name} {v}" for name, v in found["libraries"].items())
    machine = dict(found["devices"])
    memory = f", {shown_memory(machine['memory_mb'])} of memory" if machine["memory_mb"] else ""
    out = [
        f"python     {found['python']} on {found['platform']}",
        f"libraries  {libraries}",
        f"cpu        {machine['cores']} cores, {machine['threads']} threads of torch{memory}",
    ]
    for name in [name for name in machine if name not in ("cores", "threads", "memory_mb")]:
        out.append(f"{name:<10} {machine[name]['name']}, {shown_memory(machine[name]['memory_mb'])} of memory")
    out.append(
        f"cache      {found['cache']}" + (f"; models of the hub in {found['hub_cache']}" if found["hub_cache"] else "")
    )
    good = [f"{p['plugin']} {p['version']}" for p in found["plugins"] if p["ok"]]
    out.append(f"plugins    {', '.join(good) or 'none'}")
    out += [f"           FAILED {p['plugin']} {p['version']}: {p['reason']}" for p in found["plugins"] if not p["ok"]]
    what = f"The suite {found['suite']}" if found["suite"] else "What you ask for"
    out += ["", f"{what} needs:", *(f"  {line}" for line in lines(needed))]
    absent = sum(bool(need.problem) for need in needed)
    if typed := commands(needed):
        out += ["", "To fetch them:", *(f"  {line}" for line in typed)]
    out.append("")
    run = "" if found["suite"] in ("", "default") else f" --suite {shlex.quote(found['suite'])}"
    here = f"All of it is here: xcore bench{run}" if found["suite"] else "All of it is here."
    out.append(f"{absent} of these are missing." if absent else here)
    return out
