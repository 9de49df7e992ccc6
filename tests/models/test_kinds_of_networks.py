"""Networks as they lie about: each kind works as its float32 twin does, or is refused with its own reason."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from small_networks import NAMES, Net, net, numbers, off, opened, pictures
from torch import Tensor, nn

import xcore
from xcore.contract import NotApplicable, Samples, UsageError
from xcore.models.classifiers import TorchClassifier, as_classifier
from xcore.models.modules import plain, weights_state

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


def test_preprocessing_that_works_in_place_leaves_the_samples_as_they_are() -> None:
    x = pictures()
    before = x.images.clone()
    opened(net(), preprocess=lambda images: images.sub_(0.5).div_(0.2)).logits(x)
    assert torch.equal(x.images, before)
