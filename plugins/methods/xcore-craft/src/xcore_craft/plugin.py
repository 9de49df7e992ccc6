"""Registers the method `craft`; importing this module loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_craft.options import Options


@hookimpl
def register_explainers(register: Register) -> None:
    """Register `craft`."""
    register(
        "craft",
        "xcore_craft.craft:Craft",
        summary="finds concepts by non-negative factorisation of crop activations and ranks them by total Sobol index",
        options="xcore_craft.options:Options",
        needs=("activations",),
        uses="xcore_craft.plugin:uses",
        fingerprint="xcore_craft.plugin:vocabulary_fingerprint",
        modalities=("image",),
        paper="Fel et al., CRAFT: Concept Recursive Activation FacTorization for Explainability, CVPR 2023",
        question="parts",
        limits="it shows what class images have in common, also where the class does not depend on it, and its "
        "concepts have no names",
    )


def uses(options: Options) -> tuple[str, ...]:
    """The roles of the helper models that these options need."""
    return ("image-text",) if options.names else ()


def vocabulary_fingerprint(options: Options, argument: str | None = None) -> str:
    """Digest of the phrases in the file that the options name; empty if they name none."""
    if not options.vocabulary:
        return ""
    from xcore_evidence.phrases import phrases_in

    from xcore.contract import digest

    return digest(phrases_in(options.vocabulary, "craft.vocabulary"))
