"""The cards of the method, of its decoders and of its commands. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_texplain.options import DecoderOptions, Options

PAPER = "Taghanaki et al., TExplain: Explaining Learned Visual Features via Pre-trained (Frozen) Language Models, 2023"


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `texplain`."""
    register(
        "texplain",
        "xcore_texplain.texplain:TExplain",
        summary="words that a frozen language model says about the features of a class, compared with its prior",
        options="xcore_texplain.options:Options",
        needs=("activations",),
        uses="xcore_texplain.plugin:uses",
        fingerprint="xcore_texplain.plugin:files_fingerprint",
        modalities=("image",),
        paper=PAPER,
        question="words",
        limits="words go along with a class in the captions without being used by the classifier; it needs a "
        "translator to be trained",
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    """Register what opens the networks that `xcore texplain repair` trained."""
    register(
        "repaired",
        "xcore_texplain.repaired:repaired",
        summary="a network that `xcore texplain repair` trained, such as repair/models/seed-0/texplain-word",
        fingerprint="xcore_texplain.repaired:fingerprint",
        argument="DIR",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Register the language models that read states."""
    register(
        "blip-decoder",
        "xcore_texplain.blip:blip_decoder",
        role="text-decoder",
        summary="the text decoder of a BLIP captioning model, which reads states by cross-attention",
        options="xcore_texplain.options:DecoderOptions",
        fingerprint="xcore_texplain.plugin:decoder_fingerprint",
        argument="DIR|ORG/MODEL[@REVISION]",
        paper="Li et al., BLIP: Bootstrapping Language-Image Pre-training, ICML 2022",
    )
    register(
        "prefix-decoder",
        "xcore_texplain.decoders:prefix_decoder",
        role="text-decoder",
        summary="any causal language model, which reads states as embeddings in front of its sentence",
        options="xcore_texplain.options:DecoderOptions",
        fingerprint="xcore_texplain.plugin:decoder_fingerprint",
        argument="DIR|ORG/MODEL[@REVISION]",
        paper="Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021",
    )


@hookimpl
def register_commands(register: Register) -> None:
    """Register the commands `xcore texplain train | explain | cloud`."""
    register(
        "texplain",
        "xcore_texplain.commands:app",
        summary="Describe features in words: train a translator, explain with it, draw and compare word clouds.",
    )


def uses(options: Options) -> tuple[str, ...]:
    """The roles of the helper models that these options need, and "generator" if they need one."""
    drawing = ("generator",) if options.draw or options.features == "generator" else ()
    return ("text-decoder", *drawing, *(("image-text",) if options.context else ()))


def files_fingerprint(options: Options, argument: str | None = None) -> str:
    """Digest of the files that the options name: those of the translator, the list of pairs, and the lexicon."""
    from pathlib import Path

    from xcore.contract import digest, file_digest

    paths = [Path(name).expanduser() for name in (options.translator, options.pairs, options.lexicon) if name]
    in_folders = ("translator.safetensors", "config.json", "captions.jsonl", "captions.csv")
    files = [file for path in paths for file in (path, *(path / name for name in in_folders)) if file.is_file()]
    return digest([(file.name, file_digest(file)) for file in files])


def decoder_fingerprint(options: DecoderOptions, argument: str) -> str:
    """Digest of the files of a decoder's model and of the options that change its sentences."""
    from xcore.contract import digest
    from xcore.pretrained.hub import directory_digest, model_directory

    return digest([directory_digest(model_directory(argument)), options.identity])
