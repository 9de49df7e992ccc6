"""Registers the method `ace` and the rendering `patch`; importing this module loads nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `ace`."""
    register(
        "ace",
        "xcore_ace.ace:Ace",
        summary="finds concepts by clustering the segments of class images and ranks the clusters by TCAV",
        options="xcore_ace.options:Options",
        needs=("activations", "gradients"),
        modalities=("image",),
        paper="Ghorbani et al., Towards Automatic Concept-based Explanations, NeurIPS 2019",
        question="parts",
        limits="segments that belong together only by a larger context, and images with few segments",
    )


@hookimpl
def register_renderings(register: Register) -> None:
    """Register `patch`, by which the random sets look like the segments of a concept."""
    register("patch", "xcore_ace.patches:rendering", summary="one segment of each image, enlarged: patch:15+50+80")
