"""What networks return: logits where they can be told, kinds of scores, and one line where something is wrong."""

from __future__ import annotations

import re
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import NAMES, Around, Net, net, opened, pictures
from torch import Tensor, nn

import xcore
from xcore.contract import UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier, as_classifier
from xcore.models.outputs import probabilities, scores_of
from xcore.models.torch_model import CannotRun

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


def test_the_example_of_the_page_about_networks(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "networks.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "docs/networks.md", "exec"), {"model": net(outputs=1), "images": pictures().images})
    assert "'dog', and 'cat' has minus it" in capsys.readouterr().out
