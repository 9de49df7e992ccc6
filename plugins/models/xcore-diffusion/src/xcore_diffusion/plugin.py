"""The cards of Stable Diffusion pipelines, and their fingerprints. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register
    from xcore_diffusion.options import Options

DPO = "Wallace et al., Diffusion Model Alignment Using Direct Preference Optimization, CVPR 2024"


@hookimpl
def register_generators(register: Register) -> None:
    """Offer a pipeline from a directory and from the Hugging Face Hub."""
    common: dict[str, Any] = {"options": "xcore_diffusion.options:Options", "modalities": ("image",), "paper": DPO}
    register(
        "diffusion",
        "xcore_diffusion.generator:from_directory",
        summary="a Stable Diffusion pipeline from a diffusers directory; can be adapted and can edit",
        fingerprint="xcore_diffusion.plugin:directory_fingerprint",
        argument="DIR",
        **common,
    )
    register(
        "hf",
        "xcore_diffusion.generator:from_hub",
        summary="a Stable Diffusion pipeline from the Hugging Face Hub; can be adapted and can edit",
        fingerprint="xcore_diffusion.plugin:hub_fingerprint",
        argument="ORG/MODEL[@REVISION]",
        **common,
    )


def directory_fingerprint(options: Options, argument: str) -> str:
    """The fingerprint of `diffusion:DIR`: the digest of the files that would be loaded, and of the options."""
    from pathlib import Path

    from xcore_diffusion.files import fingerprint

    return fingerprint(Path(argument), options)


def hub_fingerprint(options: Options, argument: str) -> str:
    """The fingerprint of `hf:ORG/MODEL`. Downloads files that are not in the cache, because a name fixes no weights."""
    from xcore_diffusion.files import fingerprint, from_hub

    return fingerprint(from_hub(argument), options)
