"""A cell that harms what others use is one failed row with its reason; the figures of others are as without it."""

from __future__ import annotations

import re
import signal
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


NOT_FIGURES = ("label", "method", "seconds", "cached", "picture", "pictures", "folder", "cost", "forwards", "record")


def figures(made: Any, label: str) -> list[Any]:
    """All that the rows of a method say but for its name and times."""
    rows = [r for r in made.rows if r["label"] == label]
    return [{k: v for k, v in r.items() if k not in NOT_FIGURES} for r in rows]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    made = run(tmp_path_factory.mktemp("alone") / "run", ["before", "after"])
    assert made.result.count("ok") == 2
    return made


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, importable: Any) -> Any:
    """One run of all methods that do harm, each of them between two that do not."""
    between = [name for harm in HARMS for name in (harm, f"after_{harm}")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind
    try:
        return run(tmp_path_factory.mktemp("together") / "run", ["before", *between])
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("harm", HARMS)
def test_a_method_that_does_harm_is_one_failed_row_and_its_neighbours_never_see_it(
    harm: str, alone: Any, together: Any
) -> None:
    (row,) = (r for r in together.rows if r["label"] == harm)
    assert (row["status"], row["concept"]) == ("failed", None)
    assert re.search(HARMS[harm], row["reason"]), row["reason"]
    assert figures(together, f"after_{harm}") == figures(together, "before") == figures(alone, "before")
    assert not together.result.score_failures


METRIC_HARMS = {
    "held_out": r"held_out changed the samples that it was given \(the held-out samples\)",
    "held_out_by_numpy": r"changed the samples that it was given \(the held-out samples\)",
    "held_out_random_set": r"changed the samples that it was given \(a held-out random set\)",
    "pictures": r"changed the samples that it was given \(those of the concept 'part 0'\)",
    "metric_weights": r"metric_weights changed the weights of the classifier plain-net: 4\.weight",
    "metric_dtype": r"changed the default dtype of torch",
}


@pytest.mark.parametrize("harm", METRIC_HARMS)
def test_a_metric_that_does_harm_gives_no_score_and_changes_nobody_elses(harm: str, alone: Any, tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "after"], (harm, "agreement"))
    assert len(made.result.score_failures) == 2, "of both explanations"
    for line in made.result.score_failures:
        assert re.search(METRIC_HARMS[harm], line), line
    for label in ("before", "after"):
        for row, wanted in zip(figures(made, label), figures(alone, label), strict=True):
            assert row["scores"]["agreement"] == wanted["scores"]["agreement"]


def test_a_method_that_puts_everything_back_is_no_harm(alone: Any, tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "restores", "after"])
    assert made.result.count("ok") == 3
    for label in ("before", "after"):
        assert figures(made, label) == figures(alone, label)


def test_a_changed_network_that_its_plugin_gives_again_is_refused_and_never_scored(tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["before", "weights", "after"], classifiers=["one-net"])
    status = {o.cell.label: (o.status, o.reason) for o in made.result.outcomes}
    assert status["before"][0] == "ok"
    assert "changed the weights of the classifier one-net" in status["weights"][1]
    again = "the classifier one-net was changed by another cell, and its plugin gives the changed network again"
    assert again in status["after"][1]


def test_what_a_cell_made_for_others_before_it_did_harm_is_made_again(tmp_path: Path) -> None:
    made = run(tmp_path / "run", ["poisons", "reads"])
    status = {o.cell.label: (o.status, o.reason) for o in made.result.outcomes}
    assert "changed the weights" in status["poisons"][1]
    assert status["reads"] == ("ok", "")
    (row,) = (r for r in made.rows if r["label"] == "reads" and r["rank"] == 1)
    assert row["importance"] == 7.0, "what `poisons` made holds 5"


def test_the_pictures_of_others_and_what_is_remembered_of_them_stay_as_they_are() -> None:
    import torch

    from xcore.contract import Samples

    samples = Samples("image", torch.ones(2, 3, 4, 4), ("a", "b"))
    first = samples.digest
    assert samples.digest == first
    samples.images.numpy()[:] = 0.5
    assert samples.digest == Samples("image", torch.full((2, 3, 4, 4), 0.5), ("a", "b")).digest != first
