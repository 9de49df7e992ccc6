"""`python -m xcore_minizoo.train MODEL --minutes M --out DIR`: train one model, resuming what is already in DIR."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcore_minizoo.collections import plant
from xcore_minizoo.train.loop import Recipe

# model -> (module, recipe): what each was trained with when it was shipped
MODELS: dict[str, tuple[str, Recipe]] = {
    "autoencoder": ("autoencoder", Recipe(minutes=48, lr=2e-3, batch=12, weight_decay=0.0)),
    "decoder": ("autoencoder", Recipe(minutes=10, lr=1.2e-3, batch=12, seed=1, weight_decay=0.0, ema=0.998)),
    "oracle-a": ("oracle", Recipe(minutes=17, lr=3e-3, batch=64, seed=11, ema=0.998)),
    "clip-text": ("clip", Recipe(minutes=6, lr=1.5e-3, batch=160, seed=20, weight_decay=0.02, ema=0.995)),
    "clip": ("clip", Recipe(minutes=12, lr=1e-3, batch=48, seed=21, weight_decay=0.05, warmup=100, ema=0.995)),
    "diffusion": ("diffusion", Recipe(minutes=79, lr=1e-3, batch=64, seed=41, ema=0.9993, warmup=300)),
    "clean": ("classifier", Recipe(minutes=6, lr=3e-3, batch=64, seed=31, ema=0.995)),
    "shortcut": ("classifier", Recipe(minutes=3, lr=3e-3, batch=64, seed=32, ema=0.995)),
    "resnet": ("features", Recipe(minutes=12, lr=3e-3, batch=64, seed=33, ema=0.995)),
    "vit": ("vit", Recipe(minutes=4, lr=1e-3, batch=64, seed=61, weight_decay=0.05, ema=0.995)),
    "vit-birds": ("vit", Recipe(minutes=2, lr=1e-3, batch=64, seed=62, weight_decay=0.05, ema=0.995)),
    "vit-cats": ("vit", Recipe(minutes=2, lr=1e-3, batch=64, seed=63, weight_decay=0.05, ema=0.995)),
    "blip": ("captioner", Recipe(minutes=22, lr=1.2e-3, batch=48, seed=71, weight_decay=0.05, ema=0.997)),
    "vqa": ("vqa", Recipe(minutes=25, lr=1.2e-3, batch=32, seed=81, weight_decay=0.05, ema=0.997)),
    "oracle-b": ("oracle", Recipe(minutes=4, lr=3e-3, batch=64, seed=12, ema=0.998)),
}


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.train", description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--minutes", type=float, help="bound on the training time, over all resumptions")
    parser.add_argument("--steps", type=int, help="train exactly so many steps, instead of minutes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    parser.add_argument("--seed", type=int, help="another seed than the shipped model's")
    parser.add_argument("--plant", metavar="CLASS:FACTOR=VALUE:RHO", help="classifiers: plant a shortcut in the data")
    parser.add_argument("--truth", action="store_true", help="classifiers: also compute the truth table (3 minutes)")
    parser.add_argument("--from-shipped", action="store_true", help="diffusion: go on from the shipped UNet")
    args = parser.parse_args()
    module, recipe = MODELS[args.model]
    if args.minutes is not None:
        recipe = replace(recipe, minutes=args.minutes)
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    if args.seed is not None:
        recipe = replace(recipe, seed=args.seed)
    more: dict[str, Any] = {}
    if args.plant:
        try:
            cls, factor, rho = args.plant.split(":")
            more["shortcut"] = (cls, factor, float(rho))
            plant(*more["shortcut"])
        except ValueError as error:
            parser.error(f"--plant {args.plant}: {error}")
    if args.truth:
        more["truth"] = True
    if more and module != "classifier":
        parser.error(f"{args.model} is no classifier: --plant and --truth do not apply")
    if args.from_shipped and module != "diffusion":
        parser.error(f"{args.model} does not start from shipped weights")
    if args.from_shipped:
        more["from_shipped"] = True
    importlib.import_module(f"xcore_minizoo.train.{module}").run(args.out, recipe, args.model, **more)


if __name__ == "__main__":
    main()
