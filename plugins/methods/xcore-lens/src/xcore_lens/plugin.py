"""Registers the method `lens`; importing this module loads nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `lens`."""
    register(
        "lens",
        "xcore_lens.lens:Lens",
        summary="finds concepts as a dictionary of activations and ranks them by an attribution of the class logit",
        options="xcore_lens.options:Options",
        needs=("activations",),
        modalities=("image",),
        paper="Fel et al., A Holistic Approach to Unifying Automatic Concept Extraction and Concept Importance "
        "Estimation, NeurIPS 2023",
    )
