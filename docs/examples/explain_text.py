"""Explain a text classifier from Python, with concepts that a language model proposes.

Everything that is used here comes with the plugins. Replace the classifier, texts and language model by your own.
"""

from __future__ import annotations

import xcore
from xcore import highlight
from xcore.contract import Explanation, Ref
from xcore.session import make


def main(steps: int = 40) -> Explanation:
    """Explain why the classifier takes short reviews for negative, and print three of them with their words marked."""

    classifier = make("classifier", Ref("reviews/textcnn"))  # hf-text:DIR, textcnn:DIR, or a torch module
    generator = make("generator", Ref("reviews/mistral"))  # mistral:mistralai/Mistral-7B-Instruct-v0.2
    embedder = make("model", Ref("reviews/embedder"))  # minilm, sentence:DIR
    data = make("dataset", Ref("reviews"))  # or a list of strings of your own

    explanation = xcore.explain(
        "rlpo",
        classifier,
        data.samples("negative", "explain", 60, seed=0).texts,
        target="negative",
        generator=generator,
        models={"text-embedder": embedder},
        vocabulary=data.vocabulary,  # random words for comparison; the seeds are words of the texts
        options={"actions": 40, "steps": steps},
    )
    for text in highlight(explanation).texts[:3]:
        print("".join(f"[{piece}]" if mark else piece for piece, mark in text.pieces()))
        for entry in text.lists:
            print("   ", entry.line)
    return explanation


if __name__ == "__main__":
    main()
