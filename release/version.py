"""The version of all distributions, which always have the same one.

::

    python release/version.py 0.2.0          # write it into every pyproject.toml and into the core
    python release/version.py --check 0.2.0  # fail unless it stands everywhere

Each distribution requires the others of this project in exactly its own version, since results are identified by the
code that made them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
OWN = re.compile(r'^version = "[^"]+"$', re.MULTILINE)
PINNED = re.compile(r'("xcore-[a-z-]+(?:\[[a-z0-9,-]+\])?==)[^"]+"')
ATTRIBUTE = re.compile(r'^__version__ = "[^"]+"$', re.MULTILINE)


def set_version(root: Path, version: str, write: bool = True) -> list[Path]:
    """Write a version into every pyproject.toml and into the core; returns the files that had another one."""
    if not VERSION.fullmatch(version):
        raise SystemExit(f"{version!r} is no version: write three numbers, such as 0.2.0 or 0.2.0rc1")
    core = root / "xcore" / "__init__.py"
    changed = []
    for path in (core, root / "pyproject.toml", *sorted(root.glob("plugins/*/*/pyproject.toml"))):
        before = path.read_text(encoding="utf-8")
        if path == core:
            after = ATTRIBUTE.sub(f'__version__ = "{version}"', before)
        else:
            after = PINNED.sub(rf'\g<1>{version}"', OWN.sub(f'version = "{version}"', before, count=1))
        if after != before:
            changed.append(path)
            if write:
                path.write_text(after, encoding="utf-8")
    return changed


if __name__ == "__main__":
    *check, version = sys.argv[1:] or [""]
    if check not in ([], ["--check"]) or not version:
        raise SystemExit(__doc__)
    found = [str(path.relative_to(ROOT)) for path in set_version(ROOT, version, write=not check)]
    if check and found:
        raise SystemExit(f"another version than {version} stands in {', '.join(found)}")
    print("\n".join(found))
