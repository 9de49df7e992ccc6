"""A cell that harms what others use is one failed row with its reason; the figures of others are as without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from xcore.api import bench

PLUGINS = Path(__file__).parents[1] / "plugins"

HARMS = {
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
"""Method of `harmful_plugin.py` -> what its row says."""


@pytest.fixture(scope="module", autouse=True)
def importable() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGINS)  # harmful_plugin.py builds on toy_plugin.py
        yield


def run(out: Path, methods: list[str], metrics: tuple[str, ...] = ("agreement",), **keys: Any) -> Any:
    plugins = [PLUGINS / name for name in ("toy_plugin.py", "harmful_plugin.py")]
    return bench(methods, out=out, plugins=plugins, data="shared", classes=["red"], metrics=list(metrics), **keys)


def figures(made: Any, label: str) -> list[Any]:
    """All that the rows of a method say but for times, and what stands in its records."""
    rows = [r for r in made.rows if r["label"] == label]
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "cached", "picture", "pictures", "folder")} for r in rows
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    made = run(tmp_path_factory.mktemp("alone") / "run", ["before", "after"])
    assert made.result.count("ok") == 2
    return made


@pytest.mark.parametrize("harm", HARMS)
def test_a_method_that_does_harm_is_one_failed_row_and_its_neighbours_never_see_it(
    harm: str, alone: Any, tmp_path: Path
) -> None:
    made = run(tmp_path / "run", ["before", harm, "after"])
    (row,) = (r for r in made.rows if r["label"] == harm)
    assert (row["status"], row["concept"]) == ("failed", None)
    assert re.search(HARMS[harm], row["reason"]), row["reason"]
    for label in ("before", "after"):
        assert figures(made, label) == figures(alone, label)
    assert not made.result.score_failures
