"""What this distribution plugs in."""

from xcore import hookimpl
from xcore.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    register(
        "TS",
        "xcore_tcav.metric:TS",
        summary="TCAV score of each concept on held-out samples, tested against sets rendered alike",
        options="xcore_tcav.options:TSOptions",
        needs=("gradients",),
        kinds=("image", "text"),
        paper="Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279",
    )
