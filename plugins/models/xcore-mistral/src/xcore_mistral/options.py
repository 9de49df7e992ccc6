"""Options of the generator and of a preference update. This module imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from xcore.contract import options

QUESTION = "Give synonyms of the word {word}. Answer with the comma-separated words only."
EXAMPLES = (("angry", "irate, furious, enraged, mad, outraged, cross"),)


class Options(options.Options):
    """How a language model is asked; part of the identity of the generator."""

    max_new_tokens: int = Field(default=20, ge=1, le=1000, description="most tokens of an answer")
    temperature: float = Field(
        default=1.0, gt=0, description="temperature of sampling; small values give answers that are nearly greedy"
    )
    top_p: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="tokens are sampled from the likeliest ones that together have this probability",
    )
    tries: int = Field(default=3, ge=1, le=20, description="how often the model is asked before a sample is left empty")
    words: int = Field(default=6, ge=1, description="most words that are kept of an answer")
    question: str = Field(default=QUESTION, description="question that is asked; {word} stands for the word")
    examples: tuple[tuple[str, str], ...] = Field(
        default=EXAMPLES, description="pairs (word, answer) that are shown before the question; may be empty"
    )
    batch_size: int = Field(
        default=20,
        ge=1,
        description="answers sampled at once; the last batch is filled up, so take a divisor of what you draw",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the base weights; the LoRA is float32"
    )
    quantise: Literal["none", "4bit", "8bit"] = Field(
        default="none", description="quantise the base weights to 4 or 8 bits; needs bitsandbytes"
    )
    rank: int = Field(default=8, ge=1, description="rank of the LoRA; its alpha is the same, so that its scale is 1")

    @field_validator("question")
    @classmethod
    def _asks_for_a_word(cls, value: str) -> str:
        if "{word}" not in value:
            raise ValueError("the question must contain {word}")
        return value


class AdaptOptions(options.Options):
    """How a call of `adapt` updates the LoRA."""

    steps: int = Field(default=4, ge=0, description="number of optimiser steps")
    lr: float = Field(default=5e-4, gt=0, description="constant learning rate of AdamW")
    beta: float = Field(default=0.1, gt=0, description="strength of the tie to the base model")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    pairs_per_step: int | None = Field(default=None, ge=1, description="pairs drawn for each step; none = all")
