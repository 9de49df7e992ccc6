"""What the card of a language model says of its sentences."""

from __future__ import annotations

import json
from pathlib import Path

from xcore.errors import UsageError


def words_on_card(folder: Path) -> tuple[int, int] | None:
    """Words of the sentences that the model was trained on, if its ``card.json`` says ``"words": [least, most]``."""
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8")).get("words")
        return (int(said[0]), int(said[1])) if said else None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(f"{str(path)!r} is damaged: {error}", 'it may say "words": [20, 30]') from error
