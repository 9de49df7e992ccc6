"""The conformance tests of xcore, what the options do, what is refused, and a run on the painted world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from xcore_example_onnx.classifier import classifier
from xcore_example_onnx.options import OnnxOptions, fingerprint

import xcore
from xcore.contract import Classifier, Samples, XcoreError
from xcore.testing import ClassifierTests, OptionsTests, stripes

CLASSES = ("zebra", "lion", "crane, grey")
Write = Callable[..., str]


def write(
    path: Path,
    weights: np.ndarray[Any, Any],
    classes: str = "",
    shape: tuple[Any, ...] = ("n", 3, "height", "width"),
    softmax: bool = False,
) -> str:
    """A network whose scores are a linear function of the mean colour of an image."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["colours"], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["linear"]),
        helper.make_node("Softmax" if softmax else "Identity", ["linear"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "by-colour",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array(axes), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    if classes:
        helper.set_model_props(model, {"classes": classes})
    onnx.save(model, str(path))
    return str(path)


@pytest.fixture
def weights() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(3, len(CLASSES))).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path, weights: np.ndarray[Any, Any]) -> str:
    return write(tmp_path / "net.onnx", weights, json.dumps(CLASSES))


class TestOnnxClassifier(ClassifierTests):
    @pytest.fixture
    def classifier(self, file: str) -> Classifier:
        return classifier(OnnxOptions(), file)

    @pytest.fixture
    def samples(self) -> Samples:
        return stripes(6, seed=0)


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[Any]:
        return OnnxOptions


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_images_are_prepared_as_the_options_say(tmp_path: Path, weights: np.ndarray[Any, Any], layout: str) -> None:
    mean, std, samples = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1), stripes(5, seed=1, side=16)
    shape = (2, 3, 16, 16) if layout == "NCHW" else (2, 16, 16, 3)  # two images a call, for five images
    file = write(tmp_path / "net.onnx", weights, ",".join("abc"), shape)
    options = OnnxOptions(mean=mean, std=std, scale=255, channels="bgr", layout=layout)
    made = classifier(options, file)

    colours = ((samples.images.mean(dim=(2, 3)) - torch.tensor(mean)) / torch.tensor(std)).flip(1) * 255
    torch.testing.assert_close(made.logits(samples), colours @ torch.tensor(weights), rtol=1e-4, atol=1e-3)
    assert made.classes == ("a", "b", "c")
    assert made.framing.size == (16, 16)
    plain = Samples("image", torch.full((1, 3, 40, 30), 0.3), ("plain",))  # of another size
    small = Samples("image", torch.full((1, 3, 16, 16), 0.3), ("small",))
    torch.testing.assert_close(made.logits(plain), made.logits(small))


def test_probabilities_become_logits(tmp_path: Path, file: str, weights: np.ndarray[Any, Any]) -> None:
    sure = write(tmp_path / "softmax.onnx", weights, json.dumps(CLASSES), softmax=True)
    logits = classifier(OnnxOptions(), file).logits(stripes(4, seed=0))
    found = classifier(OnnxOptions(probabilities=True), sure).logits(stripes(4, seed=0))
    torch.testing.assert_close(found, logits.log_softmax(dim=1))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "zebra\nlion\ncrane, grey\n"),
        ("names.json", '["zebra", "lion", "crane, grey"]'),
        ("id2label.json", '{"1": "lion", "0": "zebra", "2": "crane, grey"}'),
    ],
)
def test_names_come_from_a_file(tmp_path: Path, weights: np.ndarray[Any, Any], name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    nameless = write(tmp_path / "net.onnx", weights)
    assert classifier(OnnxOptions(classes=str(tmp_path / name)), nameless).classes == CLASSES


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, file: str, weights: np.ndarray[Any, Any]) -> None:
    (tmp_path / "broken.onnx").write_bytes(Path(file).read_bytes()[:40])
    nameless = write(tmp_path / "nameless.onnx", weights)
    for options, argument, said in (
        (OnnxOptions(), str(tmp_path / "ned.onnx"), "ned.onnx"),
        (OnnxOptions(), str(tmp_path / "broken.onnx"), "cannot open"),
        (OnnxOptions(), nameless, "does not say what its classes are called"),
        (OnnxOptions(output="score"), file, "unknown output 'score'"),
    ):
        with pytest.raises(XcoreError, match=said) as caught:
            classifier(options, argument)
        assert "\n" not in str(caught.value)


def test_the_fingerprint_is_that_of_the_files(tmp_path: Path, file: str, weights: np.ndarray[Any, Any]) -> None:
    before = fingerprint(OnnxOptions(), file)
    assert fingerprint(OnnxOptions(), file) == before
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert fingerprint(OnnxOptions(classes=str(tmp_path / "names.txt")), file) != before
    write(Path(file), 2 * weights, json.dumps(CLASSES))
    assert fingerprint(OnnxOptions(), file) != before


def test_a_bench_explains_it_and_skips_what_needs_activations(tmp_path: Path) -> None:
    classes = xcore.data("minizoo").classes
    weights = np.random.default_rng(0).normal(size=(3, len(classes))).astype(np.float32)
    run = xcore.bench(
        ["eac", "craft"],
        data="minizoo",
        classifiers=[f"onnx:{write(tmp_path / 'net.onnx', weights, ','.join(classes))}"],
        classes=["zebra"],
        metrics=["cost"],
        controls=[],
        set={"eac": {"coalitions": 16, "max_segments": 4}},
        budget={"samples": 2, "heldout": 2},
        out=tmp_path / "run",
    )
    assert {row["label"]: row["status"] for row in run.rows} == {"eac": "ok", "craft": "skipped"}
