"""What TExplain says of features whose content is known: `python benchmarks/texplain` prints it as Markdown.

Sections by flag: --birds, --hidden, --speed, --apples, --latents, --erased; none = all. Every translator is trained on
balanced pictures, in which the words that are asked for are independent of the class, and is kept below --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from apples import apples
from birds import birds, hidden, speed
from erased import erased
from latents import latents

from xcore.contract import Ref
from xcore.registry import load_registry

SECTIONS: dict[str, Callable[[Any, Path], None]] = {
    "birds": birds, "hidden": hidden, "speed": speed, "apples": apples, "latents": latents, "erased": erased,
}  # fmt: skip


def main() -> None:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python benchmarks/texplain", description=__doc__)
    for name, section in SECTIONS.items():
        ask.add_argument(f"--{name}", action="store_true", help=(section.__doc__ or "").strip())
    ask.add_argument("--out", type=Path, default=Path("runs/texplain"))
    flags = ask.parse_args()
    asked = [name for name in SECTIONS if getattr(flags, name)] or list(SECTIONS)
    decoder = load_registry().create("model", Ref("minizoo/decoder"))
    command = " ".join(["python benchmarks/texplain", *(f"--{name}" for name in asked)])
    print(f"Command: `{command}`, {torch.get_num_threads()} threads\n")
    for name in asked:
        SECTIONS[name](decoder, flags.out / name)


if __name__ == "__main__":
    main()
