"""`python -m xcore_reviews.train MODEL --out DIR`: train one model, going on from what is already in DIR.

`english` is no model but the list of words beyond the world that the language model is asked for."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

MODELS = ("embedder", "mistral", "textcnn", "english")


def main() -> None:
    """Parse the command line and train; the model is written to DIR/model."""
    parser = argparse.ArgumentParser(prog="python -m xcore_reviews.train", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    args = parser.parse_args()
    importlib.import_module(f"xcore_reviews.train.{args.model}").train(args.out)


if __name__ == "__main__":
    main()
