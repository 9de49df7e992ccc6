"""Train one of the shipped ResNet classifiers: on the clean classes, or with the shipped shortcut planted in them."""

from __future__ import annotations

import json
from pathlib import Path

from xcore_minizoo.collections import CLEAN, SHORTCUT, plant
from xcore_minizoo.training import Recipe, train_classifier
from xcore_minizoo.truth import table_of


def run(out: Path, recipe: Recipe, name: str = "clean", truth: bool = False) -> None:
    """Train, and save weights, config and figures to `out`/model; with `truth` also the truth table."""
    planted = SHORTCUT if name == "shortcut" else None
    collection = plant(*planted) if planted else CLEAN
    model = train_classifier(out, out / "model", collection, recipe, planted)
    if truth:
        table = table_of(model, collection)
        (out / "model" / "truth.json").write_text(json.dumps(table, indent=1))
