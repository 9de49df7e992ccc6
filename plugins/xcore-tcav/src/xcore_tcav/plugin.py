"""What this distribution plugs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl
from xcore.hookspecs import Register

if TYPE_CHECKING:
    from xcore_tcav.explainer_options import Options

PAPER = "Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279"


@hookimpl
def register_explainers(register: Register) -> None:
    register(
        "tcav",
        "xcore_tcav.tcav:Tcav",
        summary="which named concepts the class is sensitive to: of the data set, image folders or prompts",
        options="xcore_tcav.explainer_options:Options",
        fingerprint="xcore_tcav.folders:fingerprint",
        needs=("gradients",),
        uses="xcore_tcav.plugin:uses",
        kinds=("image", "text"),
        paper=PAPER,
    )


def uses(options: Options) -> tuple[str, ...]:
    """A generator, where it draws the concepts."""
    return ("generator",) if options.source == "prompts" or (options.source == "auto" and options.prompts) else ()


@hookimpl
def register_metrics(register: Register) -> None:
    register(
        "TS",
        "xcore_tcav.metric:TS",
        summary="TCAV score of each concept on held-out samples, tested against sets rendered alike",
        options="xcore_tcav.options:TSOptions",
        needs=("gradients",),
        kinds=("image", "text"),
        paper=PAPER,
    )
