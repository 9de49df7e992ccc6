"""Options of the generator and of one preference update. Light: imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from xcore import options

QUESTION = "Give synonyms of the word {word}. Answer with the comma-separated words only."
EXAMPLES = (("angry", "irate, furious, enraged, mad, outraged, cross"),)


class Options(options.Options):
    """How a language model is asked; part of the generator's identity."""

    max_new_tokens: int = Field(default=20, ge=1, le=1000, description="longest answer")
    temperature: float = Field(default=1.0, gt=0, description="of sampling; small values come near to greedy answers")
    top_p: float = Field(
        default=0.95, gt=0, le=1, description="samples among the likeliest tokens that have this probability together"
    )
    tries: int = Field(default=3, ge=1, le=20, description="answers asked for before a sample is left empty")
    words: int = Field(default=6, ge=1, description="most words kept of an answer")
    question: str = Field(default=QUESTION, description="what is asked; {word} stands for the word")
    examples: tuple[tuple[str, str], ...] = Field(
        default=EXAMPLES, description="(word, answer) shown before the question; may be empty"
    )
    batch_size: int = Field(
        default=20, ge=1, description="answers sampled at once; the last batch is filled up, so take a divisor"
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the base weights"
    )
    quantise: Literal["none", "4bit", "8bit"] = Field(
        default="none", description="base weights in 4 or 8 bits; needs bitsandbytes"
    )
    rank: int = Field(default=8, ge=1, description="rank of the LoRA; its alpha is equal, so that its scale is 1")

    @field_validator("question")
    @classmethod
    def _asks_for_a_word(cls, value: str) -> str:
        if "{word}" not in value:
            raise ValueError("the question must contain {word}")
        return value


class AdaptOptions(options.Options):
    """How one call of `adapt` updates the LoRA."""

    steps: int = Field(default=4, ge=0, description="optimiser steps")
    lr: float = Field(default=5e-4, gt=0, description="AdamW learning rate, constant")
    beta: float = Field(default=0.1, gt=0, description="strength of the tie to the base model")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    pairs_per_step: int | None = Field(default=None, ge=1, description="pairs drawn for each step; None = all")
