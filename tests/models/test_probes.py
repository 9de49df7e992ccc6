"""The probe: heads agree with the plain forward pass, gradients with closed forms, and the model is left as found."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xcore
from xcore.contract import Classifier, NotApplicable, Probe, Samples, UsageError, XcoreError
from xcore.models import probes
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.models.graph import cut, nearest_cut
from xcore.models.probes import TorchProbe, activations_each
from xcore.models.torch_model import TensorCache, TorchModel

CLASSES = ("a", "b", "c")


def pictures(n: int, side: int = 16, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return Samples("image", torch.rand(n, 3, side, side, generator=generator), tuple(f"p{i}" for i in range(n)))


class Residual(nn.Module):
    """A block that a skip goes around, with in-place ReLUs; `relu` is called twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.bn = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.conv2(self.relu(self.bn(self.conv1(x)))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.block = Residual(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.pool(self.block(self.act(self.stem(x)))).flatten(1)))


class Untraceable(nn.Module):
    """Control flow on values, which no symbolic trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        if h.mean() > 1e6:
            h = h * 0
        return self.fc(h.mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Odd(nn.Module):
    """A layer that returns two tensors, one that is unused, and one in place whose result is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.unused = nn.Linear(3, 3)
        self.shift = nn.Linear(3, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.pair(x.mean((2, 3)))
        self.unused(first)
        h = self.shift(first + second)
        self.relu(h)
        return self.fc(h)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def classifier(module: nn.Module, **options: object) -> TorchClassifier:
    return TorchClassifier(module, CLASSES, input_size=16, **options)  # type: ignore[arg-type]


def test_protocols(net: Net) -> None:
    c = classifier(net)
    assert isinstance(c, Classifier)
    assert isinstance(c.open("block"), Probe)


@pytest.mark.parametrize("layer", ["stem", "act", "block", "pool", "fc", "block.conv1", "block.bn", "block.conv2"])
def test_head_of_activations_equals_the_forward_pass(net: Net, layer: str) -> None:
    c = classifier(net, batch_size=2)
    x = pictures(5)
    probe = c.open(layer)
    assert probe.is_cut == ("." not in layer)
    with torch.no_grad():
        expected = copy.deepcopy(net).eval()(x.images)
    torch.testing.assert_close(c.logits(x), expected)
    a = probe.activations(x)
    before = a.clone()
    torch.testing.assert_close(probe.head(a, x), expected)
    assert torch.equal(a, before)
    if probe.is_cut:
        torch.testing.assert_close(probe.head(a), expected)


def test_activations_are_those_before_an_in_place_relu(net: Net) -> None:
    x = pictures(3)
    with torch.no_grad():
        expected = net.stem(x.images)
    a = classifier(net).open("stem").activations(x)
    assert (expected < 0).any()
    torch.testing.assert_close(a, expected)


def test_gradients_match_a_closed_form(net: Net) -> None:
    probe = classifier(net, batch_size=2).open("block")
    g = probe.gradients(pictures(5), 2)
    expected = (net.fc.weight[2] / 256).detach()[None, :, None, None].expand(5, 8, 16, 16)
    torch.testing.assert_close(g, expected)


@pytest.mark.parametrize("layer", ["stem", "block.bn"])
def test_gradients_match_finite_differences(net: Net, layer: str) -> None:
    net = net.double()
    x = pictures(2)
    c = classifier(net, preprocess=lambda images: images.double())
    probe = c.open(layer)
    a, g = probe.activations(x), probe.gradients(x, 1)
    v = torch.randn(a.shape, generator=torch.Generator().manual_seed(1)) * 1e-6
    up, down = probe.head(a.double() + v, x), probe.head(a.double() - v, x)
    torch.testing.assert_close(((up - down)[:, 1] / 2).float(), (g * v).flatten(1).sum(1), rtol=1e-3, atol=1e-12)


def test_head_is_differentiable_also_under_the_weights_own_flags(net: Net) -> None:
    for p in net.parameters():
        p.requires_grad_(False)
    x = pictures(2)
    probe = classifier(net).open("block.conv2")
    a = probe.activations(x).requires_grad_()
    probe.head(a, x)[:, 0].sum().backward()
    torch.testing.assert_close(a.grad, probe.gradients(x, 0))


def test_gradients_work_under_no_grad(net: Net) -> None:
    with torch.no_grad():
        assert classifier(net).open("block").gradients(pictures(2), 0).abs().sum() > 0


def test_model_and_random_state_are_left_as_found(net: Net) -> None:
    net.train()
    net.block.eval()
    net.fc.weight.requires_grad_(False)
    net.stem.weight.grad = torch.ones_like(net.stem.weight)
    modes = [m.training for m in net.modules()]
    weights = copy.deepcopy(net.state_dict())
    fields = {name: sorted(vars(m)) for name, m in net.named_modules()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index, union-attr]
    x = pictures(3)
    c = classifier(net)
    assert c.default_layer == "act"
    for layer in ("stem", "block.bn"):
        probe = c.open(layer)
        a = probe.activations(x)
        probe.gradients(x, 0)
        probe.head(a, x)
    assert [m.training for m in net.modules()] == modes
    assert not net.fc.weight.requires_grad
    assert net.stem.weight.requires_grad
    assert torch.equal(net.stem.weight.grad, torch.ones_like(net.stem.weight))
    assert net.block.conv1.weight.grad is None
    assert all(not m._forward_hooks for m in net.modules())
    assert {name: sorted(vars(m)) for name, m in net.named_modules()} == fields
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # type: ignore[index]
    assert random.getstate() == states[2]


def test_dropout_is_off_although_the_model_is_in_training_mode(net: Net) -> None:
    net.train()
    c = classifier(net, cache_mb=0)
    x = pictures(4)
    assert torch.equal(c.logits(x), c.logits(x))


def test_results_do_not_depend_on_the_batch_size(net: Net) -> None:
    x = pictures(7)
    one, many = classifier(net, batch_size=1).open("stem"), classifier(net, batch_size=64).open("stem")
    torch.testing.assert_close(one.gradients(x, 1), many.gradients(x, 1))


def test_nothing_is_computed_twice_and_content_is_the_key(net: Net) -> None:
    calls = []
    c = classifier(net, preprocess=lambda images: calls.append(len(images)) or images)
    probe = c.open("block")
    calls.clear()
    x = pictures(3)
    first = probe.activations(x)
    changed = probe.activations(x)
    changed += 1  # the caller's copy
    probe.gradients(x, 0), probe.gradients(x, 0)
    assert torch.equal(probe.activations(Samples("image", x.images.clone(), ("other", "names", "here"))), first)
    assert calls == [3]
    probe.activations(Samples("image", x.images * 0.5, x.ids))
    assert calls == [3, 3]


def test_one_pass_gives_activations_and_logits_bit_for_bit(net: Net) -> None:
    x, passed = pictures(5), list[int]()
    apart = classifier(copy.deepcopy(net), batch_size=2)
    expected = apart.open("block").activations(x), apart.logits(x)
    c = classifier(net, batch_size=2)
    probe = c.open("block")
    probe.activations(pictures(2, seed=1))  # the probe has seen a batch
    net.register_forward_pre_hook(lambda module, args: passed.append(len(args[0])))
    probe.read(x)
    assert torch.equal(probe.activations(x), expected[0])
    assert torch.equal(c.logits(x), expected[1])
    probe.read(x)
    assert passed == [2, 2, 1]


def test_several_sets_pass_each_on_its_own_and_weights_are_looked_at_once(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, looked = [pictures(n, seed=n) for n in (2, 5, 3)], list[nn.Module]()
    expected = [classifier(net, batch_size=4).open("block").activations(x) for x in sets]
    probe, passed, state = classifier(net, batch_size=4).open("block"), list[int](), probes.weights_state
    probe.activations(pictures(2, seed=1))
    monkeypatch.setattr(probes, "weights_state", lambda module: looked.append(module) or state(module))
    net.register_forward_pre_hook(lambda module, args: passed.append(len(args[0])))
    for one, other in zip(activations_each(probe, sets), expected, strict=True):
        assert torch.equal(one, other)
    assert passed == [2, 4, 1, 3]
    assert len(looked) == 1
    with torch.no_grad():
        net.stem.weight.mul_(2)
    assert not torch.equal(activations_each(probe, sets[:1])[0], expected[0])


def test_a_call_passes_the_explained_pictures_once(net: Net) -> None:
    x, passed = pictures(9), list[int]()

    def count(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        passed.append(len(args[0]) if torch.equal(args[0][:1], x.images[:1]) else 0)

    net.register_forward_pre_hook(count)
    options = {"extractor": "pca", "k": 2, "stability": False}
    xcore.explain("lens", net.eval(), x.images, target=0, class_names=list(CLASSES), options=options)
    assert passed.count(9) == 1


def test_a_change_of_weights_is_seen(net: Net) -> None:
    c = classifier(net)
    x = pictures(2)
    before = c.logits(x)
    with torch.no_grad():
        net.fc.bias += 1
    torch.testing.assert_close(c.logits(x), before + 1)


def test_cache_is_bounded_and_drops_the_oldest() -> None:
    cache = TensorCache(limit=100)
    for i in range(3):
        cache.put(i, torch.full((10,), float(i)))
    assert [cache.get(i) is not None for i in range(3)] == [False, True, True]
    cache.put("big", torch.zeros(1000))
    assert cache.get("big") is None
    assert cache.get(2) is not None


def test_cache_keeps_what_was_used_last_and_gives_copies() -> None:
    cache = TensorCache(limit=80)
    given = torch.zeros(10)
    cache.put("a", given)
    given += 1
    cache.put("b", torch.full((10,), 2.0))
    first = cache.get("a")
    assert first is not None
    first += 5
    cache.put("c", torch.full((10,), 3.0))  # "b" has not been used for the longest time
    assert cache.get("b") is None
    assert torch.equal(cache.get("a"), torch.zeros(10))
    cache.put("c", torch.full((20,), 4.0))  # larger than before: now only this one has room
    assert torch.equal(cache.get("c"), torch.full((20,), 4.0))
    assert cache.get("a") is None
    nothing = TensorCache(limit=0)
    nothing.put("a", given)
    assert nothing.get("a") is None


def test_layers_and_errors_name_what_to_do(net: Net) -> None:
    c = classifier(net)
    assert c.layers == ("stem", "act", "block.conv1", "block.bn", "block.conv2", "block", "pool", "fc")
    with pytest.raises(UsageError, match=r"did you mean 'block\.conv1'"):
        c.open("block.conv_1")
    with pytest.raises(UsageError, match=r"'block\.relu' is called 2 times"):
        c.open("block.relu")
    with pytest.raises(UsageError, match=r"'block\.bn' is not on every path.*use the layer 'block'"):
        c.open("block.bn").head(torch.zeros(1, 8, 16, 16))
    with pytest.raises(UsageError, match="2 activations but 1 samples"):
        c.open("block.bn").head(torch.zeros(2, 8, 16, 16), pictures(1))
    with pytest.raises(UsageError, match="no class 3"):
        c.open("block").gradients(pictures(1), 3)
    with pytest.raises(UsageError, match="no samples"):
        c.logits(pictures(0))
    with pytest.raises(UsageError, match="did you mean 'block'"):
        classifier(net, default_layer="blok")


def test_odd_layers() -> None:
    torch.manual_seed(0)
    c = classifier(Odd())
    x = pictures(3)
    with pytest.raises(UsageError, match="'pair' returns no single tensor"):
        c.open("pair")
    with pytest.raises(UsageError, match="do not depend on the output of layer 'unused'"):
        c.open("unused").gradients(x, 0)
    # The in-place ReLU's result is thrown away, so a graph without it would give other logits.
    probe = c.open("shift")
    assert cut(c.model.module, "shift") is None
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))
    torch.testing.assert_close(probe.head(probe.activations(x), x), c.logits(x))


def test_probe_of_a_plain_module_finds_out_for_itself(net: Net) -> None:
    probe = TorchProbe(net, "block")
    with pytest.raises(UsageError, match="known once samples have passed"):
        _ = probe.layout
    assert probe.activations(pictures(2)).shape == (2, 8, 16, 16)
    assert probe.layout == "NCHW"
    with pytest.raises(UsageError, match="called 2 times"):
        TorchProbe(net, "block.relu").activations(pictures(2))
    with pytest.raises(UsageError, match="returns a tuple"):
        TorchProbe(Odd(), "pair").activations(pictures(2))
    with pytest.raises(UsageError, match="did you mean 'block'"):
        TorchProbe(net, "blok")


def test_untraceable_code_falls_back_to_re_running() -> None:
    torch.manual_seed(0)
    c = classifier(Untraceable())
    x = pictures(3)
    assert cut(c.model.module, "stem") is None
    probe = c.open("stem")
    torch.testing.assert_close(probe.head(probe.activations(x), x), c.logits(x))
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))  # any other input may stand in
    alone = TorchProbe(c.model.module, "stem")
    with pytest.raises(UsageError, match="pass the samples as `like`"):
        alone.head(alone.activations(x))


def test_cut_knows_skips(net: Net) -> None:
    assert cut(net, "block") is not None
    assert cut(net, "block.conv1") is None
    assert cut(net, "block.relu") is None
    assert nearest_cut(net, "block.bn", ["stem", "act", "block.conv1", "block.bn", "block.conv2", "block"]) in (
        "block",
        "act",
    )


def test_not_a_number_is_one_clear_error(net: Net) -> None:
    with torch.no_grad():
        net.fc.bias[1] = float("nan")
    with pytest.raises(XcoreError, match=r"NaN logits for 3 of 3 samples, first 'p0'"):
        classifier(net).logits(pictures(3))


def test_class_names_must_fit(net: Net) -> None:
    with pytest.raises(UsageError, match="3 logits but there are 2 class names"):
        TorchClassifier(net, ["a", "b"], input_size=16).logits(pictures(1))
    assert TorchClassifier(net, ["a", "b", "a"]).classes == ("a (0)", "b", "a (2)")
    assert TorchClassifier(net, {2: "c", 0: "a", 1: "b"}).classes == ("a", "b", "c")
    with pytest.raises(UsageError, match="takes no picture of a common size"):
        _ = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), CLASSES).layers
    with pytest.raises(UsageError, match="must return logits"):
        TorchModel(nn.Conv2d(3, 3, 1)).logits(pictures(1))


def test_input_size_is_found_for_a_net_that_takes_one_size_only() -> None:
    c = TorchClassifier(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 30 * 30, 3)), CLASSES)
    assert c.layers == ("0", "1", "3")
    assert c.default_layer == "0"  # above the ReLU the network is affine


def test_text_goes_through_the_same_door() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(128, 4)
            self.fc = nn.Linear(4, 3)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return self.fc((self.embed(ids) * mask[..., None]).sum(1))

    def tokens(texts: tuple[str, ...]) -> dict[str, Tensor]:
        ids = torch.zeros(len(texts), 20, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = torch.tensor([ord(c) for c in text])
        return {"ids": ids, "mask": (ids > 0).float()}

    c = TorchClassifier(Bag(), CLASSES, preprocess=tokens, modality="text")
    x = Samples("text", ("good", "bad"), ("0", "1"))
    probe = c.open("embed")
    assert probe.layout == "NTC"
    a = probe.activations(x)
    assert a.shape == (2, 20, 4)
    torch.testing.assert_close(probe.head(a, x), c.logits(x))


def test_a_function_is_a_classifier_without_gradients() -> None:
    calls = []

    def means(images: Tensor) -> np.ndarray:
        calls.append(len(images))
        return images.mean((2, 3)).numpy()

    c = FunctionClassifier(means, CLASSES, batch_size=2)
    x = pictures(3)
    assert isinstance(c, Classifier)
    assert c.can == frozenset()
    torch.testing.assert_close(c.logits(x), x.images.mean((2, 3)))
    c.logits(x)
    assert calls == [2, 1]
    with pytest.raises(NotApplicable, match="Python function"):
        c.open("fc")
    with pytest.raises(UsageError, match=r"must return \(3, classes\)"):
        FunctionClassifier(lambda images: np.zeros(3), CLASSES).logits(x)
    with pytest.raises(XcoreError, match="NaN scores for 3 of 3"):
        FunctionClassifier(lambda images: np.full((3, 3), np.nan), CLASSES).logits(x)
