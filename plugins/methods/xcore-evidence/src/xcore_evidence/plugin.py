"""The cards of the methods `surrogate`, `skit` and `elude`. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_evidence.options import PhraseOptions, SurrogateOptions


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer the methods."""
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
        covers=("one",),
        measured=(0.94, 0.03),
    )
    register(
        "skit",
        "xcore_evidence.skit.explainer:Skit",
        summary="named phrases tested by betting, ranked by how soon each test rejects; needs logits only",
        options="xcore_evidence.skit.options:SkitOptions",
        uses=("image-text",),
        fingerprint="xcore_evidence.plugin:skit_vocabulary",
        modalities=("image", "text"),
        question="named",
        limits="what no phrase names, and phrases that others nearly determine; a sign says nothing of other shapes",
        paper="Teneggi and Sulam, I Bet You Did Not Mean That, NeurIPS 2024",
    )
    register(
        "elude",
        "xcore_evidence.elude.explainer:Elude",
        summary="how many predictions named attributes tell, and what few unnamed features add",
        options="xcore_evidence.elude.options:EludeOptions",
        uses=("image-text",),
        fingerprint="xcore_evidence.plugin:elude_vocabulary",
        modalities=("image", "text"),
        question="named",
        limits="which of two phrases that go together is used, and it has no test; true classes pass for predictions",
        paper="Ramaswamy et al., ELUDE: Generating interpretable explanations via a decomposition into labelled and "
        "unlabelled features, arXiv:2206.07690",
    )


def uses(options: SurrogateOptions) -> tuple[str, ...]:
    """The helpers that the kind of evidence needs; "generator?" where texts do without one."""
    return {
        "observed": ("image-text",),
        "factorial": ("image-text?", "generator?"),
        "edited": ("image-text?", "generator"),
    }[options.evidence]


def vocabulary_fingerprint(options: PhraseOptions, argument: str | None = None, method: str = "surrogate") -> str:
    """Digest of the phrases in the file that the options name; empty if they name none."""
    if not options.vocabulary:
        return ""
    from xcore.contract import digest
    from xcore_evidence.phrases import phrases_in

    return digest(phrases_in(options.vocabulary, f"{method}.vocabulary"))


def skit_vocabulary(options: PhraseOptions, argument: str | None = None) -> str:
    """The same for the method `skit`."""
    return vocabulary_fingerprint(options, argument, "skit")


def elude_vocabulary(options: PhraseOptions, argument: str | None = None) -> str:
    """The same for the method `elude`."""
    return vocabulary_fingerprint(options, argument, "elude")
