"""The hooks of this plugin, and the light functions that its cards name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.hookspecs import Register
    from xcore_mistral.options import Options

DPO = "Rafailov et al., Direct Preference Optimization: Your Language Model is Secretly a Reward Model, NeurIPS 2023"


@hookimpl
def register_generators(register: Register) -> None:
    """Offer a causal language model from a directory, from the Hugging Face Hub, and from a GGUF file."""
    common: dict[str, Any] = {"options": "xcore_mistral.options:Options", "kinds": ("text",), "paper": DPO}
    register(
        "mistral",
        "xcore_mistral.generator:from_model",
        summary="synonym lists from a causal language model: a directory or a hub id, adapted by preference",
        fingerprint="xcore_mistral.plugin:model_fingerprint",
        argument="[DIR|ORG/MODEL[@REVISION]]",
        **common,
    )
    register(
        "gguf",
        "xcore_mistral.generator:from_gguf",
        summary="synonym lists from a causal language model in a GGUF file, adapted by preference",
        fingerprint="xcore_mistral.plugin:gguf_fingerprint",
        argument="FILE",
        **common,
    )


def model_fingerprint(options: Options, argument: str | None) -> str:
    """Identity of `mistral:MODEL`. Fetches the files if they are not in the cache: a name alone fixes no weights."""
    from xcore_mistral.files import fingerprint, model_source

    return fingerprint(model_source(argument), options)


def gguf_fingerprint(options: Options, argument: str) -> str:
    """Identity of `gguf:FILE`: the content of the file, and the options."""
    from xcore_mistral.files import fingerprint, gguf_source

    return fingerprint(gguf_source(argument), options)
