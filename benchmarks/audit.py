"""Which metrics tell right explanations from wrong ones: `python benchmarks/audit.py`.

    python benchmarks/audit.py                  # all cases; about 25 minutes of one core
    python benchmarks/audit.py --minutes 3      # for so long; the same command goes on
    python benchmarks/audit.py --write          # also write audit.json beside the metrics, and print the table

Cases are of three kinds of explanation (directions, maps, names with pictures): right explanations of wired
classifiers, made from what these are known to use (`xcore_minizoo.audit`), and explanations of the classes of
`minizoo/clean` by CRAFT and TCAV, of which each kind is looked at alone. What is scored beside each, and what counts as
passed, is told in docs/metrics-audit.md. What was found is kept below --run, one file a case; delete it to find it
anew. The table is of the cases that are done.

Sizes are cut so that the whole takes minutes: 24 explained and 24 held-out pictures, five or six concepts, and the
settings of the metrics in `SETTINGS`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from xcore_minizoo.audit import wired_case, wirings
from xcore_minizoo.world import CLASSES

from xcore.api import bench
from xcore.base.errors import NotApplicable
from xcore.base.files import write_text
from xcore.contract import Explanation, Ref
from xcore.registry import Registry, load_registry
from xcore.report.audits import COMPARISONS, KINDS, Audit, audit_file, to_plain
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store
from xcore.testing.audit import AuditCase, Observed, observe, plain, summary
from xcore.testing.audit_runs import SAMPLES, Bench, kept
from xcore.testing.perturbing import spread

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "C-deletion": (REMOVAL := {"fills": ("blur",), "region_images": 4, "images": 4}),
    "C-insertion": REMOVAL,
    "C-muFidelity": REMOVAL,
    "completeness": {"train": 20, "others": 20, "hidden": 16, "epochs": 0},
    "CS": {},
    "ED": {},
    "RCS": {},
    "RED": {},
    "TS": (SETS := {"negatives": 5, "null": 39, "folds": 2, "pool": True}),
    "alpha-TCAV": SETS,
    "surrogate-faithfulness": {"others": 20, "random": 2},
    "FaithTrace": {"others": 40, "null": 20},
    "CoSy": {"source": "data", "images": 5, "others": 40, "null": 10},
    "recovery": {},
    "AUC": {},
}
"""The audited metrics with the settings that are not their defaults."""
METHODS = {"craft": ("directions", "maps", "pictures"), "tcav": ("directions", "pictures")}
"""Method -> the kinds of its explanations."""
METHOD_SETTINGS: Mapping[str, Mapping[str, Any]] = {"tcav": {"maps": 0, "negatives": 10, "null": 20}}
CONCEPTS = 6
"""Concepts of an explanation by a method that are looked at, evenly from the first to the last."""
EACH, WIRED = 2, 8
"""Wired classifiers of each of six families, and in all."""
Named = tuple[str, Callable[[], AuditCase]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/audit"), help="folder that keeps what was found")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further case after so many minutes")
    parser.add_argument("--wired", type=int, default=WIRED, help="wired classifiers, in turn from each of six families")
    parser.add_argument("--write", action="store_true", help="write audit.json beside the metrics")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began, registry = time.monotonic(), load_registry()
    found: list[dict[str, Any]] = []
    waiting = 0
    for name, make in _cases(registry, asked.run, asked.wired):
        place = asked.run / "found" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        if not place.is_file() and time.monotonic() - began < 60 * asked.minutes:
            _audit_case(registry, name, make, place)
        if place.is_file():
            found.append(json.loads(place.read_text()))
        else:
            waiting += 1
    audits = {name: _of_metric(registry, name, found) for name in SETTINGS}
    seconds = sum(case["seconds"] for case in found)
    if asked.write:
        _write(registry, audits, found, seconds)
    print(table(audits), f"\n\n{len(found)} cases, {seconds / 60:.0f} minutes of one core")
    if waiting:
        print(f"{waiting} cases are not done: run the same command again")


def _audit_case(registry: Registry, name: str, make: Callable[[], AuditCase], place: Path) -> None:
    """Score one case by every metric, and keep what was found."""
    start = time.process_time()
    case = make()
    metrics = {metric: registry.create("metric", Ref(metric, options)) for metric, options in SETTINGS.items()}
    observed = {metric: plain(one) for metric, one in observe(metrics, case.kind, case.runs()).items()}
    place.parent.mkdir(parents=True, exist_ok=True)
    seconds = time.process_time() - start
    write_text(place, json.dumps({"case": name, "kind": case.kind, "observed": observed, "seconds": seconds}))
    print(f"{name}: {seconds:.0f} s", flush=True)


def _cases(registry: Registry, run: Path, wired: int) -> Iterator[Named]:
    """The cases by name, each made when it is needed."""
    shared = Bench(run / "shared")
    for method in METHODS:
        yield from _of_method(registry, run, method)
    for wiring in wirings(EACH)[:wired]:
        for kind in KINDS:
            yield f"{kind} of the truth of {wiring}", partial(wired_case, shared, wiring, kind)


def _of_method(registry: Registry, run: Path, method: str) -> Iterator[Named]:
    """Explanations of all classes of `minizoo/clean` by a method; they are made once."""
    done = bench(
        [method],
        data="minizoo",
        classes=[*CLASSES],
        seeds=[0],
        threads=1,
        controls=[],
        metrics=["cost"],
        budget={"samples": SAMPLES, "heldout": SAMPLES},
        set={name: options for name, options in METHOD_SETTINGS.items() if name == method},
        out=run / method,
        registry=registry,
    )
    store = Store(done.path)
    workbench = Workbench(registry, store)
    cells = {o.cell.cls: o.cell for o in done.result.outcomes if o.status == "ok"}
    classes = [*cells]

    def explanation(cls: str) -> Explanation:
        loaded: Explanation = store.load(workbench.identity.explanation(cells[cls]))
        return spread(loaded, CONCEPTS)

    def case(cls: str, other: str, kind: str) -> AuditCase:
        made = kept(workbench.run(cells[cls], explanation(cls)))
        made = replace(made, truth=workbench.truth(cells[cls]))
        return AuditCase(f"{method} on {cls}", kind, made, explanation(other))

    for cls, other in zip(classes, [*classes[1:], *classes[:1]], strict=True):
        for kind in METHODS[method]:
            yield f"{kind} of {method} on {cls}", partial(case, cls, other, kind)


def _of_metric(registry: Registry, name: str, found: list[dict[str, Any]]) -> dict[str, Audit]:
    """Kind -> the audit of one metric."""
    direction = registry.create("metric", Ref(name)).direction
    audits = {}
    for kind in KINDS:
        own = [Observed(**case["observed"][name]) for case in found if case["kind"] == kind]
        audits[kind] = summary(own, direction)
    return audits


def _write(
    registry: Registry, audits: Mapping[str, Mapping[str, Audit]], found: list[dict[str, Any]], seconds: float
) -> None:
    """Write audit.json beside the metrics of each distribution."""
    right = sum("of the truth" in case["case"] for case in found) // len(KINDS)
    files: dict[Path, dict[str, Any]] = {}
    for name, of_kind in audits.items():
        card, _ = registry.find("metric", Ref(name))
        place = audit_file(card)
        if place is None:
            raise NotApplicable(f"the metric {name} is no package")
        made = (
            f"python benchmarks/audit.py --wired {right}: {len(found)} explanations ({right} wired classifiers, and "
            f"the classes of minizoo/clean by {' and '.join(METHODS)}), {seconds / 60:.0f} minutes of one core, with "
            f"{card.distribution} {card.version}, torch {version('torch')}"
        )
        file = files.setdefault(place, {"made": made, "settings": {}, "metrics": {}})
        file["settings"][name] = SETTINGS[name]
        file["metrics"][name] = {kind: to_plain(audit) for kind, audit in of_kind.items()}
    for place, content in files.items():
        write_text(place, json.dumps(content, indent=1) + "\n")
        print(f"wrote {place}")


def table(audits: Mapping[str, Mapping[str, Audit]]) -> str:
    """The audit as a table in Markdown: bold = failed, - = no value or too few pairs."""
    names = [*COMPARISONS]
    lines = [f"| metric | kind | {' | '.join(names)} | rank of the right one | level | verdict |"]
    lines.append(f"|---|---|{'---|' * (len(names) + 3)}")
    for metric, of_kind in audits.items():
        for kind, audit in of_kind.items():
            if not audit.applies:
                continue
            passed = audit.passed()
            cells = [_bold(audit.power[n].text, passed[n]) for n in names]
            rank = f"{audit.median:g} of 21 (n = {len(audit.ranks)})" if audit.ranks else "-"
            own = "; own test {} of {}".format(*audit.rejected) if audit.rejected else ""
            level = _bold(audit.level.text + own, passed["level"])
            rank = _bold(rank, passed["right explanation"])
            lines.append(f"| {metric} | {kind} | {' | '.join(cells)} | {rank} | {level} | {audit.verdict} |")
    return "\n".join(lines)


def _bold(text: str, passed: bool | None) -> str:
    return f"**{text}**" if passed is False else text


if __name__ == "__main__":
    main()
