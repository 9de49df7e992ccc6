"""Explain a text classifier with concepts that a language model proposes, from Python.

Everything that is used here comes with the plugins; put your own classifier, texts and language model in their places.
"""

from __future__ import annotations

import xcore
from xcore.api import load_registry
from xcore.marked import marked
from xcore.types import Explanation, Ref


def main(steps: int = 40) -> Explanation:
    """Explain why short reviews count as negative, and print three of them with the words that speak for it."""
    registry = load_registry()
    classifier = registry.create("classifier", Ref("reviews/textcnn"))  # hf-text:DIR, textcnn:DIR, or a torch module
    generator = registry.create("generator", Ref("reviews/mistral"))  # mistral:mistralai/Mistral-7B-Instruct-v0.2
    embedder = registry.create("model", Ref("reviews/embedder"))  # minilm, sentence:DIR
    data = registry.create("dataset", Ref("reviews"))  # or a list of strings of your own

    explanation = xcore.explain(
        "rlpo",
        classifier,
        data.samples("negative", "explain", 60, seed=0).texts,
        target="negative",
        generator=generator,
        models={"text-embedder": embedder},
        vocabulary=data.vocabulary,  # random words to compare with; the texts' own words are the seeds
        options={"actions": 40, "steps": steps},
    )
    for text in marked(explanation).texts[:3]:
        print("".join(f"[{piece}]" if mark else piece for piece, mark in text.pieces()))
        for entry in text.lists:
            print("   ", entry.line)
    return explanation


if __name__ == "__main__":
    main()
