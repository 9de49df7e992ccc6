"""Registers the method `conceptshap`; importing this module loads nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `conceptshap`."""
    register(
        "conceptshap",
        "xcore_conceptshap.conceptshap:ConceptShap",
        summary="learns concepts from which all decisions can be recovered and ranks them by their Shapley values",
        options="xcore_conceptshap.options:Options",
        needs=("activations", "gradients"),
        modalities=("image",),
        paper="Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks, NeurIPS 2020",
        question="parts",
        limits="its concepts need not look like one thing, and each run may find others; it takes minutes a class",
    )
