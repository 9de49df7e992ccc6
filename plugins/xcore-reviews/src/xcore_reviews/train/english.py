"""The words beyond this world: those of WordNet that the language model is trained to answer."""

from __future__ import annotations

import json
from pathlib import Path

from xcore.words import STOPWORDS
from xcore_reviews.data import vocabulary
from xcore_reviews.train.wordnet import synonyms


def train(out: Path) -> None:
    """Write the list, english.json."""
    words = sorted(set(synonyms()) - set(vocabulary()) - STOPWORDS)
    out.mkdir(parents=True, exist_ok=True)
    (out / "english.json").write_text(json.dumps(words, indent=0), encoding="utf-8")
