"""What a method can do to the things that others use: each function does one harm. METHODS has them by name."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from toy_plugin import COLOURS


def network(task: Any) -> Any:
    return task.classifier.model.module


def weights(task: Any) -> None:
    import torch

    with torch.no_grad():
        network(task)[4].weight.add_(0.5)


def weights_by_data(task: Any) -> None:
    network(task)[4].weight.data += 0.5


def weights_by_numpy(task: Any) -> None:
    network(task)[4].weight.detach().numpy()[:] += 0.5


def weights_replaced(task: Any) -> None:
    import torch

    network(task)[4].weight = torch.nn.Parameter(torch.ones_like(network(task)[4].weight))


def buffer(task: Any) -> None:
    network(task).scale.mul_(2)


def part_replaced(task: Any) -> None:
    import torch

    network(task)[1] = torch.nn.Tanh()


def forward_hook(task: Any) -> None:
    network(task)[4].register_forward_hook(lambda m, args, out: out + 1)


def forward_pre_hook(task: Any) -> None:
    network(task)[4].register_forward_pre_hook(lambda m, args: (args[0] * 2,))


def backward_hook(task: Any) -> None:
    network(task)[4].register_full_backward_hook(lambda m, given, out: None)


def parameter_hook(task: Any) -> None:
    network(task)[4].weight.requires_grad_(True).register_hook(lambda g: g * 2)


def training_mode(task: Any) -> None:
    network(task).train(not network(task).training)


def requires_grad(task: Any) -> None:
    for p in network(task).parameters():
        p.requires_grad_(not p.requires_grad)


def gradients(task: Any) -> None:
    import torch

    for p in network(task).parameters():
        p.grad = torch.ones_like(p)


def forward(task: Any) -> None:
    net = network(task)
    own = net.forward
    net.forward = lambda x: own(x) + 1


def forward_of_a_class(task: Any) -> None:
    import torch

    own = torch.nn.AdaptiveAvgPool2d.forward
    torch.nn.AdaptiveAvgPool2d.forward = lambda self, x: own(self, x) + 1  # type: ignore[method-assign]


def logits_replaced(task: Any) -> None:
    own = task.classifier.logits
    task.classifier.logits = lambda x: own(x) + 1


def batch_size(task: Any) -> None:
    task.classifier.batch_size = 1


def names(task: Any) -> None:
    task.classifier.classes = COLOURS[::-1]


def dtype(task: Any) -> None:
    import torch

    torch.set_default_dtype(torch.float64)


def default_device(task: Any) -> None:
    import torch

    torch.set_default_device("meta")


def grad_mode(task: Any) -> None:
    import torch

    torch.set_grad_enabled(False)


def deterministic(task: Any) -> None:
    import torch

    torch.use_deterministic_algorithms(True)


def threads(task: Any) -> None:
    import torch

    torch.set_num_threads(torch.get_num_threads() + 1)


def environment(task: Any) -> None:
    os.environ["TOY_HARM"] = "1"


def directory(task: Any) -> None:
    os.chdir("/")


def umask(task: Any) -> None:
    os.umask(0)


def warning_filters(task: Any) -> None:
    warnings.simplefilter("ignore")


def stdout(task: Any) -> None:
    sys.stdout = io.StringIO()


def handlers(task: Any) -> None:
    signal.signal(signal.SIGINT, lambda number, frame: None)  # a shell may have it ignored already


def numpy_errors(task: Any) -> None:
    import numpy as np

    np.seterr(all="ignore")


def explained(task: Any) -> None:
    task.classifier.logits(task.samples)
    task.samples.images.zero_()
    task.classifier.logits(task.samples)


def explained_by_numpy(task: Any) -> None:
    task.samples.images.numpy()[:] = 0


def drawn_set(task: Any) -> None:
    drawn = task.random_set(5, 0)
    drawn.images.zero_()
    task.classifier.logits(drawn)
    harmful_kept.append(drawn)


harmful_kept: list[Any] = []


def data_samples(task: Any) -> None:
    drawn = task.data.samples("red", "train", 5, 0)
    drawn.images.zero_()
    harmful_kept.append(drawn)


METHODS: dict[str, Callable[[Any], None]] = {
    f.__name__: f
    for f in (
        weights,
        weights_by_data,
        weights_by_numpy,
        weights_replaced,
        buffer,
        part_replaced,
        forward_hook,
        forward_pre_hook,
        backward_hook,
        parameter_hook,
        training_mode,
        requires_grad,
        gradients,
        forward,
        forward_of_a_class,
        logits_replaced,
        batch_size,
        names,
        dtype,
        default_device,
        grad_mode,
        deterministic,
        threads,
        environment,
        directory,
        umask,
        warning_filters,
        stdout,
        handlers,
        numpy_errors,
        explained,
        explained_by_numpy,
        drawn_set,
        data_samples,
    )
}
