"""Plugins that do what they should not: they print, crash, leave, and hand back what is no result."""

from __future__ import annotations

import os
import signal

from toy_plugin import Crops

from xcore import hookimpl

print("printed at import")


class Returns(Crops):
    """Hands back what `change` makes of a good explanation."""

    def __init__(self, change: object) -> None:
        self.change = change

    def explain(self, task: object) -> object:
        print("printed by a method")
        os.write(1, b"written by a method\n")
        return self.change(super().explain(task))


def with_first(**fields: object) -> object:
    from dataclasses import replace

    return lambda made: replace(made, concepts=(replace(made.concepts[0], **fields), *made.concepts[1:]))


def nothing(options: object) -> object:
    return Returns(lambda made: None)


def concept_free(options: object) -> object:
    from dataclasses import replace

    return Returns(lambda made: replace(made, concepts=()))


def infinite(options: object) -> object:
    return Returns(with_first(importance=float("inf")))


def odd_evidence(options: object) -> object:
    return Returns(with_first(evidence={"p": float("nan")}))


def holes(options: object) -> object:
    import torch

    return Returns(with_first(local=torch.tensor([1.0, float("nan")])))


def steep(options: object) -> object:
    import torch

    return Returns(with_first(directions={"2": torch.full((8,), float("inf"))}))


def huge_maps(options: object) -> object:
    import torch

    return Returns(with_first(maps=torch.full((60, 16, 16), 1e5)))


def small_maps(options: object) -> object:
    import torch

    return Returns(with_first(maps=torch.ones(60, 4, 4)))


def leaves(options: object) -> object:
    return Returns(lambda made: exec("raise SystemExit(5)"))


def interrupted(options: object) -> object:
    return Returns(lambda made: os.kill(os.getpid(), signal.SIGINT))


def crash(*_: object) -> object:
    print("printed by a factory")
    raise ValueError("cannot make it\nand this line is not shown")


class Metric:
    direction = "higher"
    needs: frozenset[str] = frozenset()
    rows: tuple[tuple[int | None, float, str], ...] = ()

    def __init__(self, options: object) -> None:
        print("printed by a metric")

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        return [Score(type(self).__name__.lower(), concept, value, variant=v) for concept, value, v in self.rows]


class Nan(Metric):
    rows = ((0, float("nan"), ""),)


class Silent(Metric):
    pass


class Variants(Metric):
    rows = (*((i, float(i), "near") for i in range(3)), *((i, float(10 + i), "far") for i in range(3)), (None, 9.0, ""))


def blind(options: object) -> object:
    import torch

    from xcore.models.classifiers import FunctionClassifier

    return FunctionClassifier(lambda x: torch.zeros(len(x), 3), ("red", "green", "blue"))


@hookimpl
def register_explainers(register: object) -> None:
    numbers = (infinite, odd_evidence, holes, steep, huge_maps, small_maps)
    for factory in (nothing, concept_free, *numbers, leaves, interrupted, crash):
        register(factory.__name__, factory, summary="a bad method")
    register("lost", "xcore.contract:NotThere", summary="a name that is not there")


@hookimpl
def register_classifiers(register: object) -> None:
    register("crash", crash, summary="cannot be made")
    register("unmarked", crash, summary="has a bad fingerprint", fingerprint="xcore:__version__")
    register("blind", blind, summary="a black box")


@hookimpl
def register_datasets(register: object) -> None:
    register("crash", crash, summary="cannot be made")


@hookimpl
def register_metrics(register: object) -> None:
    register("nan", Nan, summary="gives NaN")
    register("silent", Silent, summary="gives nothing")
    register("variants", Variants, summary="two variants of a concept, and one of the whole")
    register("crash", crash, summary="cannot be made")
