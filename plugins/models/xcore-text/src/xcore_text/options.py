"""Options of the classifiers, data sets and embedders. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from xcore.contract import Options, UsageError
from xcore.inputs.encodings import checked_encoding


class TextOptions(Options):
    """Options of ``textcnn:`` and ``hf-text:``."""

    classes: tuple[str, ...] | None = Field(
        None,
        description="names of the classes in the order of the logits, written a,b,c; none = the names in the model",
    )
    max_length: int | None = Field(
        None,
        ge=1,
        description="length in words (textcnn) or tokens (hf-text) to which every text is padded or cut; "
        "none = as much as the model reads, at most 128 tokens for hf-text",
    )
    device: str | None = Field(None, description="torch device; none = the device that --device names")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")


class EmbedderOptions(Options):
    """Options of ``sentence:`` and ``minilm``."""

    max_length: int | None = Field(
        None, ge=1, description="tokens after which a text is cut; none = as many as the model reads, at most 256"
    )
    pooling: Literal["mean", "cls"] | None = Field(
        None,
        description="what of the last hidden state is used: its mean or its first token; none = as the model says",
    )
    device: str | None = Field(None, description="torch device; none = the device that --device names")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")


class DataOptions(Options):
    """Options of every data set of texts."""

    split_seed: int = Field(0, description="seed by which texts are dealt to the splits")
    concepts: str | None = Field(
        None,
        description="folder of concepts: files NAME.txt with an example on each line, or sub-folders of .txt files",
    )
    classifier: str | None = Field(None, description="classifier to explain if a request names none")
    generator: str | None = Field(None, description="generator that draws concepts if a request names none")
    encoding: str = Field(
        "",
        description="encoding of the files, such as cp1252; mixed = UTF-8, and cp1252 in lines that are not UTF-8; "
        "empty = UTF-8 or what a byte order mark says, and other files are refused; utf-8 leaves out what is not UTF-8",
    )
    names: str | None = Field(
        None,
        description="file that says what the classes are called in the classifier: .json {label: name}, .csv or .tsv "
        "with both in each row, or .txt with both on each line",
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            return checked_encoding(value) if value else value
        except UsageError as error:
            raise ValueError(str(error)) from error


class TableOptions(DataOptions):
    """Options of ``table:``."""

    text: str | None = Field(
        None, description="column of the texts; none = the first of text, review, sentence, ... that exists"
    )
    label: str | None = Field(
        None, description="column of the classes; none = the first of label, sentiment, class, ... that exists"
    )
    split: str | None = Field(
        None,
        description="column with train, validation or test; none = `split` if it exists, else texts are dealt",
    )
    classes: tuple[str, ...] | None = Field(
        None, description="names of the classes in the order of the labels 0, 1, ..., written a,b,c"
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="character between the cells of a CSV file; none = tab for .tsv, else what the heading has",
    )
    quotes: bool = Field(
        True, description="whether double quotes enclose cells of a CSV file; false = they are plain text"
    )


class TextsOptions(DataOptions):
    """Options of ``texts:``."""
