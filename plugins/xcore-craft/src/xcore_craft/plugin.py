"""The card of the method; imports nothing heavy."""

from __future__ import annotations

from xcore.hookspecs import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `craft`."""
    register(
        "craft",
        "xcore_craft.craft:Craft",
        summary="concepts from crops by non-negative factorisation, ranked by total Sobol indices",
        options="xcore_craft.options:Options",
        needs=("activations",),
        kinds=("image",),
        paper="Fel et al., CRAFT: Concept Recursive Activation FacTorization for Explainability, CVPR 2023",
    )
