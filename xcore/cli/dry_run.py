"""``--dry-run``: what a run would take, measured in a process of its own, which leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xcore.base.errors import XcoreError
from xcore.base.temporary import temporary_folder
from xcore.cli.doctor import lines, shown_memory
from xcore.run.needs import Need, needs

if TYPE_CHECKING:
    from xcore.run.forecast import Between, Kind
    from xcore.run.plan import Plan
    from xcore.run.progress import Reporter

HERE = "xcore.cli.dry_run"
"""The module that the other process runs."""
KILLED = -9
"""The exit code of a process that was killed."""


@dataclass(frozen=True)
class Forecast:
    """What a run would take."""

    plan: Plan
    path: Path
    finished: int
    """Cells that are not computed again."""
    kinds: Sequence[Kind]
    needs: Sequence[Need]
    total: Between | None = None
    """None if nothing was measured, because something is missing or nothing is left to do."""
    each: Sequence[Between] = ()
    """What each kind takes of it."""
    peak_mb: float = 0.0
    gpu_mb: float = 0.0
    probed: Sequence[Mapping[str, Any]] = ()
    """What was measured of each kind: ``probed``, ``notes``."""
    probe_seconds: float = 0.0
    probe_processor: float = 0.0
    """Seconds of the processor that the probe took."""

    @property
    def missing(self) -> list[Need]:
        """What the run needs and what is not here."""
        return [need for need in self.needs if need.problem]


def forecast(
    methods: Sequence[str] = (),
    *,
    suite: str = "",
    out: str | Path = "",
    plugins: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
    strict: bool = False,
    add_to: str | Path = "",
    **keys: Any,
) -> Forecast:
    """What `xcore.api.bench` with these arguments would take.

    Raises
    ------
    XcoreError
        As `bench` does for a request that is wrong; or the probe failed.
    """
    from xcore.api import resolved
    from xcore.pretrained.hub import looking_only
    from xcore.registry import load_registry
    from xcore.run.about import read_about
    from xcore.run.forecast import Amount, assemble
    from xcore.run.probe import finished_and_kinds

    start = time.perf_counter()
    registry = load_registry([*plugins, *(read_about(Path(add_to))["plugins"] if add_to else ())])
    with contextlib.redirect_stdout(sys.stderr), looking_only():
        wanted, plan, path, _ = resolved(methods, suite, out, add_to, keys, registry)
        found = needs(wanted, registry)
        if any(need.problem for need in found):
            return Forecast(plan, path, 0, (), found)
        finished, kinds = finished_and_kinds(plan, registry, path, strict)
        empty = Forecast(plan, path, finished, kinds, found)
        if not kinds:
            return empty
        before = time.perf_counter()
        asked = {"plan": plan.as_plain(), "plugins": registry.files, "kinds": [asdict(kind) for kind in kinds]}
        with temporary_folder() as folder:
            made = _in_another_process(asked, path, folder, reporter)
    whole = time.perf_counter() - start
    once = Amount(**made["once"]) + Amount(before - start, before - start)
    total, each = assemble(kinds, made, plan, once)
    return replace(
        empty,
        total=total,
        each=each,
        peak_mb=made["peak_mb"],
        gpu_mb=made["gpu_mb"],
        probed=made["kinds"],
        probe_seconds=whole,
        probe_processor=made["processor"],
    )


def _in_another_process(asked: Mapping[str, Any], run: Path, folder: Path, reporter: Reporter | None) -> dict[str, Any]:
    """What the probe found, in a process of its own, so that its memory can be told from ours."""
    from xcore.models import batches, device

    request, answer = folder / "request.json", folder / "answer.json"
    more = {"device": device.current(), "batch_size": batches.current(), "began": time.time()}
    more["artifacts"] = str((run / "artifacts").absolute())
    request.write_text(json.dumps({**asked, **more}), encoding="utf-8")
    command = [sys.executable, "-m", HERE, str(request), str(answer)]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    streams |= {"encoding": "utf-8", "errors": "replace"}
    # What it leaves behind when it is stopped is removed with the folder.
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, **streams, env=environment) as process:
        try:
            said = _relay(process, reporter)
        except BaseException:
            process.kill()
            raise
    if not answer.is_file():
        raise _ended(process.returncode, said)
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise XcoreError(f"the probe failed: {found['error']}", "run the command without --dry-run")
    return found


def _ended(code: int, said: str) -> XcoreError:
    """The error for a probe that left no answer: its exit code, negative for a signal, and its last words."""
    if code == KILLED:
        return XcoreError(
            "the probe was killed, as a system does with a process when its memory is full",
            "let fewer samples pass at once with --batch-size N, or explain fewer with --samples N",
        )
    how = f"was stopped by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return XcoreError(f"the probe {how}" + (f": {said}" if said else ""), "run the command without --dry-run")


def _relay(process: subprocess.Popen[str], reporter: Reporter | None) -> str:
    """Show what the probe measures; the last other line that it printed."""
    last = ""
    for line in process.stderr or ():
        if line.startswith(MARK) and reporter is not None:
            reporter.warn(line.removeprefix(MARK).rstrip())
        elif line.strip() and not line.startswith(MARK):
            last = line.strip()
    return last


MARK = "xcore probe: "
"""What the lines begin with that the probe shows."""


def _probe(request: Path, answer: Path) -> None:
    """Measure what the request asks for, in this process, and write what was found."""
    _end_with_parent(request.parent)
    from xcore.api import report
    from xcore.base.files import write_json
    from xcore.base.memory import peak_mb
    from xcore.models import batches, device
    from xcore.registry import load_registry
    from xcore.report import draw
    from xcore.run.forecast import Kind
    from xcore.run.plan_record import plan_from_record
    from xcore.run.probe import Probe
    from xcore.store.records import write_record

    asked = json.loads(request.read_text(encoding="utf-8"))
    folder = request.parent / "run"
    (folder / "artifacts").mkdir(parents=True)
    kept = Path(asked["artifacts"])
    for artifact in kept.iterdir() if kept.is_dir() else ():
        if artifact.is_dir() and not artifact.name.startswith("."):
            (folder / "artifacts" / artifact.name).symlink_to(artifact)
    if asked["device"] != "cpu":
        device.use(asked["device"])
    batches.use(asked["batch_size"])
    registry, plan = load_registry(asked["plugins"]), plan_from_record(asked["plan"])
    kinds = [Kind(**{**kind, "cells": tuple(kind["cells"])}) for kind in asked["kinds"]]
    probe = Probe(plan, registry, folder, draw, lambda text: print(MARK + text, file=sys.stderr, flush=True))
    started, processor = time.time() - asked["began"], time.process_time()
    found = probe.measure(kinds)
    began, before = time.perf_counter(), time.process_time()
    cells = tuple(probe.plan.cells[kind.probe] for kind in kinds)
    about = {"plan": replace(plan, cells=cells).as_plain(), "plugins": registry.files}
    write_record(folder / "run.json", {**about, "folder": str(Path.cwd())})
    with contextlib.suppress(Exception):  # it is shown for its time only
        report(folder)
    table, of_processor = time.perf_counter() - began, time.process_time() - before
    once = {"seconds": started + table, "processor": processor + of_processor}
    memory = {"peak_mb": peak_mb(), "gpu_mb": _gpu_mb()}
    write_json(answer, {**found, **memory, "once": once, "processor": time.process_time()})


def _end_with_parent(folder: Path) -> None:
    """End this process and remove its folder when the one that waits for the answer is gone, for it may be killed."""

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written to it: it returns when the other end is closed
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _gpu_mb() -> float:
    """The largest memory of a GPU that torch held so far, in MB; 0 without one."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    return max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / 2**20


# -- showing it --------------------------------------------------------------------------------------------------------
def show(made: Forecast, as_json: bool) -> None:
    """Print a forecast; leaves with exit code 1 if something is missing."""
    if as_json:
        from xcore.cli.listing import print_line

        print_line(plain(made))
    else:
        typer.echo("\n".join(text(made)))
    if made.missing:
        raise typer.Exit(1)


def plain(made: Forecast) -> dict[str, Any]:
    """A forecast as JSON knows it: seconds, MB and numbers of samples, each as [low, likely, high]."""
    kinds = []
    for i, kind in enumerate(made.kinds):
        probed = made.probed[i] if made.probed else {}
        about = {"label": kind.label, "classifier": kind.classifier, "cells": len(kind.cells)}
        about |= {"probed": probed.get("probed", ""), "notes": probed.get("notes", [])}
        kinds.append(about | (_amounts(made.each[i]) if made.each else {}))
    cells = {"all": len(made.plan.cells), "finished": made.finished}
    cells |= {"to_run": sum(len(kind.cells) for kind in made.kinds)}
    needed = [{"what": n.what, "reference": n.reference, "here": not n.problem, "fetch": n.fetch} for n in made.needs]
    memory = {"peak_mb": round(made.peak_mb), "gpu_mb": round(made.gpu_mb)} if made.total else {}
    probe = {"probe_seconds": round(made.probe_seconds, 1), "probe_processor_seconds": round(made.probe_processor, 1)}
    totals = {**_amounts(made.total), **memory, **probe} if made.total else {}
    return {"run": str(made.path), "cells": cells, "needs": needed, "kinds": kinds, **totals}


def _amounts(found: Between) -> dict[str, Any]:
    def three(name: str) -> list[float]:
        return [round(getattr(amount, name), 1) for amount in (found.low, found.likely, found.high)]

    return {"seconds": three("seconds"), "processor_seconds": three("processor"), "drawn": three("drawn")}


def text(made: Forecast) -> list[str]:
    """A forecast in words, one line each."""
    out = [_cells(made), *(f"  {line}" for line in _by_label(made)), "", "Models and data:"]
    out += [f"  {line}" for line in lines(made.needs)]
    if made.missing:
        return [*out, "", f"{len(made.missing)} of these are missing, so nothing was measured."]
    if made.total is None:
        return [*out, "", "Nothing is left to compute: the command shows the table again."]
    total = made.total
    out += ["", "Forecast:"]
    out += [
        f"  time    about {_time(total.likely.seconds)}, from {_time(total.low.seconds)} to "
        f"{_time(total.high.seconds)}, if this machine stays as busy as it is now",
        f"          ({_time(total.likely.processor)} of the processor, all threads together)",
        f"  memory  about {shown_memory(made.peak_mb)}, or a fifth more"
        + (f", and {shown_memory(made.gpu_mb)} of the GPU" if made.gpu_mb else ""),
    ]
    drawn = round(total.likely.drawn)
    out += [f"  drawn   about {drawn:,} {_drawn(made)}" if drawn else f"  drawn   no {_drawn(made)}"]
    took = f"{_time(made.probe_seconds)}, {_time(made.probe_processor)} of the processor"
    out += ["", f"Measured in {took}:"]
    width = max(len(kind.label) for kind in made.kinds)
    for kind, each, about in zip(made.kinds, made.each, made.probed, strict=True):
        notes = "".join(f"; {note}" for note in about["notes"])
        out += [f"  {kind.label:<{width}}  {_time(each.likely.seconds)} for all: {about['probed']}{notes}"]
    return out


def _cells(made: Forecast) -> str:
    cells = made.plan.cells
    counts: dict[str, set[Any]]
    counts = {"method": {c.label for c in cells}, "class": {c.cls for c in cells}, "seed": {c.seed for c in cells}}
    if len(several := {str(c.classifier) for c in cells}) > 1:
        counts["classifier"] = several
    shown = " x ".join(_number(len(names), what) for what, names in counts.items())
    if less := math.prod(map(len, counts.values())) - len(cells):
        shown += f", less {less} of classes that are left out"
    done = f", of which {made.finished} are finished and not computed again" if made.finished else ""
    return f"{len(cells)} cells: {shown}{done}"


def _number(n: int, what: str) -> str:
    ending = "" if n == 1 else "es" if what.endswith("s") else "s"
    return f"{n} {what}{ending}"


def _by_label(made: Forecast) -> list[str]:
    """How many cells of each method, for each class and seed."""
    counts = Counter(cell.label for cell in made.plan.cells)
    classes = ", ".join(dict.fromkeys(cell.cls for cell in made.plan.cells))
    seeds = ", ".join(dict.fromkeys(str(cell.seed) for cell in made.plan.cells))
    return [", ".join(f"{label} {n}" for label, n in counts.items()), f"classes {classes}; seeds {seeds}"]


def _drawn(made: Forecast) -> str:
    modality = next(iter(made.plan.facts.values()))["modality"]
    return "pictures" if modality == "image" else "lists of words"


def _time(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    from xcore.base.process import prepare

    prepare()
    try:
        _probe(Path(sys.argv[1]), Path(sys.argv[2]))
    except XcoreError as error:
        Path(sys.argv[2]).write_text(json.dumps({"error": str(error)}), encoding="utf-8")
        os._exit(1)
