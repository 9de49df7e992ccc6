"""The card of the method `surrogate`. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_evidence.options import SurrogateOptions


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `surrogate`."""
    register(
        "surrogate",
        "xcore_evidence.surrogate:Surrogate",
        summary="a linear model of named phrases stands for the classifier; needs logits only, gives intervals",
        options="xcore_evidence.options:SurrogateOptions",
        uses="xcore_evidence.plugin:uses",
        fingerprint="xcore_evidence.plugin:vocabulary_fingerprint",
        modalities=("image", "text"),
        question="named",
        limits="what no phrase names, what the image-text model cannot see, and things that matter only together",
    )


def uses(options: SurrogateOptions) -> tuple[str, ...]:
    """The helpers that the kind of evidence needs; "generator?" where texts do without one."""
    return {
        "observed": ("image-text",),
        "factorial": ("image-text?", "generator?"),
        "edited": ("image-text?", "generator"),
    }[options.evidence]


def vocabulary_fingerprint(options: SurrogateOptions, argument: str | None = None) -> str:
    """Digest of the phrases in the file that the options name; empty if they name none."""
    if not options.vocabulary:
        return ""
    from xcore.contract import digest
    from xcore_evidence.phrases import phrases_in

    return digest(phrases_in(options.vocabulary, "surrogate.vocabulary"))
