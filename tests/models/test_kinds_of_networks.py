"""Networks as they lie about: each kind works as its float32 twin does, or is refused with its own reason."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xcore
from xcore.contract import NotApplicable, Samples, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier, as_classifier
from xcore.models.modules import plain, weights_state
from xcore.models.outputs import probabilities, scores_of
from xcore.models.torch_model import CannotRun

NAMES = ("a", "b", "c")


class Net(nn.Module):
    """Three stages with ReLU in place, then a linear layer over the means; `f2` is the default layer."""

    def __init__(self, channels: int = 3, outputs: int = 3) -> None:
        super().__init__()
        self.f1 = nn.Sequential(nn.Conv2d(channels, 8, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2))
        self.f2 = nn.Sequential(nn.Conv2d(8, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU(True))
        self.f3 = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU(True))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.f3(self.f2(self.f1(x))).mean((2, 3))))


def net(**sizes: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(**sizes).eval()


def pictures(n: int = 4, side: int = 32, channels: int = 3) -> Samples:
    data = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1))
    return Samples("image", data.expand(-1, 3, -1, -1), tuple(f"p{i}" for i in range(n)))


def opened(module: Any, names: Any = NAMES, **settings: Any) -> TorchClassifier:
    return TorchClassifier(module, names, **{"input_size": 32, **settings})


def numbers(c: TorchClassifier, x: Samples, layer: str = "f2") -> list[Tensor]:
    """Logits, activations, gradients and the logits of the head."""
    probe = c.open(layer)
    a = probe.activations(x)
    return [c.logits(x), a, probe.gradients(x, 1), probe.head(a)]


def off(got: Tensor, want: Tensor) -> float:
    """The difference as a share of what it should be. A few ReLUs switch by rounding alone, so all numbers count."""
    return float((got - want).norm() / want.norm())


class Around(nn.Module):
    """A network whose output is changed by a function."""

    def __init__(self, change: Any, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.change = inner if inner is not None else net(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.inner(x))


# ---------------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float64, 1e-5), (torch.float16, 0.02), (torch.bfloat16, 0.1)], ids=str
)
def test_every_precision_gives_the_numbers_of_float32(dtype: torch.dtype, share: float) -> None:
    x, module = pictures(), net()
    want = numbers(opened(module), x)
    c = opened(copy.deepcopy(module).to(dtype))
    assert c.default_layer == "f2"
    for got, right in zip(numbers(c, x), want, strict=True):
        assert got.dtype == torch.float32
        assert off(got, right) < share
    assert c.open("f2").activations(x).abs().max() > 0
    assert xcore.explain("craft", c, x, target="a", options={"k": 2}).concepts


class MixedBody(Net):
    """A stem in float32 and a body in bfloat16, which the forward pass casts to."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f3(self.f2(self.f1(x).bfloat16())).mean((2, 3)).float())


class Autocast(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


@pytest.mark.parametrize("kind", [MixedBody, Autocast])
def test_mixed_precision(kind: type[Net]) -> None:
    module = kind().eval()
    module.load_state_dict(net().state_dict())
    if kind is MixedBody:
        module.f2.bfloat16(), module.f3.bfloat16()
    for got, right in zip(numbers(opened(module), pictures()), numbers(opened(net()), pictures()), strict=True):
        assert off(got, right) < 0.1


def test_quantised_layers_have_no_gradients() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        c = opened(torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8))
    assert c.can == frozenset()
    torch.testing.assert_close(c.logits(pictures()), opened(net()).logits(pictures()), atol=0.02, rtol=0)
    with pytest.raises(NotApplicable, match=r"quantised, first in 'fc'"):
        c.open("f2")


# ----------------------------------------------------------------------------------------------------------- channels


def test_a_network_of_one_channel_reads_grey() -> None:
    module, grey, colour = net(channels=1), pictures(channels=1), pictures()
    c = opened(module)
    with torch.no_grad():
        assert torch.equal(c.logits(grey), module(grey.images[:, :1]))  # grey stays as it is, to the bit
        weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        torch.testing.assert_close(c.logits(colour), module((colour.images * weights).sum(1, keepdim=True)))
    assert any("luminance" in note for note in c.notes)
    assert any(
        "luminance" in note for note in xcore.explain("craft", module, colour, target=0, class_names=NAMES).notes
    )
    assert not opened(net()).notes


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_numbers_of_channels_are_refused_by_name(channels: int) -> None:
    with pytest.raises(
        UsageError, match=rf"Net takes {channels} channels \(its first layer 'f1.0'\), and pictures have 3"
    ):
        opened(net(channels=channels)).logits(pictures())
    padded = opened(net(channels=channels), preprocess=lambda x: x.repeat(1, 5, 1, 1)[:, :channels])
    assert padded.logits(pictures()).shape == (4, 3)


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_of_vectors(flatten: bool, channels: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(channels * 28 * 28, 5), nn.Tanh(), nn.Linear(5, 3)]
    module = nn.Sequential(*([nn.Flatten()] if flatten else []), *layers).eval()
    c = TorchClassifier(module, NAMES)  # its size follows from the length of its vectors
    x = pictures(side=28, channels=channels)
    with torch.no_grad():
        torch.testing.assert_close(c.logits(x), module(x.images[:, :channels].flatten(1)))
    assert c.open(c.default_layer).gradients(x, 0).abs().sum() > 0
    assert sum("luminance" in note for note in c.notes) == (channels == 1)
    assert sum("flattened" in note for note in c.notes) == (not flatten)


def test_vectors_that_no_picture_fits() -> None:
    with pytest.raises(UsageError, match="its first layer '1' reads vectors of 7 numbers"):
        _ = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), NAMES).layers


# ------------------------------------------------------------------------------- weights that are not there, and modes


def test_lazy_layers_are_named() -> None:
    module = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    for make in (opened, as_classifier):
        with pytest.raises(UsageError, match=r"lazy layers that no input has passed: 0, 3 .*run model\(images\) once"):
            make(module)


def test_weights_on_the_meta_device_are_named() -> None:
    with torch.device("meta"):
        module = Net()
    with pytest.raises(UsageError, match=r"on the meta device and hold no numbers, first 'f1.0.weight'.*assign=True"):
        opened(module)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="device 'cuda' cannot be used"):
        opened(net(), device="cuda")


def test_training_mode_is_left_and_not_used() -> None:
    module, x = net().train(), pictures()
    before = copy.deepcopy(module.state_dict())
    xcore.explain("craft", module, x, target=0, class_names=NAMES)
    assert all(part.training for part in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(opened(module).logits(x), opened(net()).logits(x))


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("called", [True, False])
def test_inference_mode(made: bool, called: bool) -> None:
    x = pictures()
    want = numbers(opened(net()), x)
    with torch.inference_mode(made):
        module = net()
    with torch.inference_mode(called):
        got = numbers(opened(module), Samples("image", x.images.clone(), x.ids))
        explained = xcore.explain("craft", module, x.images.clone(), target=0, class_names=NAMES, options={"k": 2})
    for ours, right in zip(got, want, strict=True):
        torch.testing.assert_close(ours, right)
    torch.testing.assert_close(explained.concepts[0].maps, xcore.explain(
        "craft", net(), x.images, target=0, class_names=NAMES, options={"k": 2}
    ).concepts[0].maps)  # fmt: skip


def test_weights_of_inference_mode_stay_tied() -> None:
    with torch.inference_mode():
        module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        module[1].weight = module[0].weight
    made = plain(module)
    assert made[1].weight is made[0].weight is not module[0].weight
    assert not made[0].weight.is_inference()


# ----------------------------------------------------------------------------- compiled, scripted, traced and exported


def scripted(module: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def traced(module: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(module, pictures().images)


def exported(module: nn.Module) -> Any:
    return torch.export.export(module, (pictures().images,), dynamic_shapes=({0: torch.export.Dim("n")},))


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        (scripted, r"scripted \(torch.jit.script\)"),
        (traced, r"traced \(torch.jit.trace\)"),
        (exported, r"exported \(torch.export\)"),
        (lambda module: exported(module).module(), r"exported \(torch.export\)"),
    ],
)
def test_modules_without_layers_are_black_boxes(close: Any, reason: str) -> None:
    module, x = net(), pictures()
    closed = close(module)
    torch.testing.assert_close(as_classifier(closed, NAMES).logits(x), opened(module).logits(x))
    with pytest.raises(
        NotApplicable, match=rf"craft needs activations.*{reason}.*pass the module that it was made from"
    ):
        xcore.explain("craft", closed, x, target=0, class_names=NAMES)
    with pytest.raises(NotApplicable, match=reason):
        as_classifier(closed, NAMES).open("f2")
    done = xcore.explain("eac", closed, x.take([0]), target=0, class_names=NAMES, options={"coalitions": 30})
    assert done.concepts


def test_a_scripted_part_leaves_the_others_open() -> None:
    module = net()
    module.f3 = scripted(module.f3)
    c = opened(module)
    assert c.default_layer == "f2"
    assert not [name for name in c.layers if name.startswith("f3")]
    for ours, right in zip(numbers(c, pictures()), numbers(opened(net()), pictures()), strict=True):
        torch.testing.assert_close(ours, right)


def test_a_program_for_one_size_of_batch_says_so() -> None:
    program = torch.export.export(net(), (pictures(3).images,))
    with pytest.raises(UsageError, match=r"exported for one size of batch.*dynamic_shapes"):
        as_classifier(program, NAMES).logits(pictures())


def test_a_traced_graph_of_fx_is_opened() -> None:
    c = opened(torch.fx.symbolic_trace(net()))
    torch.testing.assert_close(
        c.open("f2.0").activations(pictures()), opened(net()).open("f2.0").activations(pictures())
    )


@pytest.mark.parametrize("given", [object(), "a string", 3, lambda x: x])
def test_what_is_no_module_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="is no classifier"):
        as_classifier(given, NAMES)


# ------------------------------------------------------------------------------------------------------------ wrappers


class AveragesOnly(nn.Module):
    """Holds the averaged copy of a network and has no forward pass, as ModelEmaV2 of timm."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)


def with_lora(module: nn.Module) -> Any:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(module, peft.LoraConfig(r=2, target_modules=["fc"], init_lora_weights=False))


@pytest.mark.parametrize(
    "wrap",
    [
        torch.optim.swa_utils.AveragedModel,
        AveragesOnly,
        nn.DataParallel,
        lambda module: torch.compile(module, backend="eager", fullgraph=True),
        lambda module: module.to(memory_format=torch.channels_last),
    ],
)
def test_wrapped_networks_are_the_plain_network(wrap: Any) -> None:
    c = opened(wrap(net()).eval())
    assert c.default_layer == "f2"
    assert c.open("f2").activations(pictures()).is_contiguous()
    for ours, right in zip(numbers(c, pictures()), numbers(opened(net()), pictures()), strict=True):
        torch.testing.assert_close(ours, right)


def test_a_network_with_adapters_of_peft() -> None:
    module = with_lora(net())
    c, x = opened(module), pictures()
    assert c.default_layer == "base_model.model.f2"
    with torch.no_grad():
        torch.testing.assert_close(c.logits(x), module.eval()(x.images))
    assert (c.logits(x) - opened(net()).logits(x)).abs().max() > 1e-4
    probe = c.open(c.default_layer)
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))


def test_a_network_of_transformers_names_its_classes() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=48, patch_size=8,
        id2label={0: "ant", 1: "bee", 2: "cow"}, label2id={"ant": 0, "bee": 1, "cow": 2},
    )  # fmt: skip
    module = transformers.ViTForImageClassification(config).eval()
    for wrapped in (module, nn.DataParallel(module)):
        c = as_classifier(wrapped)
        assert c.classes == ("ant", "bee", "cow")
        assert c.open(c.default_layer).activations(pictures(side=48)).shape == (4, 37, 16)  # its own size, not 224
        assert any("image processor" in note for note in c.notes)
    config.problem_type = "multi_label_classification"
    assert as_classifier(module).scores == "independent"


# ------------------------------------------------------------------------------------------------------------- outputs

Outputs = namedtuple("Outputs", ["logits", "aux"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: {"logits": y, "features": y}, False),
        (lambda y: OrderedDict(features=y[:, :2], scores=y), True),
        (lambda y: SimpleNamespace(logits=y, loss=None), False),
        (lambda y: Outputs(y, y), False),
        (lambda y: (y,), False),
        (lambda y: [y.mean(), y], True),
        (lambda y: (y, y[:, :2]), True),
        (lambda y: y[:, :, None, None], False),
    ],
)
def test_logits_are_found_in_what_a_network_returns(change: Any, said: bool) -> None:
    c, x = opened(Around(change)), pictures()
    torch.testing.assert_close(c.logits(x), opened(net()).logits(x))
    assert c.default_layer == "inner.f2"
    probe = c.open("inner.f2")
    torch.testing.assert_close(probe.head(probe.activations(x)), c.logits(x))
    assert probe.gradients(x, 1).abs().sum() > 0
    assert any("that the network returns" in note for note in c.notes) == said


def test_logits_that_cannot_be_told_apart_are_asked_for() -> None:
    module, x = Around(lambda y: (y, 2 * y)), pictures()
    with pytest.raises(UsageError, match=r"several tensors \(0: \(2, 3\), 1: \(2, 3\)\) .*output=NAME or INDEX"):
        opened(module).logits(x)
    told = xcore.open(module, class_names=NAMES, output=1)
    torch.testing.assert_close(told.logits(x), 2 * opened(net()).logits(x))
    with pytest.raises(UsageError, match="unknown tensor in what the network returns"):
        opened(module, output="logit").logits(x)
    with pytest.raises(UsageError, match=r"must return logits of shape \(n, classes\), got shape \(2,\) of int64"):
        opened(Around(lambda y: y.argmax(1))).logits(x)


def test_a_squeezed_output_keeps_the_batch() -> None:
    c, x = opened(Around(lambda y: y[:, :, None].squeeze())), pictures()
    c.logits(x)
    torch.testing.assert_close(c.logits(x.take([0])), opened(net()).logits(x.take([0])))


def test_auxiliary_outputs_of_training_mode_do_not_count() -> None:
    class Aux(Net):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return (y, y) if self.training else y

    assert opened(Aux().train()).logits(pictures()).shape == (4, 3)


# ---------------------------------------------------------------------------------------------------- kinds of scores


@pytest.mark.parametrize("change", [lambda y: y, lambda y: y[:, 0], lambda y: y.squeeze()])
def test_one_logit_is_two_classes(change: Any) -> None:
    module, x = Around(change, net(outputs=1)), pictures()
    with torch.no_grad():
        z = module.inner(x.images)[:, 0]
    two = opened(module, ("cat", "dog"))  # the labels 0 and 1
    torch.testing.assert_close(two.logits(x), torch.stack([-z, z], 1))
    torch.testing.assert_close(probabilities(two.logits(x), scores_of(two))[:, 1], z.sigmoid())
    torch.testing.assert_close(two.logits(x.take([0])), two.logits(x)[:1])
    assert two.scores == "independent"
    one = opened(module, ("dog",))
    assert one.classes == ("dog", "not dog")
    torch.testing.assert_close(one.logits(x), torch.stack([z, -z], 1))
    torch.testing.assert_close(opened(module, one.classes).logits(x), one.logits(x))  # as an explanation names them
    a = one.open("inner.f2")
    torch.testing.assert_close(a.gradients(x, 0), -a.gradients(x, 1))
    assert any("'dog', and 'cat' has minus it" in note for note in two.notes)
    assert as_classifier(module, like=x).classes == ("class 0", "class 1")
    with pytest.raises(UsageError, match="1 logits but there are 3 class names"):
        opened(module).logits(x)


def test_several_labels_at_once() -> None:
    c = opened(net(), multi_label=True)
    y = c.logits(pictures())
    torch.testing.assert_close(probabilities(y, scores_of(c)), y.sigmoid())
    assert any("do not exclude one another" in note for note in c.notes)
    torch.testing.assert_close(probabilities(y, scores_of(opened(net()))), y.softmax(1))


@pytest.mark.parametrize(
    ("change", "outputs", "ending"),
    [
        (lambda y: y.softmax(1), 3, "softmax"),
        (nn.Softmax(1), 3, "softmax"),
        (torch.sigmoid, 3, "sigmoid"),
        (lambda y: F.log_softmax(y, 1), 3, "log-softmax"),
        (lambda y: y.sigmoid().squeeze(1), 1, "sigmoid"),
    ],
)
def test_networks_that_end_in_probabilities_are_told(change: Any, outputs: int, ending: str) -> None:
    c, x = opened(Around(change, net(outputs=outputs)), NAMES if outputs == 3 else ("no", "yes")), pictures()
    y = c.logits(x)
    assert c.scores == ("exclusive" if ending == "log-softmax" else "probabilities")
    assert any(f"the network ends in {ending}" in note for note in c.notes)
    if outputs == 1:
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))
    assert not any("ends in" in note for note in opened(net()).notes)


def test_a_function_that_gives_probabilities() -> None:
    shares = FunctionClassifier(lambda x: x.mean((2, 3)).softmax(1), NAMES)
    scores = FunctionClassifier(lambda x: x.mean((2, 3)), NAMES)
    y = shares.logits(pictures())
    assert torch.equal(probabilities(y, scores_of(shares)), y)
    scores.logits(pictures())
    assert scores_of(scores) == "exclusive"


# -------------------------------------------------------- results that depend on the batch, or differ from call to call


class Noisy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.5, training=True))


class Centred(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(0)


class Statistics(Net):
    def __init__(self) -> None:
        super().__init__()
        self.f2[1] = nn.BatchNorm2d(12, track_running_stats=False)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Noisy, "differ from call to call"),
        (Centred, "depend on the others in its batch"),
        (Statistics, r"depend on the others in its batch ('f2.1' takes its statistics from the batch)"),
        (Net, ""),
    ],
)
def test_results_that_depend_on_more_than_the_sample(kind: type[Net], said: str) -> None:
    torch.manual_seed(0)
    module, x = kind().eval(), pictures()
    before = torch.get_rng_state()
    _ = opened(module).layers
    assert torch.equal(torch.get_rng_state(), before)
    notes = xcore.explain("craft", module, x, target=0, class_names=NAMES, options={"k": 2}).notes
    assert any(said in note for note in notes) if said else not any("batch" in n or "call to call" in n for n in notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_no_dependence_on_the_batch(dtype: torch.dtype) -> None:
    c = opened(net().to(dtype))
    _ = c.layers
    assert not c.notes


# ---------------------------------------------------------------------------------------------- changes of the weights


def by_data(weight: Tensor) -> None:
    weight.data.mul_(2)


def by_numpy(weight: Tensor) -> None:
    weight.detach().numpy()[:] *= 2


def by_exchange(weight: Tensor) -> None:
    weight.data.copy_(weight.data.flip(0).clone())


@pytest.mark.parametrize("write", [by_data, by_numpy, by_exchange])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_weights_that_change_give_new_results(write: Any, format: torch.memory_format) -> None:
    module, x = net().to(memory_format=format), pictures()
    c = opened(module)
    before, a = c.logits(x), c.open("f2").activations(x)
    version = module.f2[0].weight._version
    write(module.f2[0].weight)
    assert module.f2[0].weight._version == version  # which is why the content counts
    with torch.no_grad():
        torch.testing.assert_close(c.logits(x), module(x.images))
    assert not torch.allclose(c.logits(x), before)
    assert not torch.allclose(c.open("f2").activations(x), a)


def test_the_state_of_weights_sees_every_number() -> None:
    module = nn.Linear(4099, 3)
    states = {weights_state(module)}
    for i in (0, 5, 4098):
        for row in range(3):
            module.weight.data[row, i] += 1e-3
            states.add(weights_state(module))
    module.bias.data[2] += 1e-6
    states.add(weights_state(module))
    assert len(states) == 11
    assert weights_state(module) == weights_state(copy.deepcopy(module))


# ------------------------------------------------------------------------------------------------------------- layouts


class Fixed(nn.Module):
    """Takes pictures of 7 x 7 only, so that all axes of its maps may be 7 long."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.pool(self.block(self.stem(x)))


class Pass(nn.Module):
    """A block of which the code says nothing about axes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("abcd->abcd", x) * 2


class First(Fixed):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(3, 7, 3, padding=1), nn.Sequential(nn.ReLU()), nn.Linear(7, 3)

    def pool(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Last(First):
    """Blocks of channels last, as in Swin and ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.LayerNorm(7), nn.Linear(7, 7), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.stem(x).permute(0, 2, 3, 1)
        return self.fc((a + self.block(a)).mean((1, 2)))


class Tokens(First):
    """As many tokens as channels: 49 of both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 49, 3, padding=1), nn.Linear(49, 3)
        self.block = nn.Sequential(nn.LayerNorm(49), nn.Linear(49, 49), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.fc(self.block(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class OwnNorm(Tokens):
    """Tokens with a norm over the channels that is written out, as in language models."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.block(self.stem(x).flatten(2).transpose(1, 2))
        return self.fc((a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-6))[:, 0])


class ChannelsOfTokens(Tokens):
    """Tokens with the channels first, (n, C, T), as a convolution over a sequence has them."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv1d(49, 49, 1), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.fc(self.block(self.stem(x).flatten(2)).mean(2))


def raw(module: nn.Module, layer: str, x: Samples) -> Tensor:
    seen: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        module(x.images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("kind", "layer", "order"),
    [
        (First, "stem", (0, 1, 2, 3)),
        (First, "block", (0, 1, 2, 3)),
        (Last, "stem", (0, 1, 2, 3)),
        (Last, "block", (0, 3, 1, 2)),
        (Last, "block.1", (0, 3, 1, 2)),
        (Tokens, "block", (0, 1, 2)),
        (OwnNorm, "block", (0, 1, 2)),
        (ChannelsOfTokens, "block", (0, 2, 1)),
    ],
)
def test_axes_of_equal_length_are_told_apart(kind: type[nn.Module], layer: str, order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = kind().eval(), pictures(side=7)
    c = opened(module, input_size=7)
    probe = c.open(layer)
    torch.testing.assert_close(probe.activations(x), raw(module, layer, x).permute(order))
    torch.testing.assert_close(probe.head(probe.activations(x), x), c.logits(x))


def test_axes_that_nothing_tells_are_asked_for() -> None:
    class Unclear(First):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.fc = Pass(), nn.Linear(343, 3)

        def pool(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1))

    module, x = Unclear().eval(), pictures(side=7)
    c = opened(module, input_size=7)
    assert c.layers == ("stem", "fc")
    with pytest.raises(UsageError, match=r"nothing in the network shows.*layouts=\{'block': 'NCHW'\}"):
        c.open("block")
    said = opened(module, input_size=7, layouts={"block": "NHWC"}).open("block")
    torch.testing.assert_close(said.activations(x), raw(module, "block", x).permute(0, 3, 1, 2))
    torch.testing.assert_close(said.head(said.activations(x)), c.logits(x))
    with pytest.raises(UsageError, match="unknown order of axes 'NCWH'"):
        opened(module, layouts={"block": "NCWH"})


def test_a_network_that_changes_its_input_in_place_changes_no_samples() -> None:
    class InPlace(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sub_(0.5).mul_(2))

    module, x = InPlace().eval(), pictures()
    before = x.images.clone()
    with torch.no_grad():
        want = module(before.clone())
    c = opened(module)
    probe = c.open(c.default_layer)
    for _ in range(2):
        torch.testing.assert_close(c.logits(x), want)
        torch.testing.assert_close(probe.head(probe.activations(x)), want)
        by_data(module.fc.weight), by_data(module.fc.bias)
        want = 2 * want
    assert torch.equal(x.images, before)


# -------------------------------------------------------------------------------------------------- reasons, and notes


def test_the_reason_of_a_failure_is_the_networks_own() -> None:
    class Broken(Net):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x * mask)

    with pytest.raises(UsageError, match=r"fails on pictures of any size: TypeError.*missing.*'mask'.*preprocess"):
        _ = TorchClassifier(Broken(), NAMES).layers
    with pytest.raises(CannotRun, match=r"fails on an input of shape \(2, 3, 32, 32\): TypeError"):
        opened(Broken()).logits(pictures())
    large = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 46 * 46, 3))
    with pytest.raises(UsageError, match=r"takes no picture of a common size: .*pass input_size"):
        _ = TorchClassifier(large, NAMES).layers
    with pytest.raises(UsageError, match=r"takes no picture of 32 x 32: .*input_size"):
        _ = opened(large).layers
    assert TorchClassifier(large, NAMES, input_size=48).layers


def test_a_network_that_expects_normalised_pictures_is_told() -> None:
    module = net()
    module.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "architecture": "resnet50"}
    notes = xcore.explain("craft", module, pictures(), target=0, class_names=NAMES, options={"k": 2}).notes
    assert any(r"normalised by mean (0.485, 0.456, 0.406)" in n and "xcore.open('timm:resnet50')" in n for n in notes)
    assert not opened(module, preprocess=lambda x: x * 2 - 1).notes
    module.pretrained_cfg = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    assert not opened(module).notes


def test_infinite_and_missing_numbers_are_one_line() -> None:
    masked = Around(lambda y: y.index_fill(1, torch.tensor([2]), float("-inf"))).eval()
    assert xcore.explain("craft", masked, pictures(), target="a", class_names=NAMES, options={"k": 2}).concepts
    with pytest.raises(UsageError, match="the logit of class 'c' is -inf for 4 of 4 samples"):
        xcore.explain("craft", masked, pictures(), target="c", class_names=NAMES)


class Mixer(Tokens):
    """A linear layer over positions between two that read channels, as in mixers."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.norm, self.mix = (
            nn.Sequential(nn.Linear(49, 49), nn.GELU()),
            nn.LayerNorm(49),
            nn.Linear(49, 49),
        )

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.block(self.stem(x).flatten(2).transpose(1, 2))
        return self.fc((a + self.mix(self.norm(a).transpose(1, 2)).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(("layer", "order"), [("block", (0, 1, 2)), ("norm", (0, 1, 2)), ("mix", (0, 2, 1))])
def test_linear_layers_over_positions_do_not_turn_tokens(layer: str, order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = Mixer().eval(), pictures(side=7)
    probe = opened(module, input_size=7).open(layer)
    torch.testing.assert_close(probe.activations(x), raw(module, layer, x).permute(order))


def test_the_example_of_the_page_about_networks(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "networks.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "docs/networks.md", "exec"), {"model": net(outputs=1), "images": pictures().images})
    assert "'dog', and 'cat' has minus it" in capsys.readouterr().out


def test_preprocessing_that_works_in_place_leaves_the_samples_as_they_are() -> None:
    x = pictures()
    before = x.images.clone()
    opened(net(), preprocess=lambda images: images.sub_(0.5).div_(0.2)).logits(x)
    assert torch.equal(x.images, before)
