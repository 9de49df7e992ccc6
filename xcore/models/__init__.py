"""Classifiers made from torch modules and Python functions, probes that open them at a layer, and the device.

Public: plugins may import its modules. All of them but `device` and `batches` import torch, which importing this
package alone does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.base.lazy import lazy_exports

if TYPE_CHECKING:
    from xcore.models.classifiers import FunctionClassifier as FunctionClassifier
    from xcore.models.classifiers import TorchClassifier as TorchClassifier

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"xcore.models.classifiers": ("FunctionClassifier", "TorchClassifier")},
)
