"""The cards of the method, its decoders and its commands; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from xcore_texplain.options import DecoderOptions, Options

PAPER = "Taghanaki et al., TExplain: Explaining Learned Visual Features via Pre-trained (Frozen) Language Models, 2023"


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `texplain`."""
    register(
        "texplain",
        "xcore_texplain.texplain:TExplain",
        summary="words that a frozen language model reads in the features of a class, over its prior",
        options="xcore_texplain.options:Options",
        needs=("activations",),
        uses="xcore_texplain.plugin:uses",
        fingerprint="xcore_texplain.plugin:files_fingerprint",
        kinds=("image",),
        paper=PAPER,
    )


@hookimpl
def register_models(register: Register) -> None:
    """Offer language models that read states."""
    register(
        "blip-decoder",
        "xcore_texplain.blip:blip_decoder",
        role="text-decoder",
        summary="the text decoder of a BLIP captioning model, reading states by cross-attention",
        options="xcore_texplain.options:DecoderOptions",
        fingerprint="xcore_texplain.plugin:decoder_fingerprint",
        argument="DIR|ORG/MODEL[@REVISION]",
        paper="Li et al., BLIP: Bootstrapping Language-Image Pre-training, ICML 2022",
    )
    register(
        "prefix-decoder",
        "xcore_texplain.prefix:prefix_decoder",
        role="text-decoder",
        summary="any causal language model, reading states as a prefix of embeddings",
        options="xcore_texplain.options:DecoderOptions",
        fingerprint="xcore_texplain.plugin:decoder_fingerprint",
        argument="DIR|ORG/MODEL[@REVISION]",
        paper="Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021",
    )


@hookimpl
def register_commands(register: Register) -> None:
    """Offer `xcore texplain train | explain | cloud`."""
    register(
        "texplain",
        "xcore_texplain.commands:app",
        summary="From features to words: train a translator, explain with it, draw and compare word clouds.",
    )


def uses(options: Options) -> tuple[str, ...]:
    """The roles that these options ask for."""
    return ("text-decoder", "generator") if options.draw or options.features == "generator" else ("text-decoder",)


def files_fingerprint(options: Options, argument: str | None = None) -> str:
    """Digest of the files that the options name: the translator's, and the list of pairs."""
    from pathlib import Path

    from xcore.identity import digest, file_digest

    named = [Path(name).expanduser() for name in (options.translator, options.pairs) if name]
    inside = ("translator.safetensors", "config.json", "captions.jsonl", "captions.csv")
    files = [file for path in named for file in (path, *(path / name for name in inside)) if file.is_file()]
    return digest([(file.name, file_digest(file)) for file in files])


def decoder_fingerprint(options: DecoderOptions, argument: str) -> str:
    """Identity of a decoder: the files that loading reads, and what is asked of its sentences."""
    from xcore.hub import directory_digest, model_directory
    from xcore.identity import digest

    return digest([directory_digest(model_directory(argument)), options.identity])
