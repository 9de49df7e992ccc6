"""Methods and metrics that change what others use, each in one way, and neighbours whose figures would show it."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from harms import METHODS, dtype, harmful_kept, network, weights
from toy_plugin import COLOURS, Crops, make_data

from xcore import hookimpl


class Neighbour(Crops):
    """Its figures and words show the weights, hooks, modes and settings that it found."""

    def explain(self, task: Any) -> Any:
        from dataclasses import replace

        import torch

        made = super().explain(task)
        net, random_set = task.classifier.model.module, task.random_set(5, task.seed)
        # By the module itself, too, since the classifier remembers logits of the same pictures.
        told = [task.classifier.logits(random_set), net(random_set.images).detach(), net(task.samples.images).detach()]
        values = sorted((float(x[:, task.target].mean()) for x in told), reverse=True)
        words = (*settings(), *map(str, task.classifier.classes), f"batches of {task.classifier.batch_size}")
        for name, p in (*net.named_parameters(), *net.named_buffers()):
            if name == "cache":  # which `Restores` leaves, as networks do
                continue
            words += (f"{float(p.double().sum()):.9g} {p.requires_grad} {p.grad is None} {p._backward_hooks}",)
        words += tuple(f"{m.training} {len(m._forward_hooks)} {len(m._backward_hooks)}" for m in net.modules())
        words += (str(torch.ones(1).requires_grad_().mul(2).requires_grad),)
        concepts = (replace(c, importance=v, words=words) for c, v in zip(made.concepts, values, strict=True))
        return replace(made, concepts=tuple(concepts))


def settings() -> tuple[str, ...]:
    """The settings of the process that this plugin's methods change."""
    import numpy as np
    import torch

    mask = os.umask(0o077)
    os.umask(mask)
    return (
        str(torch.get_default_dtype()),
        str(torch.get_default_device()),
        str(torch.is_grad_enabled()),
        str(torch.are_deterministic_algorithms_enabled()),
        str(torch.get_num_threads()),
        str(os.environ.get("TOY_HARM")),
        os.getcwd(),
        oct(mask),
        str(("ignore", None, Warning, None, 0) in warnings.filters),
        str(type(sys.stdout) is io.StringIO),
        str(signal.getsignal(signal.SIGINT) is signal.SIG_IGN),
        str(np.geterr()),
    )


class Agreement:
    """The logits of the concepts' samples, of the held-out ones and of a random set."""

    direction = "higher"
    needs = frozenset({"samples:image"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: Any) -> list[Any]:
        from xcore.contract import Score

        (run,) = runs
        sets = [run.heldout, run.heldout_random_set(5, 0)]
        base = sum(float(run.task.classifier.logits(s)[:, run.task.target].mean()) for s in sets)
        values = [float(run.task.classifier.logits(c.samples).mean()) + base for c in run.explanation.concepts]
        return [Score("agreement", i, v, n=1) for i, v in enumerate(values)]


def harming(harm: Callable[[Any], None], end: type[BaseException] | None = None) -> Any:
    class Harming(Neighbour):
        def explain(self, task: Any) -> Any:
            made = super().explain(task)
            harm(task)
            if end is not None:
                raise end("not here")
            return made

    return Harming


def held_out(run: Any) -> None:
    run.heldout.images.zero_()


def held_out_by_numpy(run: Any) -> None:
    run.heldout.images.numpy()[:] = 0


def held_out_random_set(run: Any) -> None:
    drawn = run.heldout_random_set(5, 0)
    drawn.images.zero_()
    harmful_kept.append(drawn)


def pictures(run: Any) -> None:
    run.explanation.concepts[0].samples.images.zero_()


def metric_weights(run: Any) -> None:
    weights(run.task)


def metric_dtype(run: Any) -> None:
    dtype(run.task)


METRICS: dict[str, Callable[[Any], None]] = {
    f.__name__: f for f in (held_out, held_out_by_numpy, held_out_random_set, pictures, metric_weights, metric_dtype)
}


def harming_metric(harm: Callable[[Any], None]) -> Any:
    class Harming(Agreement):
        def score(self, runs: Any) -> list[Any]:
            from dataclasses import replace

            made = [replace(s, metric=harm.__name__) for s in super().score(runs)]
            harm(runs[0])
            return made

    return Harming


def make_net(options: object) -> Any:
    import torch

    from xcore.models.classifiers import TorchClassifier

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 3),
        )
    net.register_buffer("scale", torch.ones(3))
    return TorchClassifier(net.requires_grad_(False), COLOURS)


_one: list[Any] = []


def make_the_same_net(options: object) -> Any:
    """A factory that hands out one object for ever."""
    if not _one:
        _one.append(make_net(options))
    return _one[0]


class Restores(Neighbour):
    """Changes nearly everything, and puts it back bit for bit; it leaves a cache."""

    def explain(self, task: Any) -> Any:
        import torch

        net, made = network(task), super().explain(task)
        weight, threads, training = net[4].weight, torch.get_num_threads(), net.training
        kept = weight.clone()
        handle = net[4].register_forward_hook(lambda m, args, out: out * 0)
        weight.zero_()
        net.train(not training)
        torch.set_num_threads(threads + 1)
        os.environ["TOY_HARM"] = "1"
        task.classifier.logits(task.samples)
        torch.set_num_threads(threads)
        net.register_buffer("cache", torch.ones(2), persistent=False)
        net.train(training)
        weight.copy_(kept)
        handle.remove()
        del os.environ["TOY_HARM"]
        random.random()
        return made


class Reads(Neighbour):
    """Its importances are what an artifact that all cells share holds."""

    made = 7

    def explain(self, task: Any) -> Any:
        from dataclasses import replace

        found = task.artifact("number", {"of": "all"}, lambda d: (d / "n.txt").write_text(str(self.made)))
        made = Crops.explain(self, task)
        value = float((found / "n.txt").read_text())
        return replace(made, concepts=tuple(replace(c, importance=value) for c in made.concepts))


class Poisons(Reads):
    """Makes that artifact, and changes weights."""

    made = 5

    def explain(self, task: Any) -> Any:
        made = super().explain(task)
        weights(task)
        return made


def shared_data(options: object) -> Any:
    """A data set that keeps its pictures and hands out the same tensors each time."""
    data = make_data(options)
    drawn: dict[Any, Any] = {}
    draw = data.samples  # type: ignore[attr-defined]

    def samples(*given: Any) -> Any:
        if given not in drawn:
            drawn[given] = draw(*given)
        return drawn[given]

    data.samples = samples  # type: ignore[attr-defined]
    data.defaults = {"classifier": "plain-net"}  # type: ignore[attr-defined]
    return data


TOLD = {
    "weights": r"weights changed the weights of the classifier plain-net: 4\.weight \(work on a copy",
    "weights_by_data": r"changed the weights of the classifier plain-net: 4\.weight",
    "weights_by_numpy": r"changed the weights of the classifier plain-net: 4\.weight",
    "weights_replaced": r"changed the weights of the classifier plain-net: 4\.weight",
    "buffer": r"changed the buffers of the classifier plain-net: scale",
    "part_replaced": r"replaced a part of the classifier plain-net: 1",
    "forward_hook": r"left a forward hook on the classifier plain-net: 4 \(remove it",
    "forward_pre_hook": r"left a forward pre-hook on the classifier plain-net: 4",
    "backward_hook": r"left a backward hook on the classifier plain-net: 4",
    "parameter_hook": r"left a hook on weights of the classifier plain-net: 4\.weight",
    "training_mode": r"left the classifier plain-net in evaluation mode \(put it back",
    "requires_grad": r"left requires_grad on in the classifier plain-net: 0\.bias, 0\.weight, 4\.bias and 1 more",
    "gradients": r"left gradients in the classifier plain-net",
    "forward": r"replaced the forward of the classifier plain-net \(put",
    "forward_of_a_class": r"replaced the forward of the classifier plain-net: 2",
    "logits_replaced": r"replaced logits\(\) of the classifier plain-net",
    "batch_size": r"changed batch_size of the classifier plain-net from 64 to 1",
    "names": r"changed classes of the classifier plain-net",
    "dtype": r"changed the default dtype of torch from torch\.float32 to torch\.float64 \(pass dtype=",
    "default_device": r"changed the default device of torch from cpu to meta",
    "grad_mode": r"changed the gradient mode of torch from True to False",
    "deterministic": r"changed the deterministic mode of torch: on",
    "threads": r"changed the number of threads of torch",
    "environment": r"changed environment variables: TOY_HARM",
    "directory": r"changed the working directory from .* to /",
    "umask": r"changed the mask of file permissions \(umask\) from \d+ to 000",
    "warning_filters": r"changed the filters of warnings",
    "stdout": r"changed sys\.stdout",
    "handlers": r"changed the handlers of signals: SIGINT",
    "numpy_errors": r"changed how numpy treats errors",
    "explained": r"changed the samples that it was given \(the explained samples\) \(work on a copy",
    "explained_by_numpy": r"changed the samples that it was given \(the explained samples\)",
    "drawn_set": r"changed the samples that it was given \(a random set\)",
    "data_samples": r"changed the samples that it was given \(samples of the data set\)",
    "weights_and_skip": r"weights_and_skip changed the weights of the classifier plain-net",
    "weights_and_error": r"ValueError: not here",
}
"""Method -> what its row says, as a regular expression."""

METRICS_TOLD = {
    "held_out": r"held_out changed the samples that it was given \(the held-out samples\)",
    "held_out_by_numpy": r"changed the samples that it was given \(the held-out samples\)",
    "held_out_random_set": r"changed the samples that it was given \(a held-out random set\)",
    "pictures": r"changed the samples that it was given \(those of the concept 'part 0'\)",
    "metric_weights": r"metric_weights changed the weights of the classifier plain-net: 4\.weight",
    "metric_dtype": r"changed the default dtype of torch",
}
"""Metric -> what is said of it."""


@hookimpl
def register_explainers(register: Any) -> None:
    register("before", Neighbour, summary="a good method")
    register("after", Neighbour, summary="the same under another name")
    register("reads", Reads, summary="reads what all cells share")
    register("poisons", Poisons, summary="makes what all cells share, and does harm")
    register("restores", Restores, summary="puts back what it changes")
    for name, harm in METHODS.items():
        register(name, harming(harm), summary="a method that does harm")
    for name in (*METHODS, "weights_and_error", "weights_and_skip"):
        register(f"after_{name}", Neighbour, summary="a good method")
    register("weights_and_error", harming(weights, ValueError), summary="does harm and fails")

    from xcore.contract import NotApplicable

    register("weights_and_skip", harming(weights, NotApplicable), summary="does harm and says that it does not apply")


@hookimpl
def register_metrics(register: Any) -> None:
    register("agreement", Agreement, summary="a good metric")
    for name, harm in METRICS.items():
        register(name, harming_metric(harm), summary="a metric that does harm")


@hookimpl
def register_classifiers(register: Any) -> None:
    register("plain-net", make_net, summary="a small network")
    register("one-net", make_the_same_net, summary="the same network each time")


@hookimpl
def register_datasets(register: Any) -> None:
    register("shared", shared_data, summary="keeps its pictures")
