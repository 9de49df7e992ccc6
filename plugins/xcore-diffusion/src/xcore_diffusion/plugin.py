"""The hooks of this plugin, and the light functions that its cards name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.hookspecs import Register
    from xcore_diffusion.options import Options

DPO = "Wallace et al., Diffusion Model Alignment Using Direct Preference Optimization, CVPR 2024"


@hookimpl
def register_generators(register: Register) -> None:
    """Offer a pipeline from a directory and from the Hugging Face Hub."""
    common: dict[str, Any] = {"options": "xcore_diffusion.options:Options", "kinds": ("image",), "paper": DPO}
    register(
        "diffusion",
        "xcore_diffusion.generator:from_directory",
        summary="a Stable Diffusion pipeline from a diffusers directory, adapted by preference",
        fingerprint="xcore_diffusion.plugin:directory_fingerprint",
        argument="DIR",
        **common,
    )
    register(
        "hf",
        "xcore_diffusion.generator:from_hub",
        summary="a Stable Diffusion pipeline from the Hugging Face Hub, adapted by preference",
        fingerprint="xcore_diffusion.plugin:hub_fingerprint",
        argument="ORG/MODEL[@REVISION]",
        **common,
    )


def directory_fingerprint(options: Options, argument: str) -> str:
    """Identity of `diffusion:DIR`: the content of the files that would be loaded, and the options."""
    from pathlib import Path

    from xcore_diffusion.files import fingerprint

    return fingerprint(Path(argument), options)


def hub_fingerprint(options: Options, argument: str) -> str:
    """Identity of `hf:ORG/MODEL`. Fetches the files if they are not in the cache: a name alone does not fix weights."""
    from xcore_diffusion.files import fingerprint, from_hub

    return fingerprint(from_hub(argument), options)
