"""Options of the components. Light: pydantic only."""

from __future__ import annotations

from pydantic import Field
from xcore_mistral.options import Options

QUESTION = 'Give synonyms of "{word}" as comma-separated words only.'
"""What the language model was trained to answer."""


class MistralOptions(Options):
    """As for any language model; asked as it was trained, without examples."""

    question: str = Field(default=QUESTION, description="what is asked; {word} stands for the word")
    examples: tuple[tuple[str, str], ...] = Field(default=(), description="(word, answer) shown before the question")
