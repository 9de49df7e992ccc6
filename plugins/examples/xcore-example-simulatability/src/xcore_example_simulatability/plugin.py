"""The card of simulatability. This module imports nothing heavy, so that `xcore list` is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Offer the metric."""
    register(
        "simulatability",
        "xcore_example_simulatability.metric:Simulatability",
        summary="how much better a small student predicts the classifier's decisions if it knows the concepts",
        options="xcore_example_simulatability.options:SimulatabilityOptions",
        caveat="compare with the figure in parentheses, of random directions at the same layer: a student that sees "
        "the concepts of an image sees something of the classifier's answer",
        details=("accuracy_without", "accuracy_with"),
    )
