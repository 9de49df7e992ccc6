"""The card of the method; imports nothing heavy."""

from __future__ import annotations

from xcore.hookspecs import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `lens`."""
    register(
        "lens",
        "xcore_lens.lens:Lens",
        summary="a dictionary of activations at the penultimate layer, ranked by an attribution of the class logit",
        options="xcore_lens.options:Options",
        needs=("activations",),
        kinds=("image",),
        paper="Fel et al., A Holistic Approach to Unifying Automatic Concept Extraction and Concept Importance "
        "Estimation, NeurIPS 2023",
    )
