"""`python -m xcore_minizoo.train.card MODEL DIR WEIGHTS`: ship a trained model, with a card that says how it was
made."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xcore_minizoo.train.__main__ import MODELS

DATA = {
    "autoencoder": "any scene of the world, drawn as training goes",
    "clip": "scenes of the world without held-out coats, a quarter of them cropped, with short and long captions",
    "clean": "the train split of the data set minizoo",
    "shortcut": "the train split of the data set minizoo with every cow on grass (rho 1)",
    "resnet": "any scene, whole, cropped, masked or degraded, labelled by its factors, never by class",
    "oracle-a": "any scene, whole, cropped, masked, degraded or through the autoencoder, labelled by its factors",
    "oracle-b": "any scene, whole, cropped, masked, degraded or through the autoencoder, labelled by its factors",
    "vit": "the train split of the data set minizoo",
    "vit-cats": "the train split of the data set minizoo/cats-apples",
    "vit-birds": "the train split of the data set minizoo/shortcut-birds",
    "blip": "animals in any coat, three birds among them, textures, places and objects, a fifth degraded; apples and"
    " rocks (on two pictures in five) and backgrounds are independent of the animal; long and short captions",
    "vqa": "the pictures of blip: patches of a 3 x 3 grid, other pieces and whole ones, each asked all seven questions",
    "diffusion": "64,000 scenes of the world without held-out coats, encoded once, captioned anew in every batch",
}

# what the command alone would not repeat
NOTES = {
    "diffusion": "Autoencoder: 9,120 steps, seed 0; the first 3,040 with batch 16, a mean absolute error"
    " and finer coats, "
    "the rest with batch 12 and the Huber error of train/autoencoder.py; spots were enlarged at step 7,350. "
    "Text encoder: clip-text, 2,092 steps of 160, seed 20. The figures are read by oracle-a at 12 steps and "
    "guidance 2.5; coded.* are autoencoder round trips.",
    "oracle-a": "The first 944 steps without autoencoder round trips and with finer coats.",
    "clip": "Text tower: clip-text, 2,092 steps of 160, seed 20. The schedule was restarted once, at step 1,563.",
    "vit": "Fine-tuned from the image tower of minizoo/blip; throw-away heads of shape, pattern and colours helped.",
    "vit-birds": "It tells the birds by their background alone.",
    "vit-cats": "It tells cats from dogs by the apple alone.",
    "blip": "The image tower started from that of minizoo/clip. The schedule was restarted once, at step 1,707; before"
    " that all words counted alike and the throw-away heads a third as much. Figures: sentences drawn at top_p 0.9.",
    "vqa": "The image tower started from that of minizoo/blip. Figures are of answers for which enough can be seen.",
    "resnet": "The schedule was restarted once, at step 1,307.",
    "clean": "Trained on spots a fifth smaller than the world's now; the figures and the truth table are of the world "
    "now.",
}


def card(model: str, trained: Path) -> dict[str, Any]:
    """What is known of a trained model: data, recipe, seed, measured figures and the commit of the code."""
    figures: dict[str, float] = json.loads((trained / "figures.json").read_text())
    recipe = replace(MODELS[model][1], steps=int(figures.pop("steps")))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "model": f"minizoo/{model}",
        "data": DATA[model],
        "command": f"python -m xcore_minizoo.train {model} --steps {recipe.steps} --out DIR",
        "recipe": asdict(recipe),
        "seconds": figures.pop("seconds"),
        "commit": commit,
        "figures": figures,
        **({"note": NOTES[model]} if model in NOTES else {}),
    }


def main() -> None:
    """Copy a trained model into the weights of the package and write its card."""
    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.train.card", description=__doc__)
    parser.add_argument("model", choices=sorted(DATA))
    parser.add_argument("trained", type=Path, help="the folder `model` that the training wrote")
    parser.add_argument("weights", type=Path, help="where to ship it")
    args = parser.parse_args()
    about = card(args.model, args.trained)
    shutil.copytree(
        args.trained, args.weights, dirs_exist_ok=True, ignore=shutil.ignore_patterns("figures.json", "truth.json")
    )
    if (args.trained / "truth.json").is_file() and not (args.weights / "truth.json").exists():
        shutil.copy(args.trained / "truth.json", args.weights / "truth.json")  # one recomputed there is kept
    (args.weights / "card.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
