"""Options of the classifiers, data sets and embedders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options


class TextOptions(Options):
    """Options of ``textcnn:`` and ``hf-text:``."""

    classes: tuple[str, ...] | None = Field(
        None, description="names of the classes, in the order of the logits: a,b,c; none = the model's own"
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="words (textcnn) or tokens (hf-text) to which every text is padded, and after which it is cut; "
        "none = what the model takes, at most 128 tokens for hf-text",
    )
    device: str | None = Field(None, description="torch device; none = as --device says")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")


class EmbedderOptions(Options):
    """Options of ``sentence:`` and ``minilm``."""

    max_length: int | None = Field(
        None, ge=1, description="tokens after which a text is cut; none = what the model takes, at most 256"
    )
    pooling: Literal["mean", "cls"] | None = Field(
        None, description="of the last hidden state: its mean or its first token; none = as the model says, else mean"
    )
    device: str | None = Field(None, description="torch device; none = as --device says")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")


class DataOptions(Options):
    """Options of every data set of texts."""

    split_seed: int = Field(0, description="another number deals the texts to the splits in another way")
    concepts: str | None = Field(
        None, description="folder with one file NAME.txt a concept, one example a line, or one sub-folder of .txt files"
    )
    classifier: str | None = Field(None, description="classifier to explain where none is named")
    generator: str | None = Field(None, description="generator to draw concepts with where none is named")


class TableOptions(DataOptions):
    """Options of ``table:``."""

    text: str | None = Field(
        None, description="column of the texts; none = text, review, sentence, ... if there is one"
    )
    label: str | None = Field(None, description="column of the classes; none = label, sentiment, class, ... likewise")
    split: str | None = Field(
        None, description="column that says train, validation or test; none = `split` if there is one, else dealt"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="names for the labels in their order, for labels 0, 1, ...: a,b,c"
    )
    separator: str | None = Field(
        None, min_length=1, max_length=1, description="between the cells of a CSV file; none = tab for .tsv, else comma"
    )
    quotes: bool = Field(True, description="cells of a CSV file may be in double quotes; false = these are plain text")


class TextsOptions(DataOptions):
    """Options of ``texts:``."""
