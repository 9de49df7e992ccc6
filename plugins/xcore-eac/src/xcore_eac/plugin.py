"""The cards of the method and of the segmenters; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from xcore_eac.options import SamOptions

SAM = "facebook/sam-vit-huge"
"""What `sam` alone stands for, as in the paper."""


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `eac`."""
    register(
        "eac",
        "xcore_eac.eac:Eac",
        summary="segments of each image, ranked by their Shapley values for the class",
        options="xcore_eac.options:Options",
        uses=("segmenter",),
        kinds=("image",),
        paper="Sun et al., Explain Any Concept: Segment Anything Meets Concept-Based Explanation, NeurIPS 2023",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Offer segmenters."""
    register(
        "felzenszwalb",
        "xcore_eac.segmenters:Felzenszwalb",
        role="segmenter",
        default=True,
        summary="graph-based segments of scikit-image, without any weights",
        options="xcore_eac.options:FelzenszwalbOptions",
        paper="Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004",
    )
    register(
        "slic",
        "xcore_eac.segmenters:Slic",
        role="segmenter",
        summary="superpixels of scikit-image, of about equal size",
        options="xcore_eac.options:SlicOptions",
        paper="Achanta et al., SLIC Superpixels Compared to State-of-the-Art Superpixel Methods, PAMI 2012",
    )
    register(
        "grid",
        "xcore_eac.segmenters:Grid",
        role="segmenter",
        summary="rectangles, whatever the image shows",
        options="xcore_eac.options:GridOptions",
    )
    register(
        "sam",
        "xcore_eac.sam:segmenter",
        role="segmenter",
        summary=f"masks of a Segment Anything model; none named = {SAM}",
        options="xcore_eac.options:SamOptions",
        fingerprint="xcore_eac.plugin:sam_fingerprint",
        argument="[ID|DIR]",
        paper="Kirillov et al., Segment Anything, ICCV 2023",
    )


def sam_fingerprint(options: SamOptions, argument: str | None) -> str:
    """Identity of a Segment Anything model: the files that would be loaded, and our code that asks it."""
    from xcore_eac.files import fingerprint

    return fingerprint(argument or SAM, options)
