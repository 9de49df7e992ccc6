"""Registers the method `craft`; importing this module loads nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `craft`."""
    register(
        "craft",
        "xcore_craft.craft:Craft",
        summary="finds concepts by non-negative factorisation of crop activations and ranks them by total Sobol index",
        options="xcore_craft.options:Options",
        needs=("activations",),
        modalities=("image",),
        paper="Fel et al., CRAFT: Concept Recursive Activation FacTorization for Explainability, CVPR 2023",
    )
