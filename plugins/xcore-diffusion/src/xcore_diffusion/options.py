"""Options of the generator and of one preference update. Light: imports neither torch nor diffusers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore import options


class Options(options.Options):
    """How a pipeline draws; part of the generator's identity."""

    steps: int = Field(default=25, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(
        default=7.5, ge=0, description="classifier-free guidance scale; 1 or less draws without guidance"
    )
    scheduler: Literal["dpm", "ddim", "euler", "unipc", "own"] = Field(
        default="dpm", description="deterministic sampler; 'own' keeps the pipeline's, which must be deterministic"
    )
    batch_size: int = Field(
        default=4, ge=1, description="images drawn at once; the last batch is filled up, so keep it small"
    )
    height: int | None = Field(default=None, ge=8, description="pixels; None = what the UNet was made for")
    width: int | None = Field(default=None, ge=8, description="pixels; None = what the UNet was made for")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the base weights"
    )
    rank: int = Field(default=8, ge=1, description="rank of the LoRA; its alpha is equal, so that its scale is 1")


class AdaptOptions(options.Options):
    """How one call of `adapt` updates the LoRA."""

    steps: int = Field(default=4, ge=0, description="optimiser steps")
    lr: float = Field(default=1e-3, gt=0, description="AdamW learning rate, constant")
    beta: float | None = Field(default=None, gt=0, description="None = 2500 x latent entries / 16384")
    weight_decay: float = Field(default=1e-2, ge=0)
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    pairs_per_step: int | None = Field(default=None, ge=1, description="pairs drawn for each step; None = all")
