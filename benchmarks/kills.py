"""Kill runs at random moments, go on, and compare the table with that of a run that nobody killed.

    python benchmarks/kills.py --engine processes --kills 50
    python benchmarks/kills.py --engine ray --kills 20 --set ray.cluster_cpus=2
    python benchmarks/kills.py --engine ray --lose-node
    python benchmarks/kills.py --engine local --kills 100 --counts local.json      # the same again goes on

A run has cells of a toy method that takes a moment and writes down when it has ended. Each start of the command is
ended by SIGKILL, SIGTERM or SIGINT at a random moment after a few more finished cells, which the seed chooses, or, one
in eight, while it begins; a run that came to its end is followed by another one, until so many starts are ended. The
exit code is 1 if a table differs in one bit from that of the run that nobody ended, or if an explanation whose record
was there was computed again. ``--whom worker`` ends a random worker of `processes` instead of the command: then the
cell is a failed row, and the next start of the command makes it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}

PLUGIN = '''
"""A method that takes a moment, and a world of three colours."""

import hashlib
import os
import time
from pathlib import Path

from xcore import hookimpl
from xcore.contract import Concept, Explanation, Samples, Score

COLOURS = ("red", "green", "blue")


class Data:
    modality, classes, concepts, vocabulary = "image", COLOURS, (), COLOURS
    defaults = {"classifier": "moment-net"}
    skipped = notes = ()

    def __init__(self, options): ...

    def samples(self, cls, split, n, seed):
        import torch

        generator = torch.Generator().manual_seed(1000 * seed + {"train": 0, "explain": 1, "heldout": 2}[split])
        names = COLOURS if cls is None else (cls,)
        labels = torch.tensor([COLOURS.index(names[i % len(names)]) for i in range(n)])
        images = torch.rand(n, 3, 16, 16, generator=generator)
        return Samples("image", images, tuple(f"{split}/{cls}/{seed}/{i}" for i in range(n)), labels)

    def truth(self, classifier):
        return None


def net(options):
    import torch
    from xcore.models.classifiers import TorchClassifier

    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return TorchClassifier(torch.nn.Sequential(*layers, torch.nn.Linear(8, 3)), COLOURS)


class Moment:
    def __init__(self, options): ...

    def explain(self, task):
        import torch

        until = time.monotonic() + float(os.environ["XCORE_KILLS_SECONDS"])
        step = 0
        while time.monotonic() < until:
            time.sleep(0.02)
            step += 1
            task.progress(min(step, 99), 100)
        generator = torch.Generator().manual_seed(task.seed)
        value = float(task.classifier.logits(task.samples)[:, task.target].double().mean())
        picked = torch.randint(len(task.samples), (4,), generator=generator)
        samples = Samples("image", task.samples.images[picked], tuple(task.samples.ids[i] for i in picked.tolist()))
        made = Explanation("moment", task.target_name, "the logit", (Concept("C1", value, samples),))
        with Path(os.environ["XCORE_KILLS_LOG"]).open("a") as file:
            file.write(f"{task.target_name} {task.seed}\\n")
        return made


class Digest:
    direction, needs = "none", frozenset({"samples:image"})

    def __init__(self, options): ...

    def score(self, runs):
        time.sleep(0.05)
        concept = runs[0].explanation.concepts[0]
        bits = hashlib.sha256(concept.samples.images.numpy().tobytes()).hexdigest()
        return [Score("digest", 0, int(bits[:12], 16) / 1e3)]


class Joint:
    direction, needs = "none", frozenset({"samples:image"})

    def __init__(self, options): ...

    def score(self, runs):
        return [Score("joint", None, float(sum(r.explanation.concepts[0].importance for r in runs)))]


@hookimpl
def register_datasets(register):
    register("moment-data", Data, summary="three colours")


@hookimpl
def register_classifiers(register):
    register("moment-net", net, summary="a net that was never trained")


@hookimpl
def register_explainers(register):
    register("moment", Moment, summary="takes a moment")


@hookimpl
def register_metrics(register):
    register("digest", Digest, summary="a digest of the samples")
    register("joint", Joint, summary="over seeds", across=("seed",))
'''


class Harness:
    """Runs the command in one folder, and knows what it has computed.

    Parameters
    ----------
    folder
        Where runs, the plugin and logs are kept.
    engine, settings
        The engine and its options, as `xcore bench` takes them.
    seconds
        What a cell takes.
    seeds
        How many cells each of the three classes has.
    """

    def __init__(self, folder: Path, engine: str, settings: list[str], seconds: float, seeds: int) -> None:
        self.folder, self.engine, self.settings, self.seconds, self.seeds = folder, engine, settings, seconds, seeds
        (folder / "moment_plugin.py").write_text(PLUGIN)

    def start(self, run: str, engine: str = "") -> subprocess.Popen[bytes]:
        """Begin the command, in a session of its own as a terminal would."""
        words = ["bench", "--plugin", "moment_plugin.py", "--data", "moment-data", "--class", "all", "--out", run]
        words += [
            "--methods",
            "moment",
            "--controls",
            "",
            "--metrics",
            "digest,joint",
            "--threads",
            "1",
            "--samples",
            "8",
        ]
        words += ["--seeds", str(self.seeds), "--engine", engine or self.engine]
        words += [word for setting in self.settings if not engine for word in ("--set", setting)]
        about = {"XCORE_KILLS_SECONDS": str(self.seconds), "XCORE_KILLS_LOG": str(self.folder / f"{run}.log")}
        (self.folder / "tmp").mkdir(exist_ok=True)
        with (self.folder / f"{run}.err").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "xcore", *words],
                cwd=self.folder,
                env={**os.environ, **about, "TMPDIR": str(self.folder / "tmp")},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def records(self, run: str) -> list[Path]:
        """The records that are there."""
        return list((self.folder / run / "explanations").glob("moment.*"))

    def finished(self, run: str) -> Counter[str]:
        """The cells whose record is there and whole, under its own name: only then a cell counts as finished."""
        found: Counter[str] = Counter()
        for file in (self.folder / run / "explanations").glob("moment.*/record.json"):
            record = json.loads(file.read_text())
            if record["status"] == "ok":
                found[f"{record['cell']['cls']} {record['cell']['seed']}"] += 1
        return found

    def computed(self, run: str) -> Counter[str]:
        """How often each cell was computed to its end."""
        log = self.folder / f"{run}.log"
        return Counter(log.read_text().splitlines()) if log.exists() else Counter()

    def table(self, run: str) -> list[dict[str, str]]:
        """The table without times."""
        with (self.folder / run / "table.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]

    def workers(self, run: str, command: int) -> list[int]:
        """The processes that are at work beside that of the command."""
        files = (self.folder / run / "live").glob("worker-*.json")
        return [pid for pid in (int(file.stem.rpartition("-")[2]) for file in files) if pid != command]


def ended_runs(harness: Harness, o: argparse.Namespace) -> dict[str, Any]:
    """End starts of the command until so many are ended; returns what was seen."""
    wanted = harness.table("whole")
    kept = json.loads(o.counts.read_text()) if o.counts and o.counts.exists() else {}
    seen: Counter[str] = Counter(kept.get("seen", {}))
    again: list[str] = kept.get("again", [])
    differ: list[str] = kept.get("differ", [])
    at: list[int] = kept.get("at", [])
    while seen["kills"] < o.kills:
        number = seen["runs"] + 1
        rng = random.Random(f"{o.seed} {number}")
        run = f"run-{number}"
        shutil.rmtree(harness.folder / run, ignore_errors=True)  # of a harness that was ended itself
        (harness.folder / f"{run}.log").unlink(missing_ok=True)
        while True:  # until a start of the command comes to its end
            # In this order: what ends in between, in a process that outlives its command for a moment, is in neither.
            done = harness.finished(run)
            before = harness.computed(run)
            process = harness.start(run)
            name = rng.choice(sorted(SIGNALS)) if o.signal == "mix" else o.signal
            # After a few more cells than are finished; one start in eight while it begins, however long that takes.
            begins = rng.random() < 1 / 8
            target = len(done) if begins else len(done) + rng.randint(1, o.cells)
            wait, total = rng.uniform(0, 10 * o.most if begins else o.most), 3 * harness.seeds
            victim = rng.random()
            killed = False
            if seen["kills"] < o.kills and target < total:  # one with nothing left to do comes to its end
                while process.poll() is None and len(harness.records(run)) < target:
                    time.sleep(0.01)
                began = time.monotonic()
                while process.poll() is None and (
                    time.monotonic() - began < wait or (o.whom == "worker" and not harness.workers(run, process.pid))
                ):
                    time.sleep(0.01)
                killed = process.poll() is None and _end(process, harness, run, o.whom, SIGNALS[name], victim)
            seen["kills"] += killed
            if killed:
                at.append(sum(harness.finished(run).values()))
            seen[f"by SIG{name.upper()}"] += killed
            code = _left(process, o.patience)
            seen["starts"] += 1
            for cell in done:
                if harness.computed(run)[cell] > before[cell]:
                    again.append(f"{run}: {cell}")
            if code == 0:
                break
            if not killed and code != 1:
                raise SystemExit(f"{run} left with {code}; see {harness.folder / run}.err")
        if harness.table(run) != wanted:
            differ.append(run)
        seen["runs"] += 1
        left = [p.name for p in (harness.folder / run).rglob(".writing-*")]
        seen["half-written files in the end"] += len(left)
        if not o.keep and run not in differ:
            shutil.rmtree(harness.folder / run)
        if o.counts:
            o.counts.write_text(json.dumps({"seen": seen, "again": again, "differ": differ, "at": at}))
    print(f"cells finished when a start was ended, of {3 * harness.seeds}: {at}")
    return {**seen, "finished cells that were computed again": again, "tables that differ": differ}


def _end(process: subprocess.Popen[bytes], harness: Harness, run: str, whom: str, by: int, chosen: float) -> bool:
    """End the command, or one of its workers; whether one was there."""
    if whom == "worker":
        workers = harness.workers(run, process.pid)
        if not workers:
            return False
        try:
            os.kill(workers[int(chosen * len(workers))], by)
        except ProcessLookupError:
            return False
        return True
    if by == signal.SIGINT:
        os.killpg(process.pid, by)  # as Ctrl-C in a terminal does
    else:
        process.send_signal(by)
    return True


def _left(process: subprocess.Popen[bytes], patience: float) -> int:
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise SystemExit(f"the command did not end within {patience:g} s") from None


def two_machines(tries: int = 5) -> tuple[Any, Any]:
    """A cluster of Ray, and its second machine; Ray waits for 30 seconds only, which a busy machine exceeds."""
    from ray.cluster_utils import Cluster

    for left in reversed(range(tries)):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1, include_dashboard=False, wait=False)
            other = cluster.add_node(num_cpus=1, wait=False)
            cluster.wait_for_nodes(timeout=300)
        except Exception as error:
            cluster.shutdown()
            print(f"no cluster of Ray: {error}; {left} tries are left", file=sys.stderr, flush=True)
        else:
            return cluster, other
    raise SystemExit("no cluster of Ray can be started here")


def lose_node(harness: Harness) -> dict[str, Any]:
    """A cluster of two machines on this one, one of which is ended in the middle of a run."""
    about = {"XCORE_KILLS_SECONDS": str(harness.seconds), "XCORE_KILLS_LOG": str(harness.folder / "node.log")}
    os.environ.update(about)
    cluster, other = two_machines()
    try:
        harness.settings = [f"ray.address={cluster.address}"]
        process = harness.start("node")
        while len(harness.finished("node")) < 2 and process.poll() is None:
            time.sleep(0.1)
        at = len(harness.finished("node"))
        cluster.remove_node(other, allow_graceful=False)
        code = _left(process, 600)
    finally:
        cluster.shutdown()
    return {
        "cells finished when the machine was ended": at,
        "exit code": code,
        "cells finished in the end": len(harness.finished("node")),
        "tables that differ": [] if harness.table("node") == harness.table("whole") else ["node"],
        "finished cells that were computed again": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="local", choices=("local", "processes", "ray", "submitit"))
    parser.add_argument("--signal", default="mix", choices=("mix", *SIGNALS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--whom", default="command", choices=("command", "worker"))
    parser.add_argument("--set", action="append", default=[], help="option of the engine, as for `xcore bench`")
    parser.add_argument("--seconds", type=float, default=0.4, help="what a cell takes")
    parser.add_argument("--seeds", type=int, default=4, help="cells of each of the three classes")
    parser.add_argument("--cells", type=int, default=4, help="most cells from one end to the next")
    parser.add_argument("--most", type=float, default=3.0, help="most seconds from a number of cells to the end")
    parser.add_argument("--patience", type=float, default=300.0, help="a start that takes longer is a failure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lose-node", action="store_true", help="end one of two machines of a Ray cluster instead")
    parser.add_argument("--counts", type=Path, help="file that keeps the counts; with one that is there, they go on")
    parser.add_argument("--folder", type=Path, help="work here and keep everything; default: a temporary folder")
    o = parser.parse_args()
    o.keep = o.folder is not None
    folder = (o.folder or Path(tempfile.mkdtemp(prefix="xcore-kills-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        harness = Harness(folder, o.engine, o.set, o.seconds, o.seeds)
        if harness.start("whole", "local").wait() != 0:
            raise SystemExit((folder / "whole.err").read_text())
        found = lose_node(harness) if o.lose_node else ended_runs(harness, o)
    finally:
        if not o.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"`python benchmarks/kills.py {' '.join(sys.argv[1:])}`, {time.monotonic() - start:.0f} s")
    for what, value in found.items():
        print(f"{what}: {value if isinstance(value, int) else len(value)}")
        for line in value if isinstance(value, list) else []:
            print(f"  {line}")
    failed = found["tables that differ"] or found["finished cells that were computed again"] or found.get("exit code")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
