"""`xcore watch`: how far a run is, from any other terminal, while it goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xcore.base.errors import UsageError
from xcore.base.files import read_json

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run directory.")]
Once = Annotated[bool, typer.Option("--once", help="Print how far the run is now, and leave.")]
Every = Annotated[float, typer.Option(min=0.2, max=3600, metavar="S", help="Seconds between two looks.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only, one object a look.")]


def watch(run: Run, once: Once = False, every: Every = 2.0, as_json: AsJson = False) -> None:
    """Show cells done, what each worker does, the best so far, the time left and failures as they come."""
    from xcore.run.progress_files import read_live

    root, told, best = Path(run), 0, Best(Path(run))
    if not (root / "run.json").is_file():
        raise UsageError(f"{root} is not a run directory: it has no run.json", "name a folder that `xcore bench` wrote")
    while True:
        live = read_live(root)
        if live is None:
            raise UsageError(
                f"{root} tells nothing while it runs: it was made by an older xcore", f"write xcore report {root}"
            )
        leaders = best.now()
        if as_json:
            typer.echo(json.dumps({"run": str(root), **asdict(live), "best": leaders}, ensure_ascii=False))
        else:
            new = min(live.failed_in_all - told, len(live.failures))
            for failure in live.failures[len(live.failures) - new :]:
                _print(f"failed: {failure}")
            told = live.failed_in_all
            _show(lines(live, leaders, root), once or live.state != "running")
        if once or live.state != "running":
            return
        time.sleep(every)


class Best:
    """For each metric the method with the best mean of the scores so far; each file of scores is read once.

    Controls are left out: they explain nothing, and some metrics are best where nothing is explained.
    """

    def __init__(self, root: Path) -> None:
        self._folder, self._about = root / "scores", root / "run.json"
        self._values: dict[tuple[str, str, str], list[float]] = {}
        self._read: set[str] = set()

    def now(self) -> list[dict[str, Any]]:
        """Metric, its direction, the best label, its mean and of how many files of scores that is."""
        for file in sorted(self._folder.glob("*.json")):
            if file.name not in self._read:
                self._read.add(file.name)
                self._take(file)
        controls = self._controls()  # asked anew: methods may have been added since
        means: dict[tuple[str, str], list[tuple[float, str, int]]] = {}
        for (metric, direction, label), values in self._values.items():
            if direction in ("higher", "lower") and label not in controls:
                means.setdefault((metric, direction), []).append((sum(values) / len(values), label, len(values)))
        found = []
        for (metric, direction), labels in means.items():
            mean, label, n = (max if direction == "higher" else min)(labels)
            about = {"metric": metric, "direction": direction, "label": label, "mean": mean, "scores": n}
            found.append({**about, "labels": len(labels)})
        return found

    def _controls(self) -> frozenset[str]:
        try:
            named = read_json(self._about)["plan"]["suite"]["controls"]
            return frozenset(map(str, named or ()))
        except (UsageError, KeyError, TypeError):  # a run of an older version
            return frozenset()

    def _take(self, file: Path) -> None:
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
            values = [float(score["value"]) for score in plain["scores"] if score["value"] is not None]
            key = str(plain["metric"]), str(plain["direction"]), str(plain["label"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the run itself tells of a damaged file
            return
        if values:
            self._values.setdefault(key, []).append(sum(values) / len(values))


def lines(live: Any, leaders: Sequence[Mapping[str, Any]], root: Path) -> list[str]:
    """What is shown of a run."""
    counts = ", ".join(f"{n} {status}" for status, n in live.counts.items() if n)
    left = f", about {duration(live.left)} left" if live.left is not None else ""
    state = {
        "running": f"running for {duration(live.seconds)}{left}",
        "done": f"done in {duration(live.seconds)}",
        "stopped": f"stopped at the first failure after {duration(live.seconds)}",
        "interrupted": f"interrupted after {duration(live.seconds)}",
        "failed": f"ended by an error after {duration(live.seconds)}",
        "gone": "its process has ended without a word; the command that began it goes on with it",
    }[live.state]
    made = [f"{live.done} of {live.cells} cells done" + (f" ({counts} this time)" if counts else "") + f"; {state}"]
    for worker in live.workers:
        step = f"  step {worker.step} of {worker.total}" if worker.total else ""
        about = f"{worker.cell}  {worker.doing}" if worker.cell and worker.cell not in worker.doing else worker.doing
        made.append(f"  {about}{step}  {worker.note}".rstrip() + f"  ({duration(worker.seconds)}; {worker.where})")
    for best in leaders:
        if best["labels"] > 1:
            made.append(
                f"  best {best['metric']} so far: {best['label']}  {best['mean']:.3g} ({best['scores']} scores)"
            )
    if live.state == "done":
        made.append(f"  table: xcore report {root}")
    return made


def duration(seconds: float) -> str:
    """``75`` -> "1 min 15 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


_shown = 0


def _show(made: list[str], last: bool) -> None:
    """Print the lines; on a terminal in place of those before."""
    global _shown
    if sys.stdout.isatty():
        if _shown:
            sys.stdout.write(f"\x1b[{_shown}A\x1b[J")
        for line in _cut(made):
            _print(line)
        sys.stdout.flush()
        _shown = 0 if last else len(made)
    else:
        for line in made:
            _print(line)


def _cut(made: list[str]) -> Iterator[str]:
    """The lines as wide as the terminal, so that each takes one."""
    import shutil

    width = shutil.get_terminal_size().columns
    for line in made:
        yield line if len(line) <= width else line[: width - 1] + "…"


def _print(line: str) -> None:
    """Print a line without the control characters that names may hold."""
    typer.echo("".join(c if c.isprintable() else " " for c in line))
