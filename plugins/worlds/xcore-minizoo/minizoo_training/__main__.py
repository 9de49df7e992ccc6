"""Train the shipped models of the painted world, write their cards, measure a text-to-image pipeline.

Run it from the root of the repository::

    python plugins/worlds/xcore-minizoo/minizoo_training MODEL --out FOLDER
    python plugins/worlds/xcore-minizoo/minizoo_training card MODEL FOLDER/model WEIGHTS
    python plugins/worlds/xcore-minizoo/minizoo_training evaluate PIPELINE ORACLE
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Python put this folder on its path. The package is found from the folder above; the modules must not be found by
    # their bare names, since `clip` or `evaluate` are also names of libraries.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from minizoo_training import card, evaluate
from minizoo_training.recipes import MODELS

COMMAND = "python plugins/worlds/xcore-minizoo/minizoo_training"


def train(arguments: Sequence[str]) -> None:
    """Train one model, or continue the training whose checkpoint is in the folder."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Train one model, or continue the training whose checkpoint is in the folder.",
        epilog=f"See also: {COMMAND} card --help; {COMMAND} evaluate --help",
    )
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    parser.add_argument("--minutes", type=float, help="how long to train, summed over all resumptions")
    parser.add_argument("--steps", type=int, help="train exactly this number of steps, however long it takes")
    parser.add_argument("--seed", type=int, help="train with another seed than that of the shipped model")
    parser.add_argument("--truth", action="store_true", help="clean, shortcut: measure the truth table too (3 minutes)")
    parser.add_argument("--from-shipped", action="store_true", help="diffusion: start from the shipped UNet")
    args = parser.parse_args(arguments)
    module, recipe = MODELS[args.model]
    given = {name: getattr(args, name) for name in ("minutes", "steps", "seed") if getattr(args, name) is not None}
    more: dict[str, Any] = {}
    if args.truth:
        if module != "classifier":
            parser.error(f"--truth applies to clean and shortcut, not to {args.model}")
        more["truth"] = True
    if args.from_shipped:
        if module != "diffusion":
            parser.error(f"--from-shipped applies to diffusion, not to {args.model}")
        more["from_shipped"] = True
    importlib.import_module(f"minizoo_training.{module}").run(args.out, replace(recipe, **given), args.model, **more)


def main(arguments: Sequence[str]) -> None:
    """Run the sub-command that the first argument names; any other first argument is a model to train."""
    commands = {
        "card": lambda rest: card.main(rest, f"{COMMAND} card"),
        "evaluate": lambda rest: evaluate.main(rest, f"{COMMAND} evaluate"),
    }
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
    else:
        train(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
