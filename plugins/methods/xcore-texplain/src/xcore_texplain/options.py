"""Options of the method and of its decoders. This module imports no torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from xcore.contract import Options as Base


class DecoderOptions(Base):
    """Options of `blip-decoder` and `prefix-decoder`."""

    min_words: int | None = Field(
        default=None, ge=0, le=200, description="fewest words of a sentence; none = as the model's card says, else 0"
    )
    max_words: int | None = Field(
        default=None, ge=1, le=200, description="most words of a sentence; none = as the model's card says, else 30"
    )
    top_p: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="tokens are sampled from the likeliest ones that together have this probability",
    )
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature, applied before top_p")
    prompt: str = Field(
        default="", description="text that every sentence begins with; the model reads it and does not write it"
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="number of states that the model reads; none = as many as it was trained with (BLIP), else 10",
    )
    batch: int = Field(default=256, ge=1, description="sentences that are sampled at once")
    device: str = Field(default="", description="torch device; empty = the one that --device names")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words}, which is more than max_words, {self.max_words}")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """The options that change the sentences."""
        return self.model_dump(exclude={"device"})


class TranslatorOptions(Base):
    """How the translator, the map from features to the states of the decoder, is made."""

    mode: Literal["tokenwise", "flatten_bottleneck"] = Field(
        default="tokenwise",
        description="tokenwise: the same linear maps at every position of the layer; "
        "flatten_bottleneck: linear maps of all positions at once, through a bottleneck",
    )
    hidden: int | None = Field(
        default=None,
        ge=1,
        description="width between the linear maps; none = the larger of their two ends, or 256 for flatten_bottleneck",
    )
    pairs: str = Field(
        default="",
        description="images and captions to learn from: a JSONL or CSV file with the columns image and caption, "
        "or a folder with captions.jsonl or captions.csv; empty = the captions of the data set",
    )
    captions: str = Field(
        default="long_caption,caption",
        description="names under which the data set may have captions; the first that it has is used",
    )
    train_pairs: int = Field(default=4096, ge=2, description="most pairs to train on")
    validation: int = Field(default=256, ge=1, description="further pairs, held out to tell when to stop")
    steps: int = Field(default=2000, ge=1, description="most steps of training")
    batch: int = Field(default=32, ge=1, description="pairs in each step")
    lr: float = Field(default=1e-3, gt=0, description="highest learning rate of AdamW")
    every: int = Field(
        default=100, ge=1, description="steps between two measurements of the validation loss, each with a checkpoint"
    )
    patience: int = Field(
        default=6, ge=1, description="measurements without a better validation loss after which training stops"
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="seed of the pairs, the training and the prior; the seed of the run decides the rest",
    )


class Options(TranslatorOptions):
    """Options of `texplain`."""

    features: Literal["classifier", "generator"] = Field(
        default="classifier",
        description="classifier: read the features of its layer; generator: read the generator's latents of pictures "
        "that it draws of the class (best with mode=flatten_bottleneck)",
    )
    prompt: str = Field(
        default="a {class}",
        description="prompt of these pictures if latents are read; {class} is replaced by the name of the class",
    )
    translator: str = Field(
        default="", description="folder of a trained translator; empty = train one, which the cells of a run share"
    )
    sentences: int = Field(default=100, ge=1, description="sentences about each image (the paper has 1000)")
    prior_images: int = Field(default=60, ge=2, description="images of all classes from which the prior is counted")
    prior_sentences: int = Field(default=2000, ge=1, description="sentences about the mean feature")
    k: int = Field(default=20, ge=1, description="most words in the explanation")
    least: float = Field(
        default=0.02, ge=0, le=1, description="words that are in a smaller share of the sentences are left out"
    )
    drop: list[str] = Field(default_factory=list, description="further words to leave out")
    lexicon: str = Field(
        default="", description="JSON file: class -> words that are of it, red in the cloud; empty = those of its names"
    )
    bootstrap: int = Field(default=1000, ge=10, description="resamples of the images for the intervals")
    context: bool = Field(
        default=False,
        description="also regress the margin of the class on the presence of the words in images of all classes, read "
        "by an image-text model: whether what is said is also what the classifier uses",
    )
    draw: bool = Field(default=False, description="let the generator draw every word, so that metrics on images apply")
    drawn: int = Field(default=20, ge=1, description="pictures of each word, if words are drawn")

    @field_validator("prompt")
    @classmethod
    def _names_the_class(cls, prompt: str) -> str:
        if "{class}" not in prompt:
            raise ValueError("the prompt must contain {class}, else the pictures of all classes are the same")
        return prompt
