"""The card of dissect. This module imports nothing heavy, so that `xcore list` is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer the method."""
    register(
        "dissect",
        "xcore_example_dissect.method:Dissect",
        summary="CRAFT's concepts, named by the phrases that an image-text model sees where they are strong",
        paper="Oikarinen & Weng, CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision "
        "Networks, ICLR 2023",
        options="xcore_example_dissect.options:DissectOptions",
        needs=("activations", "vocabulary"),
        uses=("image-text",),
    )
