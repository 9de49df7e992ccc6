"""What shortcuts and repair find in painted worlds whose shortcut is known: `python benchmarks/repair.py` prints it.

Sections by flag; none = all.

- ``--table``: `xcore texplain repair` on birds that stand where their kind lives in 95 % of the training pictures, five
  seeds, all cures. Choices were made by the average of validation images, mostly on other pictures (``--data-seed 9``);
  an early sweep of the number of images and epochs also printed figures of the pictures of the table.
- ``--plantings``: the first word of `xcore texplain shortcuts` for networks with a planted shortcut, and what is said
  of the planted word of their twins, which were trained alike without it. Those of --seed 101 were used in development.
- ``--speed``: seconds in which 30 sentences about each of 1,000 pictures are said and counted.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from xcore_minizoo.world import CLASSES
from xcore_texplain.dominant import describe
from xcore_texplain.repair import repair
from xcore_texplain.repair_options import RepairOptions
from xcore_texplain.shortcuts import ShortcutOptions, shortcuts

from xcore.contract import Ref, seeded
from xcore.registry import load_registry

BIRDS = {
    "*": [
        *("bird", "horse", "cat", "fish", "dog", "animal", "coat"),
        *("plain", "striped", "spotted", "patched", "checkered", "stripes", "spots", "patches", "checks"),
        *("black", "white", "orange", "yellow", "brown", "gray", "red", "pink", "blue", "green"),
    ]
}
"""What is said of the animal itself, whichever animal it is taken for."""
PLANTED = (
    "zebra:background=water",
    "leopard:background=forest",
    "horse:object=apple",
    "swan:background=mud",
    "panther:background=snow",
)
SCHEDULE = {"steps": 300, "every": 100, "train_pairs": 1000, "validation": 100}
"""A short training of the translators, since each seed has one of its own."""
SETTINGS: dict[str, Any] = {
    "train": True,
    "captions": "minizoo/objects",
    "images": 100,
    "validation_images": 200,
    "test_images": 500,
    "start_epochs": 10,
    "epochs": 3,
    "lrs": (1e-5, 1e-4, 1e-3),
}


def table(flags: argparse.Namespace) -> None:
    """Repair the birds."""
    file = flags.out / "birds.json"
    file.write_text(json.dumps(BIRDS))
    options = RepairOptions(seeds=flags.seeds, lexicon=str(file), deviations=flags.deviations, **SETTINGS)
    found = repair(
        "minizoo/clean",
        data="minizoo/shortcut-birds",
        out=flags.out / "repair",
        options=options,
        data_seed=flags.data_seed,
        models={"text-decoder": "minizoo/decoder"},
        set={"texplain": SCHEDULE},
    )
    print(f"## Repair\n\n{found.to_markdown()}\n{found.seconds:.0f} s; pictures in {found.folder}\n")


def plantings(flags: argparse.Namespace) -> None:
    """Name the planted shortcuts."""
    file = flags.out / "classes.json"
    nouns = {"striped": "stripes", "spotted": "spots", "patched": "patches"}
    own = {c: [str(w) for w in (s, p, nouns.get(p or ""), *colours) if w] for c, (s, p, colours) in CLASSES.items()}
    file.write_text(json.dumps(own))
    print("## Shortcuts\n\nA word is *found* if it is not of the class, in the features, and used.\n")
    print("| network | rho | first word not of the class | verdict | p (Holm) | found | planted word |")
    print(f"|{'---|' * 7}")
    for planting in flags.planted.split(","):
        cls, _, factor = planting.partition(":")
        for rho in ("1", "0"):
            (finding,) = shortcuts(
                f"minizoo/planted:{cls}:{factor}:{rho}:{flags.seed}",
                data="minizoo/planted",
                classes=[cls],
                out=flags.out / "shortcuts",
                options=ShortcutOptions(lexicon=str(file), captions="minizoo/objects", minimum=flags.minimum),
                set={"minizoo/planted": {"cls": cls, "factor": factor, "rho": float(rho)}},
            )
            rows = [row for row in finding.rows if not row["own"]]
            both = [row["word"] for row in rows if row["used"] and row["in_features"]]
            word = factor.partition("=")[2]
            said = next((row["verdict"] for row in rows if row["word"] == word), "not said")
            first = rows[0]
            print(f"| {planting} | {rho} | {first['word']} | {first['verdict']} | {first['observed_p_holm']:.3f} | "
                  f"{', '.join(both) or 'none'} | {said} |", flush=True)  # fmt: skip
    print()


def speed(flags: argparse.Namespace) -> None:
    """Say 30 sentences about each of 1,000 pictures, and count their words."""
    decoder = load_registry().create("model", Ref("minizoo/decoder"))
    data = load_registry().create("dataset", Ref("minizoo/shortcut-birds"))
    images = data.samples(None, "train", 1000, 0)
    with seeded(0):
        states = torch.randn(1000, decoder.tokens, decoder.width)
    began, busy = time.perf_counter(), time.process_time()
    describe(decoder, states, images, 30, 0, lambda step, total, note="": None)
    took, used = time.perf_counter() - began, time.process_time() - busy
    print("## Speed\n")
    print(f"30 sentences about each of 1,000 pictures: {took:.0f} s by the clock, {used:.0f} s of processor, "
          f"{torch.get_num_threads()} threads\n")  # fmt: skip


def main() -> None:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for section in (table, plantings, speed):
        ask.add_argument(f"--{section.__name__}", action="store_true", help=(section.__doc__ or "").strip())
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--data-seed", type=int, default=0, help="of the pictures of --table")
    ask.add_argument("--deviations", type=float, default=2.0, help="of the masks of --table")
    ask.add_argument("--planted", default=",".join(PLANTED))
    ask.add_argument("--seed", type=int, default=101, help="of the planted networks")
    ask.add_argument("--minimum", type=float, default=0.0, help="least effect of a used word, as a share of the gap")
    ask.add_argument("--out", type=Path, default=Path("runs/repair"))
    flags = ask.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    sections = [s for s in (table, plantings, speed) if getattr(flags, s.__name__)] or [table, plantings, speed]
    for section in sections:
        section(flags)


if __name__ == "__main__":
    main()
