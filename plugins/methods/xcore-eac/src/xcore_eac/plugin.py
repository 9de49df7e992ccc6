"""The cards of the explainer `eac` and of its segmenters. Imports nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl

SAM = "facebook/sam-vit-huge"
"""The model of `sam` without an argument, as in the paper."""


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `eac`."""
    register(
        "eac",
        "xcore_eac.eac:Eac",
        summary="segments of each image, ranked by their Shapley values for the class",
        options="xcore_eac.options:EacOptions",
        uses=("segmenter",),
        modalities=("image",),
        paper="Sun et al., Explain Any Concept: Segment Anything Meets Concept-Based Explanation, NeurIPS 2023",
        question="single",
        limits="what is spread over the whole image, such as a texture of the background, and what segments do "
        "not separate",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Offer segmenters."""
    register(
        "felzenszwalb",
        "xcore_eac.segmenters:Felzenszwalb",
        role="segmenter",
        default=True,
        summary="graph-based segments by scikit-image; needs no weights",
        options="xcore_eac.options:FelzenszwalbOptions",
        paper="Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004",
    )
    register(
        "slic",
        "xcore_eac.segmenters:Slic",
        role="segmenter",
        summary="superpixels of about equal size by scikit-image",
        options="xcore_eac.options:SlicOptions",
        paper="Achanta et al., SLIC Superpixels Compared to State-of-the-Art Superpixel Methods, PAMI 2012",
    )
    register(
        "grid",
        "xcore_eac.segmenters:Grid",
        role="segmenter",
        summary="a grid of rectangles, the same for every image",
        options="xcore_eac.options:GridOptions",
    )
    register(
        "sam",
        "xcore_eac.sam:segmenter",
        role="segmenter",
        summary=f"masks of a Segment Anything model; without an argument {SAM}",
        options="xcore_eac.options:SamOptions",
        fingerprint="xcore_eac.sam:fingerprint",
        argument="[ID|DIR]",
        paper="Kirillov et al., Segment Anything, ICCV 2023",
    )
