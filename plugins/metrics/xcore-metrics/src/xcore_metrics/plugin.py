"""The cards of the metrics and of the controls. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl
from xcore.contract import Register

if TYPE_CHECKING:
    from xcore_metrics.options import CoSyOptions


@hookimpl
def register_metrics(register: Register) -> None:
    """Offer CS, ED, RCS, RED, recovery, AUC, C-insertion, C-deletion, C-muFidelity, completeness, localisation, ..."""
    _register_what_asks(register)
    pairs = {
        "CS": ("cs", "mean cosine of concept samples and held-out class samples in an image-text or text embedding"),
        "ED": ("ed", "mean distance of concept samples and held-out class samples in an image-text or text embedding"),
        "RCS": ("rcs", "mean cosine of concept images and held-out class images in the features of an image network"),
        "RED": ("red", "mean distance of concept images and held-out class images in the features of an image network"),
    }
    for name, (factory, summary) in pairs.items():
        images_only = name.startswith("R")
        register(
            name,
            f"xcore_metrics.pairs:{factory}",
            summary=summary,
            options="xcore_metrics.options:PairOptions",
            uses=("image-embedder",) if images_only else ("image-text", "text-embedder"),
            modalities=("image",) if images_only else ("image", "text"),
            caveat="never asks the model under explanation: read it beside a metric that does, such as TS",
        )
    register(
        "recovery",
        "xcore_metrics.recovery:recovery",
        summary="precision@3 (option top) of the concepts against what the classifier is known to use, beside chance",
        options="xcore_metrics.options:RecoveryOptions",
        uses=("factor-oracle",),
        modalities=("image", "text"),
    )
    register(
        "AUC",
        "xcore_metrics.recovery:ranking_auc",
        summary="area under the ROC curve of importance against correctness of concepts; chance is 0.5",
        uses=("factor-oracle",),
        modalities=("image", "text"),
    )
    removal = {
        "C-insertion": (
            "insertion",
            "area under the curve of the class score as concepts are inserted, minus that of random orders",
        ),
        "C-deletion": (
            "deletion",
            "area under the curve of the class score as concepts are removed, minus that of random orders",
        ),
        "C-muFidelity": (
            "mu_fidelity",
            "correlation of importance with the effect of removal, minus that of shuffled importances",
        ),
    }
    for name, (factory, summary) in removal.items():
        register(
            name,
            f"xcore_metrics.faithfulness.removal:{factory}",
            summary=summary,
            options="xcore_metrics.options:RemovalOptions",
            modalities=("image", "text"),
        )
    register(
        "completeness",
        "xcore_metrics.faithfulness.completeness:completeness",
        summary="share of the model's accuracy above chance that remains if it sees the concepts' scores only",
        options="xcore_metrics.options:CompletenessOptions",
        paper="Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks, NeurIPS 2020",
    )
    localisation = {
        "localisation": "overlap (IoU) of a concept's maps with the data set's masks of objects, beside chance",
        "pointing": "share of images where a concept's map is highest on the data set's mask, beside chance",
    }
    for name, summary in localisation.items():
        register(
            name,
            f"xcore_metrics.localisation:{name}",
            summary=summary,
            options="xcore_metrics.options:LocalisationOptions",
            caveat="never asks the model under explanation: it shows where a concept is, not whether the model uses it",
        )
    register(
        "cost",
        "xcore_metrics.cost:cost",
        summary="seconds of one explanation, with model calls, generated samples and peak memory",
        column=False,
        details=("peak_mb", "shared_seconds", "forwards", "backwards", "generated"),
        modalities=("image", "text"),
    )


def _register_what_asks(register: Register) -> None:
    """Offer the metrics that ask the model about concepts and about the words that name them."""
    register(
        "surrogate-faithfulness",
        "xcore_metrics.asking.surrogate:surrogate_faithfulness",
        summary="share of the logits of all classes that a linear map of concept scores gives back, beside chance",
        options="xcore_metrics.options:SurrogateFaithfulnessOptions",
        uses=("image-text",),
        modalities=("image", "text"),
        details=("difference", "kl", "kl_difference"),
        paper="arXiv:2504.10833",
    )
    register(
        "FaithTrace",
        "xcore_metrics.asking.faithtrace:faithtrace",
        summary="slope of the class logit along what a concept's text is in the features, beside random words",
        options="xcore_metrics.options:FaithTraceOptions",
        needs=("gradients",),
        uses=("image-text",),
        paper="arXiv:2605.16877",
    )
    register(
        "CoSy",
        "xcore_metrics.asking.cosy:cosy",
        summary="how much more active a concept is in images of its text than in others (AUC), beside other texts",
        options="xcore_metrics.options:CoSyOptions",
        uses="xcore_metrics.plugin:cosy_uses",
        details=("mad",),
        paper="Kopf et al., CoSy: Evaluating Textual Explanations of Neurons, NeurIPS 2024, arXiv:2405.20331",
    )


def cosy_uses(options: CoSyOptions) -> tuple[str, ...]:
    """The helpers of CoSy: what draws images of a text, or what finds them."""
    return {
        "auto": ("generator?", "image-text?"),
        "generator": ("generator",),
        "data": ("image-text",),
    }[options.source]


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer controls: explainers that explain nothing."""
    controls = {
        "class-crops": (
            "class_crops",
            "control: random crops of the explained samples, as near to the class as possible",
        ),
        "other-class": ("other_class", "control: samples of other classes"),
        "noise": ("noise", "control: uniform noise, or texts of made-up words, far from every class"),
    }
    for name, (factory, summary) in controls.items():
        register(
            name,
            f"xcore_metrics.controls:{factory}",
            summary=summary,
            options="xcore_metrics.options:ControlOptions",
            modalities=("image", "text"),
        )


@hookimpl
def register_renderings(register: Register) -> None:
    """Offer the rendering of the control `noise`."""
    register("noise", "xcore_metrics.controls:noise_rendering", summary="noise of the size of the samples")
