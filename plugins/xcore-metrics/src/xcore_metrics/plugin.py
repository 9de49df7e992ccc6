"""The cards of this plugin."""

from __future__ import annotations

from xcore import hookimpl
from xcore.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Pairs in an embedding, recovery, removal of concepts, completeness, places, cost."""
    pairs = {
        "CS": ("cs", "mean cosine of concept and held-out class samples, image-text or text embedding"),
        "ED": ("ed", "mean distance of concept and held-out class samples, image-text or text embedding"),
        "RCS": ("rcs", "mean cosine of concept and held-out class images, image features"),
        "RED": ("red", "mean distance of concept and held-out class images, image features"),
    }
    for name, (factory, summary) in pairs.items():
        of_images = name.startswith("R")
        register(
            name,
            f"xcore_metrics.pairs:{factory}",
            summary=summary,
            options="xcore_metrics.options:PairOptions",
            uses=("image-embedder",) if of_images else ("image-text", "text-embedder"),
            kinds=("image",) if of_images else ("image", "text"),
        )
    register(
        "recovery",
        "xcore_metrics.recovery:recovery",
        summary="precision@3 (or @top) of the concepts against what the classifier is known to use, beside chance",
        options="xcore_metrics.options:RecoveryOptions",
        uses=("factor-oracle",),
        kinds=("image", "text"),
    )
    register(
        "AUC",
        "xcore_metrics.recovery:ranking_auc",
        summary="area under the ROC curve of importance against correct concepts; chance is 0.5",
        uses=("factor-oracle",),
        kinds=("image", "text"),
    )
    removal = {
        "C-insertion": (
            "insertion",
            "area under the class score as concepts are put in, less random order",
        ),
        "C-deletion": (
            "deletion",
            "area under the class score as concepts are removed, less random order",
        ),
        "C-muFidelity": (
            "mu_fidelity",
            "correlation of importance and effect of removal, less random order",
        ),
    }
    for name, (factory, summary) in removal.items():
        register(
            name,
            f"xcore_metrics.faithfulness.removal:{factory}",
            summary=summary,
            options="xcore_metrics.faithfulness.options:RemovalOptions",
            kinds=("image", "text"),
        )
    register(
        "completeness",
        "xcore_metrics.faithfulness.completeness:completeness",
        summary="share of the model's accuracy above chance that survives if it sees the concepts' scores only",
        options="xcore_metrics.faithfulness.options:CompletenessOptions",
        paper="Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks, NeurIPS 2020",
    )
    places = {
        "localisation": "overlap (IoU) of a concept's maps with the masks that come with the images, beside chance",
        "pointing": "share of images where a concept's map is highest on the mask that comes with them, beside chance",
    }
    for name, summary in places.items():
        register(
            name,
            f"xcore_metrics.localisation:{name}",
            summary=summary,
            options="xcore_metrics.localisation_options:LocalisationOptions",
        )
    register(
        "cost",
        "xcore_metrics.cost:cost",
        summary="seconds of one explanation, with model calls, generated samples and peak memory",
        kinds=("image", "text"),
    )


@hookimpl
def register_explainers(register: Register) -> None:
    """Floors and ceilings: ordinary explainers that explain nothing."""
    floors = {
        "class-crops": ("class_crops", "floor: random crops of the explained samples, as near to the class as can be"),
        "other-class": ("other_class", "floor: samples of other classes"),
        "noise": ("noise", "floor: uniform noise, or texts of made-up words, far from every class"),
    }
    for name, (factory, summary) in floors.items():
        register(
            name,
            f"xcore_metrics.floors:{factory}",
            summary=summary,
            options="xcore_metrics.options:FloorOptions",
            kinds=("image", "text"),
        )
