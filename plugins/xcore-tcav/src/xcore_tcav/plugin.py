"""What this distribution plugs in."""

from xcore import hookimpl
from xcore.hookspecs import Register

PAPER = "Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279"


@hookimpl
def register_explainers(register: Register) -> None:
    register(
        "tcav",
        "xcore_tcav.tcav:Tcav",
        summary="which named concepts the class is sensitive to: of the data set, image folders or drawn prompts",
        options="xcore_tcav.explainer_options:Options",
        fingerprint="xcore_tcav.folders:fingerprint",
        needs=("gradients", "generator?"),
        kinds=("image",),
        paper=PAPER,
    )


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
