"""The small residual network, written out, is the one that timm makes of its settings: in every name and every bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch
from torch import Tensor, nn
from xcore_minizoo.cnn import ARCHITECTURE, SETTINGS, ResNet, build


def seeded(make: object) -> nn.Module:
    torch.manual_seed(3)
    made: nn.Module = make()  # type: ignore[operator]
    return made


def stirred(module: nn.Module) -> nn.Module:
    """With other numbers in all weights and statistics, so that no part has no effect."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module


def numbers(module: nn.Module, training: bool) -> list[Tensor]:
    """Logits, gradients, and the statistics afterwards."""
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    y = module.train(training)(x)
    y.square().sum().backward()
    grads = [weight.grad for weight in module.parameters() if weight.grad is not None]
    return [y.detach(), *grads, *module.state_dict().values()]


@pytest.mark.parametrize("outputs", [9, 0])
def test_it_is_the_network_of_timm(outputs: int) -> None:
    with torch.random.fork_rng():
        ours = seeded(lambda: build(outputs))
        theirs = seeded(lambda: timm.create_model(ARCHITECTURE, pretrained=False, num_classes=outputs, **SETTINGS))
        assert isinstance(ours, ResNet)
        assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), f"an untrained network has another {name}"
        stirred(ours), stirred(theirs)
        for training in (False, True):
            for one, two in zip(numbers(ours, training), numbers(theirs, training), strict=True):
                assert torch.equal(one, two)


def test_other_settings_are_built_by_timm() -> None:
    with torch.random.fork_rng():
        wider = build(2, ARCHITECTURE, **{**SETTINGS, "channels": [24, 48, 64, 128]})
    assert not isinstance(wider, ResNet)
    assert wider.get_classifier().in_features == 128


def test_a_classifier_is_read_without_importing_timm() -> None:
    code = "import sys; from xcore_minizoo.models import clean; clean(); print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
