"""Registers the method `lens`; importing this module loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_lens.options import Options


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `lens`."""
    register(
        "lens",
        "xcore_lens.lens:Lens",
        summary="finds concepts as a dictionary of activations and ranks them by an attribution of the class logit",
        options="xcore_lens.options:Options",
        fingerprint="xcore_lens.plugin:files_fingerprint",
        needs=("activations",),
        modalities=("image",),
        paper="Fel et al., A Holistic Approach to Unifying Automatic Concept Extraction and Concept Importance "
        "Estimation, NeurIPS 2023",
        question="parts",
        limits="its concepts have no names, and one thing may be split over several of them",
    )


def files_fingerprint(options: Options, argument: str | None = None) -> str:
    """Digest of the files of the sparse autoencoder that the options name."""
    from xcore_lens.sae_folder import fingerprint

    return fingerprint(options.sae) if options.sae else ""
