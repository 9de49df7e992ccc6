"""The default layer: one rule for all networks, however they are wrapped; layouts come from how outputs grow."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xcore.contract import Samples, UsageError
from xcore.models.classifiers import TorchClassifier
from xcore.models.heads import find_heads
from xcore.models.modules import plain

CLASSES = ("a", "b", "c")
SWIN = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}


def pictures(n: int, height: int = 64, width: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(3)
    data = torch.rand(n, 3, height, width or height, generator=generator)
    return Samples("image", data, tuple(f"p{i}" for i in range(n)))


class Stages(nn.Module):
    """Three stages with ReLU in place, and a linear layer over the means of the last map."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.f1, self.f2, self.f3 = self._stage(3, 6), self._stage(6, 8), self._stage(8, 10)
            self.fc = nn.Linear(10, 3)

    def _stage(self, wide: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(wide, out, 3, 2, 1), nn.ReLU(True))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f3(self.f2(self.f1(x))).mean((2, 3)))


def timm_model(name: str, **settings: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=3, **settings)
    return made


def torchvision_model(name: str, **settings: Any) -> nn.Module:
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = models.get_model(name, weights=None, num_classes=3, **settings)
    return made


def swin_of_transformers() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.SwinConfig(**SWIN, image_size=64, patch_size=4, num_labels=3)
        made: nn.Module = transformers.SwinForImageClassification(config)
    return made


@pytest.mark.parametrize(
    ("make", "name", "settings", "layer"),
    [
        (timm_model, "resnet18", {"channels": (8, 8, 16, 16)}, "layer4.0"),
        (timm_model, "vgg11", {}, "features"),
        (timm_model, "densenet121", {"growth_rate": 4, "block_config": (1, 1, 1, 2)}, "features.denseblock4"),
        (timm_model, "tf_efficientnet_lite0", {}, "blocks.6"),
        (timm_model, "efficientnet_b0", {}, "blocks.6"),
        (timm_model, "mobilenetv3_small_050", {}, "blocks.5"),
        (timm_model, "convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}, "stages.3"),
        (timm_model, "vit_tiny_patch16_224", {"img_size": 64, "depth": 3, "embed_dim": 48}, "blocks.2"),
        (timm_model, "deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 3, "embed_dim": 48}, "blocks.2"),
        (timm_model, "swin_tiny_patch4_window7_224", {**SWIN, "img_size": 64}, "layers.1"),
        (timm_model, "regnetx_002", {}, "s4.b6"),
        (torchvision_model, "resnet18", {}, "layer4.0"),
        (torchvision_model, "googlenet", {"aux_logits": False, "init_weights": False}, "inception5a"),
        (torchvision_model, "mobilenet_v3_small", {}, "features.12"),
        (torchvision_model, "efficientnet_b0", {}, "features.7"),
    ],
)
def test_the_last_block_with_a_bent_head(make: Any, name: str, settings: dict[str, Any], layer: str) -> None:
    module = make(name, **settings).eval()
    c = TorchClassifier(module, CLASSES, input_size=64)
    x = pictures(3)
    assert c.default_layer == layer
    probe = c.open(layer)
    a = probe.activations(x)
    assert a[0].numel() > a.shape[2 if probe.layout == "NTC" else 1]  # it has positions
    with torch.no_grad():
        torch.testing.assert_close(probe.head(a), module(x.images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(probe.head(a), c.logits(x), rtol=1e-4, atol=1e-4)


def test_a_network_of_transformers_is_explained_at_its_last_block() -> None:
    module = swin_of_transformers().eval()
    c = TorchClassifier(module, CLASSES, input_size=64)
    assert c.default_layer == "swin.encoder.layers.1.blocks.0"  # returns (output, None), and fx cannot trace it
    assert "swin.pooler" not in c.layers
    with pytest.raises(UsageError, match=r"'swin.pooler' gives shape \(2, 32, 1\)"):
        c.open("swin.pooler")
    probe, x = c.open(c.default_layer), pictures(3)
    a = probe.activations(x)
    assert probe.layout == "NTC"
    assert a.shape == (3, 64, 32)
    torch.testing.assert_close(probe.head(a), c.logits(x))
    torch.testing.assert_close(probe.head(a, x), c.logits(x))
    g = probe.gradients(x, 1)
    a.requires_grad_()
    probe.head(a)[:, 1].sum().backward()
    torch.testing.assert_close(a.grad, g)
    named = TorchClassifier(module, CLASSES, input_size=64, preprocess=lambda images: {"pixel_values": images})
    assert named.default_layer == c.default_layer
    torch.testing.assert_close(named.open(c.default_layer).head(a.detach()), c.logits(x))


def compiled(module: nn.Module) -> Any:
    return torch.compile(module, backend="eager")


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def compiled_forward(module: nn.Module) -> nn.Module:
    module.forward = torch.compile(module.forward, backend="eager")  # type: ignore[method-assign]
    return module


class Normalised(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * 2 - 1)


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        in_place,
        compiled_forward,
        nn.DataParallel,
        lambda module: nn.DataParallel(compiled(module)),
        lambda module: compiled(nn.DataParallel(module)),
    ],
)
def test_a_wrapped_network_is_the_plain_network(wrap: Any) -> None:
    module, x = Stages().eval(), pictures(4, 32)
    want = TorchClassifier(copy.deepcopy(module), CLASSES)
    wrapped = wrap(module)
    with torch.no_grad():
        wrapped(x.images)  # a compiled network ignores hooks that are set after its first call
    c = TorchClassifier(wrapped, CLASSES)
    assert want.default_layer == "f2"
    assert (c.layers, c.default_layer) == (want.layers, want.default_layer)
    assert torch.equal(c.logits(x), want.logits(x))
    assert torch.equal(c.open("f2").activations(x), want.open("f2").activations(x))
    assert torch.equal(c.open("f2").gradients(x, 0), want.open("f2").gradients(x, 0))


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel])
def test_a_wrapped_part_is_the_plain_part(wrap: Any) -> None:
    module = Normalised(wrap(Stages())).eval()
    c = TorchClassifier(module, CLASSES)
    assert c.default_layer == "inner.f2"
    assert c.layers == TorchClassifier(Normalised(Stages()).eval(), CLASSES).layers
    assert type(module.inner) is not Stages  # the user's module stays as it was
    x = pictures(2, 32)
    with torch.no_grad():
        torch.testing.assert_close(c.logits(x), module(x.images))
        next(module.parameters()).add_(1.0)
        torch.testing.assert_close(c.logits(x), module(x.images))


def test_a_module_without_wrappers_is_itself() -> None:
    module = Stages()
    assert plain(module) is module


class ChannelsLast(nn.Module):
    """A convolution, then layers over maps (n, H, W, C), as in Swin transformers; any size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.last = nn.Conv2d(3, channels, 3, padding=1), nn.Sequential(nn.Identity(), nn.Tanh())
            self.fc = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 16), (16, 8), (16, 32), (8, 8)])
@pytest.mark.parametrize("channels", [8, 16, 32])
def test_axes_do_not_depend_on_the_size_of_the_picture(height: int, width: int, channels: int) -> None:
    module = ChannelsLast(channels).eval()
    c = TorchClassifier(module, CLASSES, input_size=(height, width))
    x = pictures(2, height, width)
    with torch.no_grad():
        want = module.stem(x.images)
    torch.testing.assert_close(c.open("stem").activations(x), want)
    torch.testing.assert_close(c.open("last").activations(x), want.tanh())
    torch.testing.assert_close(c.open("last").head(want.tanh()), c.logits(x))


def test_a_network_of_one_size_is_read_by_its_parts() -> None:
    class Fixed(ChannelsLast):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-2:] == (8, 16)
            return super().forward(x)

    c = TorchClassifier(Fixed(8).eval(), CLASSES, input_size=(8, 16))
    shapes = {name: c.open(name).activations(pictures(2, 8, 16)).shape for name in ("stem", "last")}
    assert shapes == {"stem": (2, 8, 8, 16), "last": (2, 8, 8, 16)}  # the second is the proportions of the picture


class Gated(nn.Module):
    """Above `a` a product of two things that depend on the picture, above `b` affine operations only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gate, self.side = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norm, self.fc = nn.BatchNorm2d(3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h = self.b(h * self.gate(h)) + 1
        pooled = nn.functional.adaptive_avg_pool2d(self.norm(h) / 2, 2).flatten(1)
        return self.fc(pooled) + self.side(x).mean((2, 3))


def test_heads_are_read_from_the_graph() -> None:
    module = Gated().eval()
    heads = find_heads(module, torch.rand(2, 3, 8, 8), ["a", "gate", "b", "norm", "side"])
    assert {name: head.affine for name, head in heads.items()} == {
        "a": False, "gate": False, "b": True, "norm": True, "side": True
    }  # fmt: skip
    assert not any(head.alone for head in heads.values())  # `side` goes around all of them
    module.side = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.zeros_(module.side.weight)
    assert not find_heads(module, torch.rand(2, 3, 8, 8), ["b"])["b"].alone  # by structure, whatever the weights


def test_a_network_without_gradients_has_a_default_layer_all_the_same() -> None:
    class Silent(Stages):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert TorchClassifier(Silent(), CLASSES).default_layer == "f3"


def test_a_tuple_with_two_tensors_is_no_layer() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, None, Tensor]:
            return x, None, x

    class Net(Stages):
        def __init__(self) -> None:
            super().__init__()
            self.two = Two()

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.two(x)[0])

    c = TorchClassifier(Net(), CLASSES)
    assert "two" not in c.layers
    with pytest.raises(UsageError, match="'two' returns no single tensor"):
        c.open("two")
