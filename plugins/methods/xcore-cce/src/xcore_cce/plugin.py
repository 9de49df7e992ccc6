"""Registers the method `cce`; importing this module loads nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `cce`."""
    register(
        "cce",
        "xcore_cce.cce:Cce",
        summary="finds attributes as subspaces with clusters and ranks these by what the logit loses without them",
        options="xcore_cce.options:Options",
        needs=("activations",),
        modalities=("image",),
        question="parts",
        limits="what varies without clusters, and attributes that nearly always go together",
        covers=("one", "or"),
        measured=(0.92, 0.06),
        paper="Stein et al., Towards Compositionality in Concept Learning, ICML 2024",
    )
