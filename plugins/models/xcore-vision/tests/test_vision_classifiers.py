"""Loaders: preprocessing agrees with the peers', files round-trip, and what is wrong is one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from xcore_vision import fingerprint, weights
from xcore_vision.file import file_classifier, save_classifier
from xcore_vision.function import function_classifier
from xcore_vision.options import FileOptions, FunctionOptions, ZooOptions
from xcore_vision.preprocessing import Preprocessing
from xcore_vision.zoo import assemble, bare_timm, bare_torchvision, timm_classifier, torchvision_classifier

from xcore.contract import Cell, MissingError, NotApplicable, Ref, Samples, UsageError
from xcore.inputs.images import Framing
from xcore.models.classifiers import TorchClassifier
from xcore.registry import Registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

RANDOM = ZooOptions(pretrained=False, input_size=64, classes=("a", "b", "c"))


def pictures(n: int, height: int = 64, width: int = 64) -> Samples:
    generator = torch.Generator().manual_seed(3)
    return Samples("image", torch.rand(n, 3, height, width, generator=generator), tuple(f"p{i}" for i in range(n)))


@pytest.mark.parametrize(
    ("source", "model", "default", "layout", "inner"),
    [
        ("torchvision", "resnet18", "layer4.0", "NCHW", "layer2.0.conv2"),
        ("torchvision", "googlenet", "inception5a", "NCHW", "inception4a.branch2.0"),
        ("torchvision", "mobilenet_v3_small", "features.12", "NCHW", "features.3.block.1"),
        ("timm", "tf_efficientnet_lite0", "blocks.6", "NCHW", "blocks.2.1.conv_dw"),
        ("timm", "convnext_atto", "stages.3", "NCHW", "stages.1.blocks.0"),
    ],
)
def test_heads_agree_with_the_forward_pass(source: str, model: str, default: str, layout: str, inner: str) -> None:
    load = timm_classifier if source == "timm" else torchvision_classifier
    c = load(RANDOM, model)
    x = pictures(3)
    assert c.default_layer == default
    with torch.no_grad():
        expected = c.model.module.eval()(c.model.preprocess(x.images))  # type: ignore[misc]
    torch.testing.assert_close(c.logits(x), expected)
    probe = c.open(default)
    assert probe.layout == layout
    assert probe.is_cut
    torch.testing.assert_close(probe.head(probe.activations(x)), expected)
    assert probe.gradients(x, 1).shape == probe.activations(x).shape
    other = c.open(inner)
    torch.testing.assert_close(other.head(other.activations(x), x), expected)


def test_vision_transformer_tokens() -> None:
    module = bare_timm("vit_tiny_patch16_224", {"img_size": 64, "depth": 3, "num_classes": 3})
    c = TorchClassifier(module, ["a", "b", "c"], input_size=64)
    assert c.default_layer == "blocks.2"
    probe = c.open("blocks.2")
    x = pictures(2)
    assert probe.layout == "NTC"
    assert probe.activations(x).shape == (2, 17, 192)
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))
    inside = c.open("blocks.1.mlp")
    torch.testing.assert_close(inside.head(inside.activations(x), x), c.logits(x))


def test_swin_maps_have_channels_second() -> None:
    c = torchvision_classifier(RANDOM, "swin_t")
    probe = c.open("features.5")
    x = pictures(2)
    assert probe.layout == "NCHW"
    assert probe.activations(x).shape == (2, 384, 4, 4)
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))


def test_googlenet_keeps_its_own_input_transform() -> None:
    module = bare_torchvision("googlenet", {"num_classes": 3, "transform_input": True})
    c = TorchClassifier(module, ["a", "b", "c"], input_size=64)
    x = pictures(2)
    probe = c.open("inception3a")
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))
    assert not [n for n in c.layers if n.startswith("aux")]
    with pytest.raises(UsageError, match="'aux1' is not called in evaluation mode"):
        c.open("aux1")


def smooth_picture() -> Image.Image:
    row, column = np.mgrid[0:150, 0:210]
    pixels = np.stack([row / 150, column / 210, (row + column) / 360], -1)
    return Image.fromarray((pixels * 255).astype(np.uint8))


def test_preprocessing_agrees_with_timm_and_torchvision() -> None:
    import timm.data
    from torchvision import models

    image = smooth_picture()
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    c = timm_classifier(ZooOptions(pretrained=False), "tf_efficientnet_lite0")
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(c.model.module))(image)
    torch.testing.assert_close(c.model.preprocess(tensor)[0], theirs, atol=0.03, rtol=0)  # type: ignore[misc]
    c = torchvision_classifier(ZooOptions(pretrained=False), "resnet18")
    theirs = models.ResNet18_Weights.DEFAULT.transforms()(image)
    torch.testing.assert_close(c.model.preprocess(tensor)[0], theirs, atol=0.03, rtol=0)  # type: ignore[misc]


def test_pictures_of_the_input_size_pass_unchanged_and_whole_crops_nothing() -> None:
    plain = Preprocessing(Framing((8, 8), 10), (0, 0, 0), (1, 1, 1))
    x = pictures(1, 8, 8).images
    assert torch.equal(plain(x), x)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 16, 32)
    whole = Preprocessing(Framing((8, 8), 8, whole=True), (0, 0, 0), (1, 1, 1))(ramp)
    assert whole[..., 0].max() < 0.1
    assert whole[..., -1].min() > 0.9
    assert plain(ramp)[..., 0].min() > 0.2


def test_random_weights_follow_their_seed_and_leave_the_random_state() -> None:
    before = torch.get_rng_state()
    one, same, other = (
        torchvision_classifier(RANDOM.model_copy(update={"seed": s}), "resnet18").logits(pictures(1)) for s in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_models_give_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown timm model 'resnet5'.*resnet50"):
        timm_classifier(ZooOptions(), "resnet5")
    with pytest.raises(UsageError, match=r"did you mean 'resnet50\.a1_in1k'"):
        timm_classifier(ZooOptions(), "resnet50.a1_in9k")
    with pytest.raises(UsageError, match="did you mean 'googlenet'"):
        torchvision_classifier(ZooOptions(), "googlnet")
    with pytest.raises(UsageError, match="did you mean 'IMAGENET1K_V1'"):
        torchvision_classifier(ZooOptions(weights="IMAGENET_V1"), "resnet18")


def test_weights_out_of_reach_are_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []
    monkeypatch.setattr(weights, "reachable", lambda url: asked.append(url) or False)
    with pytest.raises(MissingError, match=r"the weights of timm:resnet50 are not in .* cannot be reached.*checkpoint"):
        timm_classifier(ZooOptions(), "resnet50")
    with pytest.raises(MissingError, match=r"the weights of torchvision:resnet50 are not in"):
        torchvision_classifier(ZooOptions(), "resnet50")
    assert len(asked) == 1, "the hub is offline and not asked, the server of torchvision is asked once"


def test_a_server_that_refuses_connections_is_out_of_reach() -> None:
    assert not weights.reachable("http://127.0.0.1:9/")


def test_checkpoints(tmp_path: Path) -> None:
    c = timm_classifier(RANDOM.model_copy(update={"seed": 7}), "resnet18")
    path = tmp_path / "w.safetensors"
    save_file({k: v.clone() for k, v in c.model.module.state_dict().items()}, path)
    options = ZooOptions(checkpoint=str(path), input_size=64, classes=("a", "b", "c"))
    assert torch.equal(timm_classifier(options, "resnet18").logits(pictures(2)), c.logits(pictures(2)))
    with pytest.raises(UsageError, match=r"has another shape for 'fc.weight' and 1 more"):
        timm_classifier(ZooOptions(checkpoint=str(path)), "resnet18")
    with pytest.raises(UsageError, match="lacks"):
        timm_classifier(options, "resnet26")
    with pytest.raises(UsageError, match=r"no checkpoint .*did you mean"):
        timm_classifier(ZooOptions(checkpoint=str(tmp_path / "v.safetensors")), "resnet18")
    path.write_bytes(b"pickle")
    with pytest.raises(UsageError, match="is not a safetensors file"):
        timm_classifier(options, "resnet18")


def test_file_round_trip(tmp_path: Path) -> None:
    module = bare_torchvision("resnet18", {"num_classes": 2}, seed=5)
    path = save_classifier(
        tmp_path / "m.safetensors",
        module,
        architecture="torchvision:resnet18",
        classes=["cat", "dog"],
        mean=[0.5, 0.5, 0.5],
        std=[0.2, 0.2, 0.2],
        input_size=32,
    )
    c = file_classifier(FileOptions(), str(path))
    x = pictures(2, 32, 32)
    assert c.classes == ("cat", "dog")
    with torch.no_grad():
        torch.testing.assert_close(c.logits(x), module.eval()((x.images - 0.5) / 0.2))
    before = fingerprint.weights_file(FileOptions(), str(path))
    path.with_suffix(".json").write_text(json.dumps(["katze", "hund"]))
    assert file_classifier(FileOptions(), str(path)).classes == ("katze", "hund")
    assert file_classifier(FileOptions(classes=("x", "y")), str(path)).classes == ("x", "y")
    after = fingerprint.weights_file(FileOptions(), str(path))
    path.with_name("truth.json").write_text("{}")
    assert len({before, after, fingerprint.weights_file(FileOptions(), str(path))}) == 3
    path.with_suffix(".json").write_text(json.dumps({"klasses": []}))
    with pytest.raises(UsageError, match="did you mean 'classes'"):
        file_classifier(FileOptions(), str(path))


def test_files_that_say_too_little(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match="does not name its classes"):
        file_classifier(FileOptions(), str(path))
    with pytest.raises(UsageError, match="does not name its architecture"):
        file_classifier(FileOptions(classes=("a",)), str(path))
    with pytest.raises(UsageError, match=r"unknown architecture source 'tim' .*'timm'"):
        file_classifier(FileOptions(classes=("a",), architecture="tim:resnet18"), str(path))
    with pytest.raises(UsageError, match=r"lacks 'conv1\.weight'"):
        file_classifier(FileOptions(classes=("a",), architecture="timm:resnet18"), str(path))


def test_a_file_does_not_decide_what_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets_xv.py").write_text(
        "from torch import nn\n\n"
        "def make(width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    from xcore_vision.function import import_function

    module: nn.Module = import_function("my_nets_xv:make")(width=5)
    architecture = "python:my_nets_xv:make"
    path = save_classifier(
        "m.safetensors", module, architecture=architecture, classes=["a", "b"], arguments={"width": 5}, input_size=16
    )
    with pytest.raises(UsageError, match="if you trust this code, set architecture=python:my_nets_xv:make"):
        file_classifier(FileOptions(), str(path))
    c = file_classifier(FileOptions(architecture=architecture), str(path))
    assert c.default_layer == "0"
    torch.testing.assert_close(c.logits(pictures(1, 16, 16)), module(pictures(1, 16, 16).images).detach())


def test_a_python_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_box_xv.py").write_text(
        "def predict(images):\n    return images.mean((2, 3))[:, :2]\n\npredict.classes = ('red', 'green')\n"
    )
    monkeypatch.chdir(tmp_path)
    c = function_classifier(FunctionOptions(), "my_box_xv:predict")
    x = pictures(2)
    torch.testing.assert_close(c.logits(x), x.images.mean((2, 3))[:, :2])
    assert c.can == frozenset()
    with pytest.raises(NotApplicable, match="no layers"):
        c.open("any")
    with pytest.raises(UsageError, match="did you mean 'predict'"):
        function_classifier(FunctionOptions(), "my_box_xv:predikt")
    with pytest.raises(MissingError, match="cannot import 'my_bix_xv'"):
        function_classifier(FunctionOptions(), "my_bix_xv:predict")
    before = fingerprint.function(FunctionOptions(), "my_box_xv:predict")
    (tmp_path / "my_box_xv.py").write_text("def predict(images):\n    return -images.mean((2, 3))\n")
    assert fingerprint.function(FunctionOptions(), "my_box_xv:predict") != before


def test_class_names_as_a_command_line_gives_them(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "names.txt").write_text("cat\n\ngreat dane\n")
    (tmp_path / "names.json").write_text('["a", "b"]')

    def classes(text: str) -> object:
        return registry.options("classifier", Ref("timm:x", {"classes": text, "mean": "0.5,0.4,0.3"})).classes

    assert classes("a, b") == ("a", "b")
    assert classes(str(tmp_path / "names.txt")) == ("cat", "great dane")
    assert classes(str(tmp_path / "names.json")) == ("a", "b")
    with pytest.raises(UsageError, match="no class names can be read"):
        classes(str(tmp_path / "none.txt"))


def test_class_names() -> None:
    with pytest.raises(UsageError, match="3 class names are given but the model has 1000"):
        assemble(nn.Identity(), RANDOM, Preprocessing(Framing((8, 8), 8)), None, 1000, "timm")
    assert timm_classifier(ZooOptions(pretrained=False), "resnet18").classes[340] == "class 340"
    cranes = ZooOptions(pretrained=False, classes=("crane", "crane", "zebra"))
    named = assemble(nn.Identity(), cranes, Preprocessing(Framing((8, 8), 8)), None, 3, "timm")
    assert named.classes == ("crane (0)", "crane (1)", "zebra")
    assert named.aliases == {"crane (0)": ("crane",), "crane (1)": ("crane",), "zebra": ("n02391049",)}


def test_the_error_for_made_up_class_names_says_how_to_name_them(tmp_path: Path, registry: Registry) -> None:
    for cls in ("tabby", "lynx"):
        (tmp_path / "cats" / cls).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "cats" / cls / "1.png")
    random = {"pretrained": False, "input_size": 32}
    cell = Cell("m", Ref("craft"), Ref("timm:resnet18", random), Ref(f"folder:{tmp_path / 'cats'}"), "tabby", 0)
    with pytest.raises(UsageError, match=r"'tabby' \(known: class 0, .*; name them with --set timm\.classes=a,b,c\)"):
        Workbench(registry, Store(tmp_path / "run")).check(cell)
    named = Ref("timm:resnet18", {**random, "classes": "lion,tiger"})
    with pytest.raises(UsageError, match=r"\(known: lion, tiger; .*--set folder\.names=FILE\)"):
        Workbench(registry, Store(tmp_path / "run")).check(replace(cell, classifier=named))


def test_the_cards_are_light_and_make_the_components(tmp_path: Path, registry: Registry) -> None:
    ref = Ref("timm:resnet18", {"pretrained": False, "classes": ["a", "b"], "input_size": 32})
    assert registry.create("classifier", ref).classes == ("a", "b")
    with pytest.raises(UsageError, match="did you mean 'pretrained'"):
        registry.options("classifier", Ref("timm:resnet18", {"pretraind": False}))
    code = textwrap.dedent(
        """
        import sys
        from xcore.contract import MissingError
        from xcore_vision import fingerprint
        from xcore_vision.options import FolderOptions, ZooOptions
        import xcore_vision.plugin
        fingerprint.timm(ZooOptions(), "resnet50")
        try:
            fingerprint.efficientnet_lite0(ZooOptions())
        except MissingError:  # the weights are not installed
            pass
        fingerprint.folder(FolderOptions(), sys.argv[1])
        print(sorted({"torch", "timm", "torchvision", "numpy", "PIL"} & set(sys.modules)))
        """
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
