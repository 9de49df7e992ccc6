"""Options of the components. This module imports nothing heavy."""

from __future__ import annotations

from pydantic import Field
from xcore_mistral.options import Options

QUESTION = 'Give synonyms of "{word}" as comma-separated words only.'
"""The question that the language model was trained to answer."""


class MistralOptions(Options):
    """Options of any language model; the default question is the one of its training, without examples."""

    question: str = Field(default=QUESTION, description="question that is asked; {word} stands for the word")
    examples: tuple[tuple[str, str], ...] = Field(
        default=(), description="pairs (word, answer) that are shown before the question"
    )
