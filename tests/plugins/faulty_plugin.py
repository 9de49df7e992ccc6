"""Methods that fail in all manners: errors of all kinds, what is no explanation, and the end of their process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmful_plugin import Agreement, Neighbour

from xcore import hookimpl

Change = Callable[[Any, Any], Any]
"""(explanation, task) -> what the method returns instead of the explanation."""


# -- errors ------------------------------------------------------------------------------------------------------------
def error(made: Any, task: Any) -> Any:
    raise ValueError("not today")


def error_without_words(made: Any, task: Any) -> Any:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("an error that cannot be shown")

    raise Mute


def error_that_is_no_exception(made: Any, task: Any) -> Any:
    class Cancelled(BaseException):
        """As asyncio and trio have one."""

    raise Cancelled("given up")


def error_with_control_characters(made: Any, task: Any) -> Any:
    raise ValueError("\x1b[2Jgone\u202e")


def stops(made: Any, task: Any) -> Any:
    raise StopIteration("no more")


def leaves(made: Any, task: Any) -> Any:
    sys.exit(5)


def closes(made: Any, task: Any) -> Any:
    raise GeneratorExit


def memory_of_torch(made: Any, task: Any) -> Any:
    import torch

    return torch.ones(10**15)


def memory_of_numpy(made: Any, task: Any) -> Any:
    import numpy as np

    return np.ones(10**15)


def recursion(made: Any, task: Any) -> Any:
    return recursion(made, task)


def disk(made: Any, task: Any) -> Any:
    """Keeps more than the disk has room for, where the size of files is limited."""
    (task.workdir / "big").write_bytes(os.urandom(64 * 2**20))
    return replace(made, files={"big": task.workdir / "big"})


def prints(made: Any, task: Any) -> Any:
    """Writes to stdout in every manner, which is no harm where stdout is kept for results."""
    print('{"label": "a lie"}')
    print('{"label": "a lie"}', file=sys.__stdout__, flush=True)
    os.write(1, b"by its number\n")
    subprocess.run(["echo", "by a process"], check=True)
    ctypes.CDLL(None).puts(b"by C")
    return made


# -- what is no explanation --------------------------------------------------------------------------------------------
def first(made: Any, **fields: Any) -> Any:
    """The explanation with other fields in its first concept."""
    return replace(made, concepts=(replace(made.concepts[0], **fields), *made.concepts[1:]))


def nothing(made: Any, task: Any) -> Any:
    return None


def a_generator(made: Any, task: Any) -> Any:
    return (c for c in made.concepts)


def nan_importance(made: Any, task: Any) -> Any:
    return first(made, importance=float("nan"))


def infinite_importance(made: Any, task: Any) -> Any:
    return first(made, importance=float("inf"))


def other_target(made: Any, task: Any) -> Any:
    return replace(made, target="green")


def order(made: Any, task: Any) -> Any:
    values = (1.0, 3.0, 2.0)
    return replace(made, concepts=tuple(replace(c, importance=v) for c, v in zip(made.concepts, values, strict=True)))


def one_note(made: Any, task: Any) -> Any:
    return replace(made, notes="few images")


def one_word(made: Any, task: Any) -> Any:
    return first(made, words="stripes")


def range_of_pictures(made: Any, task: Any) -> Any:
    return first(made, samples=replace(made.concepts[0].samples, data=made.concepts[0].samples.images * 255))


def dtype_of_pictures(made: Any, task: Any) -> Any:
    return first(made, samples=replace(made.concepts[0].samples, data=made.concepts[0].samples.images.double()))


def nan_pictures(made: Any, task: Any) -> Any:
    samples = made.concepts[0].samples
    return first(made, samples=replace(samples, data=samples.images * float("nan")))


def shape_of_pictures(made: Any, task: Any) -> Any:
    samples = made.concepts[0].samples
    return first(made, samples=replace(samples, data=samples.images[:, :1]))


def pictures_nowhere(made: Any, task: Any) -> Any:
    samples = made.concepts[0].samples
    return first(made, samples=replace(samples, data=samples.images.to("meta")))


def negative_maps(made: Any, task: Any) -> Any:
    return first(made, maps=-made.concepts[0].maps)


def shape_of_maps(made: Any, task: Any) -> Any:
    return first(made, maps=made.concepts[0].maps[:, :4, :4])


def dtype_of_maps(made: Any, task: Any) -> Any:
    return first(made, maps=made.concepts[0].maps.bool())


def sparse_maps(made: Any, task: Any) -> Any:
    return first(made, maps=made.concepts[0].maps.to_sparse())


def length_of_local(made: Any, task: Any) -> Any:
    return first(made, local=made.concepts[0].maps[:-1, 0, 0])


def length_of_source(made: Any, task: Any) -> Any:
    return first(made, source=made.concepts[0].source[:-1])


def index_of_source(made: Any, task: Any) -> Any:
    return first(made, source=made.concepts[0].source + len(task.samples))


def index_of_parent(made: Any, task: Any) -> Any:
    return first(made, parent=7)


def direction_nowhere(made: Any, task: Any) -> Any:
    import torch

    return first(made, directions={"no layer": torch.ones(8)})


def width_of_direction(made: Any, task: Any) -> Any:
    import torch

    return first(made, directions={"0": torch.ones(9)})


def a_file_that_is_not_there(made: Any, task: Any) -> Any:
    return replace(made, files={"words": Path("nowhere.txt")})


def trace_in_a_circle(made: Any, task: Any) -> Any:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    return replace(made, trace=(circle,))


def trace_of_nan(made: Any, task: Any) -> Any:
    return replace(made, trace=({"loss": float("nan")},))


def trace_of_objects(made: Any, task: Any) -> Any:
    return replace(made, trace=({"network": object()},))


# -- what lies about ---------------------------------------------------------------------------------------------------
def removes_its_folder(made: Any, task: Any) -> Any:
    """What the core made for it is gone: no harm to anybody."""
    task.workdir.rmdir()
    raise FileNotFoundError(task.workdir)


# -- the end of the process --------------------------------------------------------------------------------------------
def segfault(made: Any, task: Any) -> Any:
    ctypes.string_at(0)


def abort(made: Any, task: Any) -> Any:
    os.abort()


def leaves_at_once(made: Any, task: Any) -> Any:
    os._exit(3)


def leaves_at_once_as_if_well(made: Any, task: Any) -> Any:
    os._exit(0)


def killed(made: Any, task: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def terminated(made: Any, task: Any) -> Any:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def endless(made: Any, task: Any) -> Any:
    while True:
        time.sleep(0.1)


def endless_and_deaf(made: Any, task: Any) -> Any:
    """Hears no signal that can be ignored, and holds the lock of Python for ever."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(10_000)


def greedy(made: Any, task: Any) -> Any:
    """Takes memory until somebody ends it."""
    held = []
    for _ in range(40):
        held.append(b"x" * (100 * 2**20))
        time.sleep(0.2)


# -- metrics -----------------------------------------------------------------------------------------------------------
def metric_error(scores: Any) -> Any:
    raise ValueError("not today")


def metric_cancelled(scores: Any) -> Any:
    error_that_is_no_exception(None, None)


def metric_nan(scores: Any) -> Any:
    return [replace(scores[0], value=float("nan")), *scores[1:]]


def metric_without_list(scores: Any) -> Any:
    return (score for score in scores)


def metric_of_another_name(scores: Any) -> Any:
    return [replace(score, metric="agreement") for score in scores]


def metric_of_no_concept(scores: Any) -> Any:
    return [replace(score, concept=99) for score in scores]


def metric_segfault(scores: Any) -> Any:
    ctypes.string_at(0)


def metric_endless(scores: Any) -> Any:
    while True:
        time.sleep(0.1)


ERRORS: Mapping[Change, str] = {
    error: r"^ValueError: not today, at faulty_plugin\.py:\d+$",
    error_without_words: r"^Mute, at faulty_plugin\.py:\d+$",
    error_that_is_no_exception: r"^Cancelled: given up, at faulty_plugin\.py:\d+$",
    error_with_control_characters: r"^ValueError: \x1b\[2Jgone\u202e, at faulty_plugin\.py:\d+$",
    stops: r"^StopIteration: no more, at faulty_plugin\.py:\d+$",
    leaves: r"^SystemExit: 5, at faulty_plugin\.py:\d+$",
    closes: r"^GeneratorExit, at faulty_plugin\.py:\d+$",
    memory_of_torch: r"^out of memory: ",
    memory_of_numpy: r"^out of memory: ",
    recursion: r"^RecursionError: ",
    nothing: r"returned NoneType, not an Explanation",
    a_generator: r"returned generator, not an Explanation",
    nan_importance: r"concept 0 \('part 0'\) of method 'nan_importance': importance is nan",
    infinite_importance: r"importance is inf",
    other_target: r"target is 'green'; the task asks for 'red'",
    order: r"concepts are not sorted",
    one_note: r"notes is the string 'few images'; it must be a tuple of strings",
    one_word: r"words is the string 'stripes'",
    range_of_pictures: r"samples hold values from .* to 2\d\d.*; they must be from 0 to 1",
    dtype_of_pictures: r"samples are torch\.float64; they must be torch\.float32",
    nan_pictures: r"samples hold values from nan to nan",
    shape_of_pictures: r"images must have shape \(n, 3, H, W\), got \(4, 1, 16, 16\)",
    pictures_nowhere: r"samples are on the device meta",
    negative_maps: r"maps hold -1; they must be 0 or more",
    shape_of_maps: r"maps have shape \(\d+, 4, 4\), the samples need \(\d+, 16, 16\)",
    dtype_of_maps: r"maps .* holds torch\.bool; it must hold floats",
    length_of_local: r"local has shape \(\d+,\), the samples need \(\d+,\)",
    length_of_source: r"source names 3 samples, and the concept has 4 samples",
    index_of_source: r"source holds \d+; the task has samples 0 to",
    index_of_parent: r"parent is 7; it must be the index of another of 3 concepts",
    direction_nowhere: r"no layer",
    width_of_direction: r"direction at '0' has 9 values; the layer has 8 channels",
    a_file_that_is_not_there: r"files names 'words', and there is no file nowhere\.txt",
    sparse_maps: r"maps .* is of the layout torch\.sparse_coo",
    trace_in_a_circle: r"trace holds what no record can keep: Circular reference",
    trace_of_objects: r"trace holds what no record can keep: object is not plain data",
    trace_of_nan: r"trace holds what no record can keep: Out of range float",
    removes_its_folder: r"^FileNotFoundError: ",
}
"""Method -> what its row says, as a regular expression; in any process."""

ENDS: Mapping[Change, str] = {
    segfault: r"^its process was ended by SIGSEGV$",
    abort: r"^its process was ended by SIGABRT$",
    leaves_at_once: r"^its process left with exit code 3$",
    leaves_at_once_as_if_well: r"^its process left with exit code 0$",
    killed: r"^its process was ended by SIGKILL, as systems do when memory runs out$",
    terminated: r"^its process was ended by SIGTERM$",
}
"""The same for methods that end their process."""

LOOPS: Mapping[Change, str] = {
    endless: r"^it took longer than \d+ s \(--cell-timeout\)$",
    endless_and_deaf: r"^it took longer than \d+ s \(--cell-timeout\)$",
    greedy: r"^its process took \d+ MB, more than \d+ MB \(--cell-memory\)$",
}
"""The same for methods that only a limit ends."""

METRICS: Mapping[Callable[[Any], Any], str] = {
    metric_error: r"metric_error on before red: ValueError: not today",
    metric_cancelled: r"Cancelled: given up",
    metric_nan: r"metric_nan gives concept 0 the value nan",
    metric_without_list: r"returned a generator, not a list of scores",
    metric_of_another_name: r"carries the name the string 'agreement'; it must be 'metric_of_another_name'",
    metric_of_no_concept: r"judges the concept 99; it must be the index of one of 3 concepts",
}
"""Metric -> what is said of it."""

METRICS_THAT_END: Mapping[Callable[[Any], Any], str] = {
    metric_segfault: r"its process was ended by SIGSEGV, when it was scored",
    metric_endless: r"it took longer than \d+ s \(--cell-timeout\), when it was scored",
}
"""The same for metrics that end their process, or that only a limit ends."""

TOLD = {change.__name__: said for group in (ERRORS, ENDS, LOOPS) for change, said in group.items()}


def failing(change: Change) -> Any:
    class Failing(Neighbour):
        def explain(self, task: Any) -> Any:
            return change(super().explain(task), task)

    return Failing


@hookimpl
def register_explainers(register: Any) -> None:
    for change in (*ERRORS, *ENDS, *LOOPS, disk, prints):
        register(change.__name__, failing(change), summary="a method that fails")
        register(f"after_{change.__name__}", Neighbour, summary="a good method")


def failing_metric(change: Callable[[Any], Any]) -> Any:
    class Failing(Agreement):
        def score(self, runs: Any) -> Any:
            return change([replace(s, metric=change.__name__) for s in super().score(runs)])

    return Failing


@hookimpl
def register_metrics(register: Any) -> None:
    for change in (*METRICS, *METRICS_THAT_END):
        register(change.__name__, failing_metric(change), summary="a metric that fails")
