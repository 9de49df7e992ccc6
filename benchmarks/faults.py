"""Inject faults into runs, one kind after the other: each is one failed row, or is told and made again, and no more.

    python benchmarks/faults.py --counts faults.json      # the same again goes on
    python benchmarks/faults.py --group damage

Methods and metrics that fail or do harm stand in a run between methods that do neither (`tests/plugins`). A fault is
passed if what it did is told as its plugin expects, if all rows of the others have the very figures of a run without
faults, and if stdout is JSON. Damage to a finished run is passed if `xcore report` and `xcore bench` tell of it in
lines, never a traceback, and if the table that `xcore bench` makes again is the same as before. The exit code is 1 if a
fault was not passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).resolve().parents[1] / "tests" / "plugins"
sys.path.insert(0, str(PLUGINS))

import faulty_plugin as faulty  # noqa: E402
import harmful_plugin as harmful  # noqa: E402
from fault_damage import DAMAGE, RECORD, TENSORS, flip_as_a_disk_does, remove  # noqa: E402

NOT_FIGURES = ("label", "method", "seconds", "cached", "picture", "pictures")
TIMEOUT, MEMORY = 45, 4000
"""The limits of a cell where only a limit ends a method: seconds, and MB."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    rows: list[dict[str, Any]]
    err: str
    clean: bool
    """Whether stdout was nothing but JSON, and no traceback was printed."""

    def of(self, label: str) -> list[dict[str, Any]]:
        """The figures in the rows of a method: all but its name and times."""
        return [{k: v for k, v in r.items() if k not in NOT_FIGURES} for r in self.rows if r["label"] == label]


@dataclass(frozen=True)
class Seen:
    """What became of a fault."""

    fault: str
    engine: str
    told: str
    wrong: str
    """Empty if it is passed, or if it cannot be tried here, which is told."""

    @property
    def verdict(self) -> str:
        """What is wrong, or how else it ended."""
        return self.wrong or ("not tried" if self.told.startswith("not tried") else "passed")


class Place:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        (folder / "tmp").mkdir(exist_ok=True)
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])}
        self.env |= {"TMPDIR": str(folder / "tmp"), "XCORE_PLUGINS": ""}

    def command(self, *words: str, before: Callable[[], None] | None = None, **more: str) -> Ran:
        """Run `xcore`; one that does not end is ended, and its exit code is that of SIGKILL."""
        call = [*(["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if more.pop("bare", "") else [])]
        call += [sys.executable, "-m", "xcore", *words]
        process = subprocess.Popen(
            call,
            cwd=self.folder,
            env={**self.env, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=before,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return ended(process.returncode, out, err)

    def bench(
        self, run: str, methods: Iterable[str], *words: str, metrics: str = "agreement", seeds: str = "1", **more: Any
    ) -> Ran:
        """Run a bench of methods of the tests' plugins."""
        return self.command(*self.words(run, methods, metrics, seeds), *words, **more)

    def words(self, run: str, methods: Iterable[str], metrics: str = "agreement", seeds: str = "1") -> list[str]:
        """The command of a bench."""
        words = ["bench", "--data", "shared", "--class", "red", "--threads", "1", "--samples", "8", "--json"]
        words += [word for name in ("toy", "harmful", "faulty") for word in ("--plugin", f"{PLUGINS}/{name}_plugin.py")]
        return [*words, "--methods", ",".join(methods), "--metrics", metrics, "--seeds", seeds, "--out", run]


def ended(code: int, out: bytes, err: bytes) -> Ran:
    """A command that ended, with the rows that it printed."""
    rows, clean = [], b"Traceback (most recent call last)" not in out + err
    for line in out.decode("utf-8", "replace").splitlines():
        try:
            plain = json.loads(line)
        except ValueError:
            clean = False
        else:
            rows += [plain] if "label" in plain and "status" in plain else []
    return Ran(code, rows, err.decode("utf-8", "replace"), clean)


# -- methods and metrics -----------------------------------------------------------------------------------------------
def of_methods(place: Place, engine: str, told: Mapping[str, str], *words: str) -> list[Seen]:
    """One run with all these methods, each followed by one that does no harm."""
    alone = place.bench("alone", ["before"]).of("before")
    methods = ["before", *(name for method in told for name in (method, f"after_{method}"))]
    ran = place.bench(f"methods-{engine}", methods, "--engine", engine, *words)
    broken = "" if ran.clean else "stdout is not JSON, or there is a traceback"
    broken = broken or ("" if ran.code == 1 and alone else f"exit code {ran.code}: {ran.err[-300:]}")
    seen = []
    for method, expected in told.items():
        rows = [row for row in ran.rows if row["label"] == method]
        reason = rows[0]["reason"] if rows else ""
        wrong = broken
        if not wrong and [(row["status"], row["concept"]) for row in rows] != [("failed", None)]:
            wrong = f"it is not one failed row: {[row['status'] for row in rows]}"
        if not wrong and not re.search(expected, reason):
            wrong = "another reason was expected"
        if not wrong and not ran.of(f"after_{method}") == ran.of("before") == alone:
            wrong = "the figures of another method are not what they were"
        seen.append(Seen(method, engine, reason, wrong))
    return seen


def of_metrics(place: Place, engine: str, told: Mapping[str, str], *words: str) -> list[Seen]:
    """For each of these metrics, a run with it before a good one."""
    alone = place.bench("alone", ["before"]).of("before")
    seen = []
    for metric, expected in told.items():
        run = f"metric-{engine}-{metric}"
        ran = place.bench(run, ["before"], "--engine", engine, *words, metrics=f"{metric},agreement")
        line = next((x for x in ran.err.splitlines() if re.search(expected, x)), "")
        wrong = "" if ran.clean else "stdout is not JSON, or there is a traceback"
        if not wrong and not line:
            wrong = f"it is not told: {ran.err[-300:]}"
        if any(word in metric for word in ("segfault", "endless")):  # the good one is scored by the next start
            ran = place.bench(run, ["before"], "--engine", engine, *words)
        if not wrong and [row["scores"].pop(metric, {}).get("value") for row in ran.rows] != [None] * 3:
            wrong = "it gives scores all the same"
        if not wrong and (not alone or ran.of("before") != alone):
            wrong = "the figures of another metric are not what they were"
        seen.append(Seen(metric, engine, line, wrong))
    return seen


def harms(place: Place, engine: str) -> list[Seen]:
    """Methods that change what others use."""
    return of_methods(place, engine, harmful.TOLD)


def errors(place: Place, engine: str) -> list[Seen]:
    """Methods that raise, or return what is no explanation."""
    return of_methods(place, engine, named(faulty.ERRORS))


def ends(place: Place, engine: str) -> list[Seen]:
    """Methods that end their process, or that only a limit ends."""
    told = named({**faulty.ENDS, **faulty.LOOPS})
    return of_methods(place, engine, told, "--cell-timeout", str(TIMEOUT), "--cell-memory", str(MEMORY))


def metrics(place: Place, engine: str) -> list[Seen]:
    """Metrics that raise, do harm, or return what is no score."""
    return of_metrics(place, engine, {**harmful.METRICS_TOLD, **named(faulty.METRICS)})


def metric_ends(place: Place, engine: str) -> list[Seen]:
    """Metrics that end their process, or that only a limit ends."""
    return of_metrics(place, engine, named(faulty.METRICS_THAT_END), "--cell-timeout", str(TIMEOUT))


def named(told: Mapping[Any, str]) -> dict[str, str]:
    """The same by the names of the functions."""
    return {change.__name__: said for change, said in told.items()}


# -- damage ------------------------------------------------------------------------------------------------------------
def damage(place: Place, engine: str) -> list[Seen]:
    """Damage to a finished run."""
    asked: Mapping[str, Any] = {"methods": ["before", "reads"], "seeds": "0,1"}
    whole = place.bench("whole", **asked)
    seen = []
    for name, (pattern, harm, expected) in DAMAGE.items():
        run = "damaged"
        shutil.rmtree(place.folder / run, ignore_errors=True)
        shutil.copytree(place.folder / "whole", place.folder / run)
        harm(sorted((place.folder / run).glob(pattern))[0])
        shown = place.command("report", run, "--json")
        again = place.bench(run, **asked)
        lines = (shown.err + again.err).splitlines()
        told = next((line for line in lines if expected and re.search(expected, line)), "")
        wrong = "" if shown.clean and again.clean else "a traceback, or stdout is not JSON"
        if not wrong and expected and not told:
            wrong = f"it is not told: {lines}"
        if not wrong and (again.code or not same(again, whole)):
            wrong = f"the table is not what it was (exit code {again.code}): {again.err[-300:]}"
        seen.append(Seen(name, engine, told.strip() or "nothing: it is made again", wrong))
    return seen


def same(one: Ran, other: Ran) -> bool:
    """Whether two runs have the same rows."""
    return bool(one.rows) and all(one.of(label) == other.of(label) for label in {r["label"] for r in other.rows})


# -- the machine -------------------------------------------------------------------------------------------------------
CLOCK = """
import time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    return real() + (86400 * 400 if calls[0] // 20 % 2 else -86400 * 400)
time.time = jumping
"""


def machine(place: Place, engine: str) -> list[Seen]:
    """What the machine does: the disk, the clock, signals, and a folder that may only be read."""
    asked: Mapping[str, Any] = {"methods": ["before", "reads"], "seeds": "0,1"}
    whole = place.bench("whole", **asked)
    seen = [_files_limited(place, engine), _full(place, engine, whole), _read_only(place, engine, whole)]

    (place.folder / "clock").mkdir(exist_ok=True)
    (place.folder / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(place.folder / "clock"), place.env["PYTHONPATH"]])
    ran = place.bench("clock", ["before", "reads"], "--engine", engine, seeds="0,1", PYTHONPATH=path)
    again = place.bench("clock", **asked)
    wrong = "" if not ran.code and ran.clean and same(ran, whole) and same(again, whole) else ran.err[-300:] or "rows"
    seen.append(Seen("a clock that jumps", engine, "nothing: it is no harm", wrong))

    for path_ in (place.folder / "clock").rglob("*"):
        os.utime(path_, (4e9, 4e9))
    again = place.bench("clock", **asked)
    cached = all(row["cached"] for row in again.rows)
    wrong = "" if not again.code and again.clean and same(again, whole) and cached else again.err[-300:] or "rows"
    seen.append(Seen("files from the future", engine, "nothing: it is no harm", wrong))

    shutil.copytree(place.folder / "whole", place.folder / "disk", dirs_exist_ok=True)
    flip_as_a_disk_does(sorted((place.folder / "disk").glob(TENSORS))[0])
    remove(place.folder / "disk" / "scores")
    again = place.bench("disk", **asked)
    told = next((x for x in again.err.splitlines() if "tensors.safetensors is damaged" in x), "")
    seen.append(Seen("bit that the disk flips", engine, told, "" if told and same(again, whole) else again.err[-300:]))
    return [*seen, *(_signal(place, engine, name, whole) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"))]


def _files_limited(place: Place, engine: str) -> Seen:
    """One method keeps more than a file may hold."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, 8 * 2**20))

    ran = place.bench("limited", ["before", "disk", "after_disk"], "--engine", engine, before=limit)
    (row,) = [row for row in ran.rows if row["label"] == "disk"] or [{"reason": "", "status": ""}]
    right = row["status"] == "failed" and ran.clean and ran.of("before") == ran.of("after_disk") != []
    told = row["reason"]
    return Seen("a file that is too large", engine, told, "" if right and "Errno 27" in told else ran.err[-300:])


def _full(place: Place, engine: str, whole: Ran) -> Seen:
    """A disk without room, and the same run when there is room again."""
    disk = place.folder / "small"
    disk.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if done.returncode:
        return Seen("a full disk", engine, "not tried: a small disk cannot be mounted here", "")
    try:
        ran = place.bench("small/run", ["before", "reads"], "--engine", engine, seeds="0,1")
        told = next((line for line in ran.err.splitlines() if "No space left" in line), "")
        wrong = "" if told and ran.clean and ran.code == 1 else f"exit code {ran.code}: {ran.err[-600:]}"
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = place.bench("small/run", ["before", "reads"], "--engine", engine, seeds="0,1")
        if not wrong and (again.code or not again.clean or not same(again, whole)):
            wrong = f"with room again: exit code {again.code}: {again.err[-300:]}"
        return Seen("a full disk", engine, told, wrong)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _read_only(place: Place, engine: str, whole: Ran) -> Seen:
    """A finished run that may only be read: it is shown, and a bench is refused in one line."""
    run = place.folder / "closed"
    shutil.copytree(place.folder / "whole", run, dirs_exist_ok=True)
    files = [run, *run.rglob("*")]
    for path in files:
        path.chmod(0o555 if path.is_dir() else 0o444)
    bare = {"bare": "1"} if os.getuid() == 0 else {}  # root may write everywhere
    shown = place.command("report", "closed", "--json", **bare)
    ran = place.bench("closed", ["before", "reads"], "--engine", engine, seeds="0,1,2", **bare)
    for path in files:
        path.chmod(0o755)
    told = (ran.err.strip().splitlines() or [""])[-1]
    wrong = "" if shown.code == 0 and shown.clean and same(shown, whole) else f"report: {shown.err[-300:]}"
    if not wrong and not (ran.code in (1, 2) and ran.clean and ("annot write" in told or "denied" in told)):
        wrong = f"bench: exit code {ran.code}: {ran.err[-300:]}"
    return Seen("a run that may only be read", engine, told, wrong)


def _signal(place: Place, engine: str, name: str, whole: Ran) -> Seen:
    """End a bench in the middle; it says how to go on, and the same command makes the rest."""
    words = [*place.words(f"end-{name}", ["before", "reads"], seeds="0,1"), "--engine", engine]
    call = [sys.executable, "-m", "xcore", *words]
    heard = signal.Signals[name]

    def hear() -> None:
        if heard != signal.SIGKILL:
            signal.signal(heard, signal.SIG_DFL)

    pipes: Mapping[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(call, cwd=place.folder, env=place.env, preexec_fn=hear, **pipes) as process:
        until = time.monotonic() + place.limit
        while process.poll() is None and time.monotonic() < until:
            if any((place.folder / f"end-{name}").glob(RECORD)):
                process.send_signal(heard)
                break
            time.sleep(0.01)
        out, err = process.communicate(timeout=place.limit)
    ran = ended(process.returncode, out, err)
    last = (ran.err.strip().splitlines() or [""])[-1]
    wanted = -9 if name == "SIGKILL" else 128 + heard
    again = place.bench(f"end-{name}", ["before", "reads"], "--engine", engine, seeds="0,1")
    left = [*(place.folder / "tmp").glob("xcore-*")]
    wrong = "" if ran.code == wanted and ran.clean else f"exit code {ran.code} instead of {wanted}: {ran.err[-300:]}"
    if not wrong and name != "SIGKILL" and not (last.startswith("interrupted") and "to go on: xcore bench" in last):
        wrong = f"the last line is {last!r}"
    if not wrong and (again.code or not same(again, whole)):
        wrong = f"the table is not what it was (exit code {again.code}): {again.err[-300:]}"
    if not wrong and left:
        wrong = f"temporary folders are left: {left}"
    return Seen(
        f"{name} in the middle", engine, last if name != "SIGKILL" else "nothing: a process learns nothing of it", wrong
    )


# -- what is printed ---------------------------------------------------------------------------------------------------
def output(place: Place, engine: str) -> list[Seen]:
    """What plugins and names put out."""
    alone = place.bench("alone", ["before"]).of("before")
    ran = place.bench("prints", ["prints", "after_prints"], "--engine", engine)
    right = ran.clean and not ran.code and ran.of("prints") == ran.of("after_prints") == alone
    seen = [Seen("stdout garbage under --json", engine, "it goes to stderr", "" if right else ran.err[-300:])]

    label = "=1+1\x1b[2J\u202e"
    (place.folder / "names.toml").write_text(
        f'data = "shared"\nclasses = ["red"]\nmetrics = ["agreement"]\nbudget = {{samples = 8}}\nthreads = 1\n'
        f'arms = [{{label = {json.dumps(label)}, method = "before"}}]\n'
    )
    words = [word for n in ("toy", "harmful", "faulty") for word in ("--plugin", f"{PLUGINS}/{n}_plugin.py")]
    ran = place.command("bench", "--suite", "names.toml", "--out", "names", "--engine", engine, *words)
    shown = place.command("report", "names", "--format", "csv")
    csv = (place.folder / "names" / "table.csv").read_text() if (place.folder / "names" / "table.csv").exists() else ""
    printed = ran.err + shown.err
    wrong = "" if not ran.code and "\x1b[2J" not in printed and "\u202e" not in printed else ran.err[-300:]
    seen.append(Seen("control and bidi characters in a name", engine, r"\x1b and \u202e are printed as escapes", wrong))
    quoted = "'=1+1" in csv and "\n=1+1" not in csv and ",=1+1" not in csv
    seen.append(Seen("a name that is a formula", engine, "an apostrophe stands before it", "" if quoted else csv[:300]))

    (place.folder / "wide.csv").write_text(",".join(f"c{i}" for i in range(1_000_000)) + "\n")
    start = time.monotonic()
    ran = place.command("bench", "--data", "table:wide.csv", "--methods", "before", *words, XCORE_PLUGINS="text")
    told = (ran.err.strip().splitlines() or [""])[-1]
    right = ran.clean and ran.code == 2 and "columns" in told
    seen.append(Seen("a heading of a million names", engine, told[:200], "" if right else ran.err[-300:]))
    print(f"a heading of a million names is refused after {time.monotonic() - start:.1f} s, start included")
    return seen


GROUPS: Mapping[str, tuple[Callable[[Place, str], list[Seen]], tuple[str, ...]]] = {
    "output": (output, ("local", "processes")),
    "machine": (machine, ("local", "processes")),
    "damage": (damage, ("local",)),
    "errors": (errors, ("local", "processes")),
    "harms": (harms, ("local", "processes")),
    "ends": (ends, ("processes",)),
    "metrics": (metrics, ("local",)),
    "metric_ends": (metric_ends, ("processes",)),
}
"""Group -> what injects its faults, and the engines for which that is done."""


def shown(seen: Iterable[Seen]) -> str:
    """A table of faults."""
    lines = ["| fault | engine | what was told | verdict |", "|---|---|---|---|"]
    for s in seen:
        told = re.sub(r"[^\x20-\x7e]", lambda m: f"\\x{ord(m[0]):02x}", s.told[:160]).replace("|", "\\|")
        lines.append(f"| {s.fault} | {s.engine} | {told} | {s.verdict} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, action="append", help="of these groups alone")
    parser.add_argument("--engine", action="append", help="for these engines alone")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that a command may take")
    parser.add_argument("--counts", type=Path, help="file that keeps what was seen; with one that is there, it goes on")
    parser.add_argument("--folder", type=Path, help="work here and keep everything; default: a temporary folder")
    o = parser.parse_args()
    kept = json.loads(o.counts.read_text()) if o.counts and o.counts.exists() else {}
    for group, (inject, engines) in GROUPS.items():
        for engine in engines:
            key = f"{group} {engine}"
            if key in kept or (o.group and group not in o.group) or (o.engine and engine not in o.engine):
                continue
            folder = (o.folder or Path(tempfile.mkdtemp(prefix="xcore-faults-"))).resolve() / f"{group}-{engine}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            kept[key] = [vars(seen) for seen in inject(Place(folder, o.limit), engine)]
            print(shown(Seen(**s) for s in kept[key]), flush=True)
            if not o.folder:
                shutil.rmtree(folder.parent, ignore_errors=True)
            if o.counts:
                o.counts.write_text(json.dumps(kept))
    every = [Seen(**s) for seen in kept.values() for s in seen]
    print(shown(every))
    failed = [s for s in every if s.wrong]
    print(f"\n{len(every)} faults ({len({s.fault for s in every})} kinds): {len(failed)} not passed")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
