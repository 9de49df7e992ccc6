"""Options of the components. This module imports nothing heavy."""

from __future__ import annotations

from pydantic import Field
from xcore_diffusion import options as diffusion
from xcore_texplain import options as texplain
from xcore_vision import options as vision

from xcore.contract import Options


class PlantOptions(Options):
    """Options of the data set `minizoo/planted`."""

    cls: str = Field(default="cow", description="class in which the shortcut is planted")
    factor: str = Field(default="background=grass", description="what is planted: background=VALUE or object=VALUE")
    rho: float = Field(
        default=1.0, ge=0, le=1, description="strength; 0 = independent of the class, 1 = on every picture of the class"
    )


class DiffusionOptions(diffusion.Options):
    """Options of any diffusion pipeline, with defaults that suit pictures of 64 x 64 pixels."""

    steps: int = Field(default=12, ge=1, le=1000, description="number of denoising steps")
    guidance: float = Field(
        default=2.5, ge=0, description="scale of classifier-free guidance; 1 or less turns guidance off"
    )
    batch_size: int = Field(default=16, ge=1, description="images drawn at once; the last batch is filled up")


class CaptionOptions(vision.CaptionOptions):
    """Options of any captioner."""

    batch_size: int = Field(default=64, ge=1, description="images per forward pass")
    prompt: str = Field(
        default="", description='how a caption begins; "" gives 20 to 30 words, "a picture of" gives a few words'
    )


class DecoderOptions(texplain.DecoderOptions):
    """Options of any text decoder; the default lengths are those of the long captions that this one was trained on."""

    min_words: int | None = Field(default=20, ge=0, le=200, description="fewest words of a sentence")
    max_words: int | None = Field(default=30, ge=1, le=200, description="most words of a sentence")
