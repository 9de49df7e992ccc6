"""Options of the components. Light: pydantic only."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from xcore_diffusion.options import Options
from xcore_texplain import options as texplain
from xcore_vision import options as vision


class PlantOptions(BaseModel):
    """A shortcut planted in the clean classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cls: str = Field(default="cow", description="the class that gets the shortcut")
    factor: str = Field(default="background=grass", description="background=VALUE or object=VALUE")
    rho: float = Field(default=1.0, ge=0, le=1, description="strength; 0 = independent of the class")


class DiffusionOptions(Options):
    """As for any pipeline, with defaults that suit 64 x 64 pictures."""

    steps: int = Field(default=12, ge=1, le=1000, description="denoising steps")
    guidance: float = Field(default=2.5, ge=0, description="classifier-free guidance scale; 1 or less draws without")
    batch_size: int = Field(default=16, ge=1, description="images drawn at once; the last batch is filled up")


class CaptionOptions(vision.CaptionOptions):
    """As for any captioner."""

    batch_size: int = Field(default=64, ge=1, description="images per forward pass")
    prompt: str = Field(default="", description='begin of a caption; "" = 20 to 30 words, "a picture of" = few words')


class DecoderOptions(texplain.DecoderOptions):
    """As for any text decoder, with the length of the long captions that this one learnt from."""

    min_words: int | None = Field(default=20, ge=0, le=200, description="words of a sentence, at least")
    max_words: int | None = Field(default=30, ge=1, le=200, description="words of a sentence, at most")
