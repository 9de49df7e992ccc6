"""Train the shipped models of the written world.

Run it from the root of the repository::

    python plugins/worlds/xcore-reviews/reviews_training MODEL --out FOLDER
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Python put this folder on its path. The package is found from the folder above; the modules must not be found by
    # their bare names, since libraries have names such as `mistral` or `wordnet` too.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

MODELS = ("embedder", "mistral", "textcnn", "english")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a model, or continue the training whose checkpoint is in the folder.

    "english" is not a model but the list of words beyond the reviews that random words are drawn from.
    """
    parser = argparse.ArgumentParser(
        prog="python plugins/worlds/xcore-reviews/reviews_training",
        description="Train a model, or continue the training whose checkpoint is in the folder. 'english' writes the "
        "list of words beyond the reviews that random words are drawn from.",
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    args = parser.parse_args(arguments)
    importlib.import_module(f"reviews_training.{args.model}").train(args.out)


if __name__ == "__main__":
    main()
