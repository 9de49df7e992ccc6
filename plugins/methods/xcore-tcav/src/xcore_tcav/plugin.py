"""The cards of this distribution: the explainer `tcav` and the metrics TS and alpha-TCAV. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl
from xcore.contract import Register

if TYPE_CHECKING:
    from xcore_tcav.options import TcavOptions

PAPER = "Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279"


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `tcav`."""
    register(
        "tcav",
        "xcore_tcav.tcav:Tcav",
        summary="ranks concepts that you name (from the data set, image folders or prompts) by TCAV sensitivity",
        options="xcore_tcav.options:TcavOptions",
        fingerprint="xcore_tcav.folders:fingerprint",
        needs=("gradients",),
        uses="xcore_tcav.plugin:uses",
        modalities=("image", "text"),
        paper=PAPER,
        question="named",
        limits="concepts shown alone excite a network otherwise than in a scene, so that it misses most of "
        "what is used",
    )


def uses(options: TcavOptions) -> tuple[str, ...]:
    """The roles that `tcav` uses: a generator if the concepts are made from prompts, or a model that reads phrases."""
    if options.source == "context":
        return ("image-text",)
    return ("generator",) if options.source == "prompts" or (options.source == "auto" and options.prompts) else ()


@hookimpl
def register_metrics(register: Register) -> None:
    """Offer TS and alpha-TCAV."""
    register(
        "TS",
        "xcore_tcav.metric:ts",
        summary="TCAV score of each concept on held-out samples, tested against random sets rendered alike",
        options="xcore_tcav.options:TSOptions",
        needs=("gradients",),
        modalities=("image", "text"),
        paper=PAPER,
    )
    register(
        "alpha-TCAV",
        "xcore_tcav.metric:alpha_tcav",
        summary="TS with a smooth step, so that samples whose logit hardly changes along a concept count as a half",
        options="xcore_tcav.options:AlphaTcavOptions",
        needs=("gradients",),
        modalities=("image", "text"),
        paper="arXiv:2605.15688",
    )
