"""The list of English words beyond the reviews: the words of WordNet that the language model learns."""

from __future__ import annotations

import json
from pathlib import Path

from xcore_reviews.data import vocabulary

from reviews_training.wordnet import synonyms
from xcore.inputs.words import STOPWORDS


def train(out: Path) -> None:
    """Write the list to `out`/english.json."""
    words = sorted(set(synonyms()) - set(vocabulary()) - STOPWORDS)
    out.mkdir(parents=True, exist_ok=True)
    (out / "english.json").write_text(json.dumps(words, indent=0), encoding="utf-8")
