"""The card of the provider onnx. This module imports nothing heavy, so that `xcore list` is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register


@hookimpl
def register_classifiers(register: Register) -> None:
    """Offer the provider: ``onnx:FILE``."""
    register(
        "onnx",
        "xcore_example_onnx.classifier:classifier",
        summary="a network in an ONNX file, run by ONNX Runtime; a black box",
        options="xcore_example_onnx.options:OnnxOptions",
        argument="FILE",
        fingerprint="xcore_example_onnx.options:fingerprint",
    )
