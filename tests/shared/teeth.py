"""An honest explainer and the results of its checks, as the tests of deliberately broken components need them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from xcore.contract import Concept, Explanation
from xcore.testing.checklist import Result, checks_of, run_check

MODEL, RANDOM, SAMPLES = "models_are_left_as_found", "random_state_is_left_as_found", "samples_are_left_as_found"
SETTINGS, OUTPUT, FORM = "settings_are_left_as_found", "output_is_left_alone", "concepts_are_sorted_and_well_formed"


def results(kind: str, make: Callable[[], Any], only: str = "") -> dict[str, Result]:
    """Check -> its result; each check gets a subject of its own, all share what was computed once."""
    shared: dict[str, Any] = {}
    found = {}
    for one in checks_of(kind):
        if not only or one.name == only:
            subject = make()
            if hasattr(subject, "shared"):
                subject.shared = shared
            found[one.name] = run_check(one, subject, "it")
    return found


def failed(kind: str, make: Callable[[], Any]) -> set[str]:
    return {name for name, result in results(kind, make).items() if result.status == "failed"}


class Channels:
    """An honest explainer: the channels of the layer, by what the logit loses without them."""

    def __init__(self, spoil: Callable[[Any], Any] | None = None, **fields: Any) -> None:
        self.spoil, self.fields = spoil, fields

    def explain(self, task: Any) -> Explanation:
        if self.spoil is not None:
            self.spoil(task)
        probe = task.classifier.open(task.layer)
        a = probe.activations(task.samples)
        concepts = []
        for channel in range(a.shape[1]):
            without = a.clone()
            without[:, channel] = 0
            lost = (probe.head(a, task.samples) - probe.head(without, task.samples))[:, task.target]
            small = a[:, channel].clamp_min(0)
            maps = torch.nn.functional.interpolate(small[:, None], size=task.samples.images.shape[-2:])[:, 0]
            direction = torch.eye(a.shape[1])[channel]
            best = lost.argsort(descending=True)[:3]
            concepts.append(
                Concept(
                    f"channel {channel}",
                    float(lost.mean()),
                    task.samples.take(best.tolist()),
                    source=best,
                    directions={task.layer: direction},
                    maps=maps,
                    local=lost,
                    **self.fields,
                )
            )
        ranked = tuple(sorted(concepts, key=lambda c: -c.importance))
        return Explanation("channels", task.target_name, "drop of the logit", ranked)

    repeats_maps = False


def network(task: Any) -> torch.nn.Module:
    module: torch.nn.Module = task.classifier.model.module
    return module


def leave_a_thread(task: Any) -> None:
    threading.Thread(target=threading.Event().wait, args=(3,), daemon=True, name="left over").start()
