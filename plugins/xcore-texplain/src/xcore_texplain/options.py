"""Options of the method and of its decoders. Light: no torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from xcore.options import Options as Base


class DecoderOptions(Base):
    """Options of `blip-decoder` and `prefix-decoder`."""

    min_words: int | None = Field(
        default=None, ge=0, le=200, description="words of a sentence, at least; none = what the model's card says, or 0"
    )
    max_words: int | None = Field(
        default=None, ge=1, le=200, description="words of a sentence, at most; none = what the model's card says, or 30"
    )
    top_p: float = Field(default=0.95, gt=0, le=1, description="mass of the likeliest tokens that are drawn from")
    temperature: float = Field(default=1.0, gt=0, description="of the tokens, before the mass is cut")
    prompt: str = Field(default="", description="what every sentence begins with; it is given, not written")
    tokens: int | None = Field(
        default=None, ge=1, description="states that are read; none = as many as the model was trained with, or 10"
    )
    batch: int = Field(default=256, ge=1, description="sentences that are written at once")
    device: str = Field(default="", description="torch device; empty = that of --device")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError("min_words is more than max_words")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """The options that change what is said."""
        return self.model_dump(exclude={"device"})


class TranslatorOptions(Base):
    """How the map from features to the decoder's states is made."""

    mode: Literal["tokenwise", "flatten_bottleneck"] = Field(
        default="tokenwise",
        description="the same linear maps at every position, or one of all positions at once through a bottleneck",
    )
    hidden: int | None = Field(
        default=None, ge=1, description="width between the maps; none = the larger of both sides, or 256 (flattened)"
    )
    pairs: str = Field(
        default="",
        description="captions: a JSONL or CSV file with columns image and caption, or a folder with captions.jsonl "
        "or captions.csv; empty = those of the data set",
    )
    captions: str = Field(
        default="long_caption,caption", description="what the data set calls its captions: the first that it has"
    )
    train_pairs: int = Field(default=4096, ge=2, description="pairs to learn from, at most")
    validation: int = Field(default=256, ge=1, description="further pairs that tell when to stop")
    steps: int = Field(default=2000, ge=1, description="steps of training, at most")
    batch: int = Field(default=32, ge=1, description="pairs of a step")
    lr: float = Field(default=1e-3, gt=0, description="highest learning rate of AdamW")
    every: int = Field(default=100, ge=1, description="steps between two looks at the validation loss, and checkpoints")
    patience: int = Field(default=6, ge=1, description="looks without improvement after which training stops")
    seed: int = Field(default=0, ge=0, description="of the pairs, the training and the prior; the run's is of the rest")


class Options(TranslatorOptions):
    """Options of `texplain`."""

    features: Literal["classifier", "generator"] = Field(
        default="classifier",
        description="what is read: the classifier's layer, or the generator's latents of pictures that it draws "
        "(best with mode=flatten_bottleneck)",
    )
    prompt: str = Field(
        default="a {class}", description="what the generator draws if its latents are read; {class} is the class's name"
    )
    translator: str = Field(default="", description="folder of a trained translator; empty = train one, once")
    sentences: int = Field(default=100, ge=1, description="sentences for an image (1000 in the paper)")
    prior_images: int = Field(default=60, ge=2, description="images of all classes behind the shuffled prior")
    prior_sentences: int = Field(default=2000, ge=1, description="sentences about the mean feature")
    k: int = Field(default=20, ge=1, description="words in the explanation, at most")
    least: float = Field(default=0.02, ge=0, le=1, description="words in a smaller share of the sentences are left out")
    drop: list[str] = Field(default_factory=list, description="further words that are no concepts")
    bootstrap: int = Field(default=1000, ge=10, description="resamples of the images behind the intervals")
    draw: bool = Field(default=False, description="let the generator paint every word, so that metrics on images apply")
    drawn: int = Field(default=20, ge=1, description="pictures of a word, if they are painted")

    @field_validator("prompt")
    @classmethod
    def _names_the_class(cls, prompt: str) -> str:
        if "{class}" not in prompt:
            raise ValueError("the prompt must hold {class}, or all classes are drawn alike")
        return prompt
