"""Options of the generator and of a preference update. This module imports neither torch nor diffusers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from xcore.contract import options


class Options(options.Options):
    """How a pipeline draws images; part of the identity of the generator."""

    steps: int = Field(default=25, ge=1, le=1000, description="number of denoising steps")
    guidance: float = Field(
        default=7.5, ge=0, description="scale of classifier-free guidance; 1 or less turns guidance off"
    )
    unguided: int = Field(
        default=0,
        ge=0,
        description="first denoising steps without guidance, which take one pass of the UNet instead of two",
    )
    scheduler: Literal["dpm", "ddim", "euler", "unipc", "own"] = Field(
        default="dpm", description="sampler; 'own' keeps that of the pipeline, which must be deterministic"
    )
    batch_size: int = Field(
        default=4,
        ge=1,
        description="images drawn at once; the last batch is filled up, so take a divisor of what you draw",
    )
    pairs_at_once: int | None = Field(
        default=None,
        ge=1,
        description="pairs that an update sends through the UNet at once; fewer need less memory; none = batch_size",
    )
    height: int | None = Field(default=None, ge=8, description="height in pixels; none = the size of the UNet")
    width: int | None = Field(default=None, ge=8, description="width in pixels; none = the size of the UNet")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the base weights; the LoRA is float32"
    )
    rank: int = Field(default=8, ge=1, description="rank of the LoRA; its alpha is the same, so that its scale is 1")

    @model_validator(mode="after")
    def _some_steps_are_guided(self) -> Self:
        if self.unguided >= self.steps:
            raise ValueError(
                f"unguided={self.unguided} leaves none of {self.steps} steps guided: set guidance=1 for that"
            )
        return self


class AdaptOptions(options.Options):
    """How a call of `adapt` updates the LoRA."""

    steps: int = Field(default=4, ge=0, description="number of optimiser steps")
    lr: float = Field(default=1e-3, gt=0, description="constant learning rate of AdamW")
    beta: float | None = Field(
        default=None, gt=0, description="strength of the tie to the base model; none = 2500 x latent entries / 16384"
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="weight decay of AdamW")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    pairs_per_step: int | None = Field(default=None, ge=1, description="pairs drawn for each step; none = all")
