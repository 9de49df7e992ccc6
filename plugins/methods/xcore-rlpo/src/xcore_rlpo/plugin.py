"""The plugin's card. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Register, hookimpl

if TYPE_CHECKING:
    from xcore_rlpo.options import Options


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `rlpo`."""
    register(
        "rlpo",
        "xcore_rlpo.rlpo:Rlpo",
        summary="named concepts by evidence in context, drawn by a generator that reinforcement learning tunes to them",
        options="xcore_rlpo.options:Options",
        needs=("gradients", "generator"),
        uses="xcore_rlpo.plugin:uses",
        fingerprint="xcore_rlpo.plugin:vocabulary_fingerprint",
        modalities=("image", "text"),
        paper="Taparia et al., Explainable Concept Generation through Vision-Language Preference Learning, "
        "arXiv:2408.13438",
        question="drawn",
        limits="what the generator cannot draw or draws beside the prompt, and updates change pictures more than names",
    )


def uses(options: Options) -> tuple[str, ...]:
    """The roles of the helper models that these options need; "vqa?" where it does without such a model.

    A text embedder that nothing else needs checks the lists of a language model.
    """
    judges = ("image-text?",) if options.update and options.keep == "gain" and options.search_steps else ()
    ranks = {"auto": ("image-text?",), **dict.fromkeys(("context", "factorial", "edited"), ("image-text",))}
    reads = ranks.get(options.rank, judges)
    asked = {"vqa": ("vqa",), "auto": ("vqa?",), "vocabulary": ()}[options.seeds]
    vqa = () if options.prompts or options.vocabulary else asked
    localiser = ("localiser",) if options.places == "localiser" and options.maps else ()
    embedders = ("image-text", "text-embedder") if options.embeds else (*reads, "text-embedder?")
    return (*embedders, *vqa, *localiser)


def vocabulary_fingerprint(options: Options, argument: str | None = None) -> str:
    """Digest of the phrases in the file that the options name; empty if they name none."""
    if not options.vocabulary:
        return ""
    from xcore_evidence.phrases import phrases_in

    from xcore.contract import digest

    return digest(phrases_in(options.vocabulary, "rlpo.vocabulary"))
