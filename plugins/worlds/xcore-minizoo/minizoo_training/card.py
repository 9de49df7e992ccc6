"""The cards of the shipped models: card.json beside the weights says how a model was made and how good it is."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from minizoo_training.recipes import DATA, MODELS, NOTES


def card(model: str, trained: Path) -> dict[str, Any]:
    """The card of a trained model: its data, command and recipe, the commit of the code, and the measured figures."""
    figures: dict[str, float] = json.loads((trained / "figures.json").read_text())
    recipe = replace(MODELS[model][1], steps=int(figures.pop("steps")))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "model": f"minizoo/{model}",
        "data": DATA[model],
        "command": f"python plugins/worlds/xcore-minizoo/minizoo_training {model} --steps {recipe.steps} --out FOLDER",
        "recipe": asdict(recipe),
        "seconds": figures.pop("seconds"),
        "commit": commit,
        "figures": figures,
        **({"note": NOTES[model]} if model in NOTES else {}),
    }


def main(arguments: Sequence[str], prog: str) -> None:
    """Copy a trained model into the weights of the package and write its card."""
    parser = argparse.ArgumentParser(prog=prog, description=main.__doc__)
    parser.add_argument("model", choices=sorted(DATA))
    parser.add_argument("trained", type=Path, help="the folder `model` that the training wrote")
    parser.add_argument("weights", type=Path, help="folder that the model is copied to")
    args = parser.parse_args(arguments)
    about = card(args.model, args.trained)
    left_out = shutil.ignore_patterns("figures.json", "truth.json")
    shutil.copytree(args.trained, args.weights, dirs_exist_ok=True, ignore=left_out)
    if (args.trained / "truth.json").is_file() and not (args.weights / "truth.json").exists():
        shutil.copy(args.trained / "truth.json", args.weights / "truth.json")  # a table that was measured later is kept
    (args.weights / "card.json").write_text(json.dumps(about, indent=1) + "\n")
