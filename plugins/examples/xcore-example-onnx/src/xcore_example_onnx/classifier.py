"""A network in an ONNX file as a classifier: images in, logits out, nothing between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from torch.nn.functional import interpolate

from xcore.contract import UsageError, unknown
from xcore.inputs.images import Framing
from xcore.inputs.paths import existing_file
from xcore.models import FunctionClassifier

if TYPE_CHECKING:
    from xcore_example_onnx.options import OnnxOptions

ClassList = Sequence[str] | Mapping[Any, Any]
"""Names in order, or a mapping between indices and names."""

LEAST = 1e-12
"""What stands for a probability of 0, whose logarithm is not finite."""


def classifier(options: OnnxOptions, argument: str) -> FunctionClassifier:
    """Open a file: ``onnx:FILE``.

    Raises
    ------
    UsageError
        There is no such file, ONNX Runtime cannot read it, it does not take images, or nobody names its classes.
    """
    path = existing_file(argument, "ONNX file")
    network = Network(path, options)
    return OnnxClassifier(network, network.classes(), network.size(), options.batch_size)


class OnnxClassifier(FunctionClassifier):
    """A black box that tells data sets which size of picture its network wants, where it wants one."""

    def __init__(self, network: Network, classes: ClassList, size: tuple[int, int] | None, batch_size: int) -> None:
        super().__init__(network, classes, batch_size=batch_size)
        if size is not None:
            self.framing = Framing(size, resize=min(size))


class Network:
    """Calls the network in a file as the options say."""

    def __init__(self, path: Path, options: OnnxOptions) -> None:
        self._path, self._options = path, options
        self._session = session(path)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise UsageError(
                f"{path} takes {shapes}, and onnx: gives one batch of images",
                "export a network with one input of 4 axes",
            )
        (self._input,) = inputs
        self._type = np.float16 if self._input.type == "tensor(float16)" else np.float32
        outputs = [o.name for o in self._session.get_outputs()]
        if options.output and options.output not in outputs:
            raise unknown("output", options.output, outputs)
        self._output = options.output or outputs[0]

    def __call__(self, images: torch.Tensor) -> np.ndarray[Any, Any]:
        """Scores (n, classes) of images (n, 3, H, W) in [0, 1]."""
        x = self.prepared(images)
        fixed = self._input.shape[0]
        if not isinstance(fixed, int):
            return self.scores(x)
        calls = []  # a network that was exported for a fixed number of images gets the last one repeated
        for start in range(0, len(x), fixed):
            part = x[start : start + fixed]
            full = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
            calls.append(self.scores(full)[: len(part)])
        return np.concatenate(calls)

    def size(self) -> tuple[int, int] | None:
        """Height and width of the input; None if the network takes any."""
        if self._options.input_size:
            return self._options.input_size, self._options.input_size
        height, width = self._input.shape[2:] if self._options.layout == "NCHW" else self._input.shape[1:3]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def prepared(self, images: torch.Tensor) -> np.ndarray[Any, Any]:
        """The images as the network wants them."""
        options = self._options
        x = images
        size = self.size()
        if size and size != tuple(x.shape[-2:]):
            x = interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (options.mean, options.std))
        x = (x - mean) / std * options.scale
        if options.channels == "bgr":
            x = x.flip(1)
        if options.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        return np.ascontiguousarray(x.numpy(), dtype=self._type)

    def scores(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the network answers, as logits."""
        (found,) = self._session.run([self._output], {self._input.name: x})
        found = np.asarray(found, dtype=np.float32)
        return np.log(np.maximum(found, LEAST)) if self._options.probabilities else found

    def classes(self) -> ClassList:
        """The names of the classes: of the file that the options name, or of the network's metadata."""
        if self._options.classes:
            file = existing_file(self._options.classes, "file of class names")
            text = file.read_text(encoding="utf-8")
            if file.suffix != ".json":
                return [line.strip() for line in text.splitlines() if line.strip()]
            return read_json(text, str(file))
        text = self._session.get_modelmeta().custom_metadata_map.get("classes", "")
        if not text:
            raise UsageError(
                f"{self._path} does not say what its classes are called",
                "name a file with --set onnx.classes=FILE, or write them into the metadata `classes` of the network",
            )
        return read_json(text, str(self._path)) if text.lstrip()[0] in "[{" else [c.strip() for c in text.split(",")]


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime with the network of a file, on the processor, with as many threads as torch may use."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors only: warnings of the optimiser are of no use to who explains
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception class of its own for each of its faults
        reason = str(error).splitlines()[0]
        raise UsageError(f"ONNX Runtime cannot open {path}: {reason}", "is it an ONNX file, and whole?") from error


def read_json(text: str, where: str) -> ClassList:
    """A list or a mapping of names."""
    try:
        names = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the class names of {where} are not JSON: {error}", "write a list of names") from error
    if not isinstance(names, list | dict):
        raise UsageError(f"the class names of {where} are neither a list nor a mapping", "write a list of names")
    return names
