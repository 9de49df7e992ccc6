"""The cards of causal language models, and their fingerprints. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register
    from xcore_mistral.options import Options

DPO = "Rafailov et al., Direct Preference Optimization: Your Language Model is Secretly a Reward Model, NeurIPS 2023"


@hookimpl
def register_generators(register: Register) -> None:
    """Offer a causal language model from a directory, from the Hugging Face Hub, and from a GGUF file."""
    common: dict[str, Any] = {"options": "xcore_mistral.options:Options", "modalities": ("text",), "paper": DPO}
    register(
        "mistral",
        "xcore_mistral.generator:from_model",
        summary="lists of synonyms from a causal language model (directory or hub id); can be adapted by preference",
        fingerprint="xcore_mistral.plugin:model_fingerprint",
        argument="[DIR|ORG/MODEL[@REVISION]]",
        **common,
    )
    register(
        "gguf",
        "xcore_mistral.generator:from_gguf",
        summary="lists of synonyms from a causal language model in a GGUF file; can be adapted by preference",
        fingerprint="xcore_mistral.plugin:gguf_fingerprint",
        argument="FILE",
        **common,
    )


def model_fingerprint(options: Options, argument: str | None) -> str:
    """The fingerprint of `mistral:MODEL`. Downloads files that are not in the cache: a name fixes no weights."""
    from xcore_mistral.files import fingerprint, model_source

    return fingerprint(model_source(argument), options)


def gguf_fingerprint(options: Options, argument: str) -> str:
    """The fingerprint of `gguf:FILE`: the digest of the file and of the options."""
    from xcore_mistral.files import fingerprint, gguf_source

    return fingerprint(gguf_source(argument), options)
