"""Files of weights that `torch.save` wrote: read as tensors, never unpickled; and no code beside weights is run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from xcore_vision.file import file_classifier
from xcore_vision.hf import hf_classifier
from xcore_vision.options import ClassifierOptions, FileOptions, ZooOptions
from xcore_vision.processor import load_image_processor
from xcore_vision.weights import load_into, read_tensors
from xcore_vision.zoo import bare_torchvision, torchvision_classifier

from xcore.contract import MissingError, Samples, UsageError
from xcore.pretrained.loading import load_tokenizer

PICTURES = Samples("image", torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)), ("0", "1"))


def small() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def prefixed(prefix: str) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in small().state_dict().items()}


@pytest.mark.parametrize(
    "content",
    [
        small().state_dict(),
        {"state_dict": small().state_dict(), "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": prefixed("module."), "args": {"lr": 0.1}},
        prefixed("_orig_mod.module."),
        {"state_dict": {**prefixed("model."), "criterion.weight": torch.ones(2)}},
        {name: tensor for name, tensor in small().state_dict().items() if "num_batches" not in name},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_of_torch(content: Any, legacy: bool, tmp_path: Path) -> None:
    path, module = tmp_path / "m.pth", small()
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for tensor in module.parameters():
        tensor.data.zero_()
    notes = load_into(module, read_tensors(path), "m.pth")
    assert all(torch.equal(tensor, small().state_dict()[name]) for name, tensor in module.state_dict().items())
    other = "state_dict" in content and "criterion.weight" in content["state_dict"]
    left = ["1 tensor of m.pth without 'model.' before its name was not read, first 'criterion.weight'"]
    assert notes == (left if other else [])


def test_a_file_of_torch_is_a_classifier(tmp_path: Path) -> None:
    module, path = bare_torchvision("squeezenet1_1", {"num_classes": 2}), tmp_path / "m.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in module.state_dict().items()}}, path)
    options = FileOptions(architecture="torchvision:squeezenet1_1", classes=("cat", "dog"), input_size=32)
    made = file_classifier(options, str(path))
    with torch.no_grad():
        torch.testing.assert_close(made.logits(PICTURES), module.eval()(PICTURES.images))
    assert any("nothing says how m.pth wants its pictures normalised" in note for note in made.notes)
    named = {
        "architecture": "torchvision:squeezenet1_1",
        "classes": ["cat", "dog"],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    path.with_suffix(".json").write_text(json.dumps(named))
    beside = file_classifier(FileOptions(input_size=32), str(path))
    with torch.no_grad():
        torch.testing.assert_close(beside.logits(PICTURES), module(PICTURES.images * 2 - 1))
    assert not beside.notes
    zoo = ZooOptions(checkpoint=str(path), classes=("cat", "dog"), input_size=32)
    assert torchvision_classifier(zoo, "squeezenet1_1").logits(PICTURES).shape == (2, 2)


class Touches:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"state_dict": small().state_dict(), "extra": Touches(tmp_path / "touched")}, tmp_path / "m.pth")
    with pytest.raises(UsageError, match="xcore never unpickles"):
        read_tensors(tmp_path / "m.pth")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (small(), "torch.nn.modules.container.Sequential"),
        ({"model": small(), "epoch": 3}, "torch.nn.modules.container.Sequential"),
        ({"state_dict": small().state_dict(), "args": Namespace(lr=0.1)}, "argparse.Namespace"),
    ],
)
def test_the_line_that_converts_a_pickle_works(content: Any, holds: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(content, path)
    with pytest.raises(UsageError, match=rf"holds an object of the type {holds}, and xcore never unpickles") as refused:
        read_tensors(path)
    line = shlex.split(re.search(r"python -c .*", refused.value.hint)[0])  # type: ignore[index]
    subprocess.run([sys.executable, *line[1:]], check=True, capture_output=True)
    assert read_tensors(tmp_path / "m.weights.pth").keys() == small().state_dict().keys()


def test_a_scripted_module_is_no_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(small()), path)
    with pytest.raises(UsageError, match=r"a module that torch.jit saved.*torch.jit.load"):
        read_tensors(path)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    for content, said in (([1, 2], "holds a list, not weights"), ({"a": 1, "b": 2}, "by a usual name, but a, b")):
        torch.save(content, path)
        with pytest.raises(UsageError, match=said):
            read_tensors(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UsageError, match="cannot be read as tensors"):
        read_tensors(path)
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"\x08\x07\x12\x00 onnx of some kind")
    with pytest.raises(UsageError, match="xcore reads no ONNX"):
        file_classifier(FileOptions(), str(onnx))


def test_tensors_that_do_not_fit_are_named_with_the_nearest() -> None:
    renamed = {name.replace("3.weight", "3.wight"): tensor for name, tensor in small().state_dict().items()}
    with pytest.raises(UsageError, match=r"lacks '3.weight', nearest is '3.wight'"):
        load_into(small(), renamed, "m.pth")
    with pytest.raises(UsageError, match=r"several sets of weights: student., teacher\."):
        load_into(small(), {**prefixed("student."), **prefixed("teacher.")}, "m.pth")


CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({ran!r}).touch()
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification, ViTImageProcessor

class OwnConfig(ViTConfig):
    model_type = "own"

class Own(ViTForImageClassification):
    config_class = OwnConfig

class OwnProcessor(ViTImageProcessor):
    pass
"""


@pytest.mark.parametrize("kind", ["own", "vit"])
def test_code_in_a_model_directory_is_never_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder, ran = tmp_path / "model", tmp_path / "ran"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, id2label={0: "cat", 1: "dog"})
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    (folder / "own.py").write_text(textwrap.dedent(CODE).format(ran=str(ran)))
    maps = {
        "config.json": {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.Own"},
        "preprocessor_config.json": {"AutoImageProcessor": "own.OwnProcessor"},
    }
    for name, classes in maps.items():
        whole = json.loads((folder / name).read_text())
        whole["auto_map"] = classes
        if name == "config.json":
            whole["model_type"] = kind
        elif kind == "own":
            whole["image_processor_type"] = "OwnProcessor"
        (folder / name).write_text(json.dumps(whole))
    if kind == "vit":  # transformers has a class of its own for this kind, which is taken
        assert hf_classifier(ClassifierOptions(), str(folder)).classes == ("cat", "dog")
    else:
        with pytest.raises(UsageError):
            hf_classifier(ClassifierOptions(), str(folder))
        with pytest.raises(UsageError):
            load_image_processor(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    with pytest.raises(MissingError):
        load_tokenizer(folder)
    assert not ran.exists()
    assert not (folder / "ran").exists()


def test_checkpoints_of_safetensors_lose_their_prefix_too(tmp_path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in prefixed("module.").items()}, tmp_path / "m.safetensors")
    assert load_into(small(), read_tensors(tmp_path / "m.safetensors"), "m") == []
