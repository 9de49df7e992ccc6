"""Suites, command lines and damaged records at random: whatever comes, xcore ends with a result or with one line.

    python benchmarks/fuzz.py --cases 5000 --seed 0
    python benchmarks/fuzz.py --cases 5000 --seed 0 --counts fuzz.json      # the same again goes on

A third of the cases are suites, a third command lines, a third runs with a damaged file, all on the toy world of the
tests, which needs no network. Each case is drawn from the seed and its number alone; ``--only N`` repeats one and shows
all that it prints. A case fails if there is a traceback, if it does not end within ``--limit`` seconds, if its exit
code is none of ours, or if a run whose damage can be seen is not made again with the same scores.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOY = Path(__file__).resolve().parents[1] / "tests" / "plugins" / "toy_plugin.py"
METHODS = ("toy", "rude", "skip", "nan", "crash")
METRICS = ("brightness", "spread")
CLASSES = ("red", "green", "blue")
CODES = (0, 1, 2, 3)
NAMES = ("", " ", "tóy", "toy\x1b[2J", "\u202eyot", "../x", "toy/toy", "toy:", ":", "=1+1", "a" * 3000, "\x00", "🚀")
WEIRD = (None, True, -1, 0, 2**70, 1e308, -0.5, float("inf"), float("nan"), [], {}, [[]], [{}], {"": 1}, *NAMES)


class TooLong(BaseException):
    """A case does not end."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    trace: str = ""

    @property
    def broken(self) -> str:
        """What is wrong with how it ended; empty if nothing is."""
        if self.trace:
            return self.trace.strip().splitlines()[-1]
        if "Traceback (most recent call last)" in self.out + self.err:
            return "it printed a traceback"
        if self.code not in CODES:
            return f"its exit code is {self.code}"
        if self.code and not self.err.strip():
            return "it failed without a word"
        return ""

    @property
    def scores(self) -> list[Any]:
        """The scores that ``--json`` printed."""
        rows = [json.loads(line) for line in self.out.splitlines()]
        return [
            (row["label"], row["class"], row["seed"], row["scores"], row["overall"]) for row in rows if "label" in row
        ]


@dataclass
class Tally:
    """What became of the cases."""

    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(self.ended.values())

    def keep(self, path: Path) -> None:
        """Write it down, whole or not at all."""
        path.with_suffix(".new").write_text(json.dumps(vars(self)))
        path.with_suffix(".new").replace(path)

    @classmethod
    def kept(cls, path: Path | None) -> Tally:
        """What was written down; nothing if there is no such file."""
        plain = json.loads(path.read_text()) if path is not None and path.exists() else {}
        return cls(Counter(plain.get("ended", {})), plain.get("failures", []), plain.get("seconds", 0.0))


def call(words: list[str], limit: float) -> Ended:
    """Run a command in this process."""
    from xcore.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, signal.signal(signal.SIGALRM, _too_long)
    sys.argv = ["xcore", *words]
    code: Any = 0
    trace = ""
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as left:
        code = left.code or 0
    except TooLong:
        trace = f"it did not end within {limit:g} s"
    except BaseException:
        trace = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.argv = before[0]
        signal.signal(signal.SIGALRM, before[1])
    return Ended(code if isinstance(code, int) else 1, out.getvalue(), err.getvalue(), trace)


def _too_long(*_: Any) -> None:
    raise TooLong


# -- suites ------------------------------------------------------------------------------------------------------------
def suite(rng: random.Random) -> dict[str, Any]:
    """A suite that is right."""
    made: dict[str, Any] = {"data": "toy", "methods": rng.sample(METHODS[:3], rng.randint(1, 2))}
    made["classes"] = rng.sample(CLASSES, rng.randint(1, 2))
    made["metrics"] = rng.sample(METRICS, rng.randint(0, 2))
    made["budget"] = {"samples": rng.randint(2, 6), "heldout": rng.randint(2, 6)}
    more = {
        "seeds": rng.sample(range(5), rng.randint(1, 2)),
        "data_seed": rng.randint(0, 9),
        "classifiers": ["toy-net"],
        "threads": rng.randint(0, 2),
        "controls": ["crash"],
        "engine": "backwards",
        "layer": rng.choice(["", "0", "1"]),
        "arms": [{"label": "mine", "method": "toy"}],
        "leave_out": {"toy-net": ["blue"]},
        "gates": [rng.choice(["toy.brightness >= 0", "*.brightness <= 0.1"])]
        if "brightness" in made["metrics"]
        else [],
        "name": rng.choice(["fuzz", "my suite", "a/b"]),
    }
    if made["gates"] if "gates" in made else "toy" not in made["methods"]:
        more["gates"] = []
    for key in rng.sample(sorted(more), rng.randint(0, 4)):
        made[key] = more[key]
    return made


def spoil(rng: random.Random, plain: Any) -> Any:
    """The same data with one thing changed, somewhere in it."""
    if isinstance(plain, dict) and plain and rng.random() < 0.8:
        key = rng.choice(sorted(plain))
        what = rng.random()
        if what < 0.15:
            return {k: v for k, v in plain.items() if k != key}
        if what < 0.25:
            return {**plain, key[:-1] + rng.choice("xs_"): plain[key]}
        return {**plain, key: spoil(rng, plain[key])}
    if isinstance(plain, list) and plain and rng.random() < 0.8:
        i = rng.randrange(len(plain))
        what = rng.random()
        if what < 0.2:
            return plain[:i] + plain[i + 1 :]
        if what < 0.4:
            return [*plain, plain[i]]
        return [*plain[:i], spoil(rng, plain[i]), *plain[i + 1 :]]
    return rng.choice(WEIRD)


def toml(value: Any) -> str:
    """A value as TOML; what TOML has no word for is left to its parser."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def fuzz_suite(rng: random.Random, place: Path, limit: float) -> tuple[str, str]:
    """Run a suite; how it ended, and what is wrong."""
    plain = suite(rng)
    mend = rng.random() < 0.5
    for _ in range(0 if mend else rng.randint(1, 3)):
        changed = spoil(rng, plain)
        plain = changed if isinstance(changed, dict) else plain
    text = "\n".join(
        f"{key if key.isidentifier() else json.dumps(key)} = {toml(value)}" for key, value in plain.items()
    )
    content = text.encode("utf-8", "surrogatepass")
    if not mend and rng.random() < 0.2:
        content = damaged(rng, content)
    (place / "suite.toml").write_bytes(content)
    words = ["bench", "--suite", "suite.toml", "--plugin", str(TOY), "--out", "run", *rng.choice([[], ["--json"]])]
    done = call(words, limit)
    ran = "ran" if done.code in (0, 1) and (place / "run" / "table.json").exists() else "refused"
    show(done)
    return f"suite {ran}", done.broken


# -- command lines -----------------------------------------------------------------------------------------------------
VALUES: dict[str, tuple[str, ...]] = {
    "--methods": ("toy", "toy,skip", "crash", "toy,toy", "tyo", ",", ""),
    "--class": ("red", "red,green", "all", "rde", ""),
    "--data": ("toy", "folder:nothing", "nothing", "toy:x"),
    "--classifier": ("toy-net", "timm:nothing", "torchvision:resnet1", "file:x.pt"),
    "--metrics": ("brightness", "", "spread", "bright"),
    "--controls": ("", "noise", "toy"),
    "--seeds": ("1", "2", "0,1", "0,0", "-1", "a", "1e9", "99999999999999999999", ""),
    "--threads": ("1", "-1", "513", "x"),
    "--device": ("cpu", "cuda:99", "x", ""),
    "--batch-size": ("1", "0", "-3", "x", "99999999999999"),
    "--layer": ("0", "nothing", ""),
    "--set": ("toy.k=1", "toy", "=", "toy.k", "a.b.c=d", ""),
    "--model": ("image-text=x", "x", "=", ""),
    "--generator": ("x", ""),
    "--contrast": ("toy", "x"),
    "--engine": ("backwards", "x", ""),
    "--gate": ("toy.brightness >= 0", "toy.brightness", ">=", "toy.TS > x", ""),
    "--format": ("md", "csv", "json", "tex", "parquet", "pdf", ""),
    "--suite": ("default", "nothing", "nothing.toml", ""),
    "--out": ("run", "new", "file", "a/b/c"),
    "--baseline": ("file", "nothing.json"),
    "--seed": ("0", "-1", "x"),
    "--samples": ("3", "0", "-1", "x"),
    "--budget": ("samples=3", "x"),
    "--json": (),
    "--strict": (),
    "--every": (),
    "--help": (),
    "--version": (),
    "--nothing": (),
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("bench", "--data", "toy", "--methods", "toy", "--class", "red"),
    ("bench",),
    ("explain", "toy", "--data", "toy", "--class", "red"),
    ("explain",),
    ("report", "run"),
    ("report", "file"),
    ("report",),
    ("compare", "run", "run"),
    ("score", "run", "--metrics", "spread"),
    ("runs", "list"),
    ("runs", "show", "run"),
    ("list",),
    ("list", "metrics"),
    ("show", "toy"),
    ("show",),
    ("layers", "toy-net"),
    ("plugins",),
    ("benhc",),
    ("",),
)


def flags(command: str) -> set[str]:
    """The flags of a command; none where there is no such command."""
    import typer

    from xcore.cli.main import app

    commands = getattr(typer.main.get_command(app), "commands", {})
    return {name for option in getattr(commands.get(command), "params", ()) for name in option.opts}


def fuzz_command(rng: random.Random, place: Path, limit: float) -> tuple[str, str]:
    """Run a command line in a folder with a finished run; how it ended, and what is wrong."""
    shutil.copytree(finished(limit), place / "run")
    (place / "file").write_text("no run")
    words = list(rng.choice(COMMANDS))
    if words[0] in ("bench", "explain", "show", "layers", "score"):
        words += ["--plugin", str(TOY)]
    known = sorted(flags(words[0]) & VALUES.keys()) if rng.random() < 0.85 else sorted(VALUES)
    for flag in rng.sample(known, min(len(known), rng.randint(0, 3))):
        values = VALUES[flag]
        right = values[:1] if rng.random() < 0.5 else NAMES if rng.random() < 0.2 else values
        words += [flag] if not values else [flag, rng.choice(right)]
    if rng.random() < 0.2:
        words.insert(rng.randrange(len(words) + 1), rng.choice([*NAMES, "--", "-", "-x", "--set"]))
    if rng.random() < 0.1:
        words.pop(rng.randrange(len(words)))
    done = call(words, limit)
    show(done, words)
    return f"command {'done' if done.code in (0, 1) else 'refused'}", done.broken


# -- records -----------------------------------------------------------------------------------------------------------
def damaged(rng: random.Random, content: bytes) -> bytes:
    """The content with a flipped bit, without its end, with other bytes in it, or replaced."""
    what = rng.randrange(5)
    at = rng.randrange(len(content) or 1)
    if what == 0 and content:
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if what == 1:
        return content[:at]
    if what == 2:
        return content[:at] + rng.randbytes(rng.randint(1, 20)) + content[at:]
    if what == 3:
        return rng.choice(
            [b"", b"{}", b"[]", b"null", b"3", b"NaN", b"[" * 50_000, b"9" * 5000, b'{"a":' * 50_000, b"\xff"]
        )
    return rng.randbytes(rng.randint(1, 300))


def sealed(plain: Any) -> bytes:
    """JSON with the checksum that a record of ours would have, which nobody but a forger writes."""
    text = json.dumps(plain, indent=1).removesuffix("\n}").encode()
    return text + b',\n "sum": "' + hashlib.sha256(text).hexdigest().encode() + b'"\n}'


def fuzz_record(rng: random.Random, place: Path, limit: float) -> tuple[str, str]:
    """Damage a file of a finished run, report it, and run it again."""
    run = place / "run"
    shutil.copytree(finished(limit), run)
    files = sorted(p for p in run.rglob("*") if p.is_file() and (p.suffix == ".json" or "explanations" in p.parts))
    path = rng.choice([p for p in files if p.suffix == ".json"] if rng.random() < 0.7 else files)
    forged = False
    if path.suffix == ".json" and rng.random() < 0.5:
        forged = True
        plain = json.loads(path.read_bytes())
        plain.pop("sum", None)
        for _ in range(rng.randint(1, 3)):
            plain = spoil(rng, plain)
        old = rng.random() < 0.5 and isinstance(plain, dict)
        if old:
            plain["schema"] = 1
        path.write_bytes(json.dumps(plain).encode() if old or not isinstance(plain, dict) else sealed(plain))
    elif rng.random() < 0.2:
        path.unlink()
        if rng.random() < 0.3:
            path.mkdir()
            forged = True
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))
    shown = call(["report", "run", *rng.choice([[], ["--json"]])], limit)
    show(shown)
    again = call(["bench", *ASKED, "--json"], limit)
    show(again)
    wrong = shown.broken or again.broken
    if not wrong and not forged and again.code == 0 and again.scores != finished_scores(limit):
        wrong = "the scores are others after it was made again"
    ended = "made again" if again.code == 0 else "told" if again.code == 1 else "refused"
    return f"record {ended}", wrong and f"{path.relative_to(run)}: {wrong}"


ASKED = ["--data", "toy", "--plugin", str(TOY), "--methods", "toy", "--class", "red", "--out", "run"]
ASKED += ["--metrics", ",".join(METRICS), "--seeds", "2"]
_finished: dict[str, Any] = {}


def finished(limit: float) -> Path:
    """A finished run, which cases copy."""
    if not _finished:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        here = Path.cwd()
        os.chdir(folder)
        done = call(["bench", *ASKED, "--json"], 10 * limit)
        os.chdir(here)
        if done.broken or done.code:
            raise SystemExit(f"the run that is to be damaged fails: {done.broken}\n{done.err}")
        _finished.update(folder=folder / "run", scores=done.scores)
    return Path(_finished["folder"])


def finished_scores(limit: float) -> list[Any]:
    """Its scores."""
    finished(limit)
    return list(_finished["scores"])


def cheaper() -> None:
    """Make once what every process makes: the parser, and a folder of one plugin."""
    import functools

    import typer

    global TOY
    alone = Path(tempfile.mkdtemp(prefix="fuzz-")) / TOY.name
    shutil.copy(TOY, alone)
    ASKED[ASKED.index(str(TOY))] = str(alone)
    TOY = alone
    typer.main.get_command = functools.cache(typer.main.get_command)


# -- all of it ---------------------------------------------------------------------------------------------------------
KINDS: tuple[Callable[[random.Random, Path, float], tuple[str, str]], ...] = (fuzz_suite, fuzz_command, fuzz_record)
_verbose = [False]


def show(done: Ended, words: list[str] | None = None) -> None:
    """Print what a command printed, if it was asked for."""
    if _verbose[0]:
        print(*(words or ()), f"\n-- exit code {done.code}\n{done.out[-3000:]}\n{done.err[-3000:]}\n{done.trace}")


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    here = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(here)
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(numbers: list[int], seed: int, limit: float = 60.0) -> Tally:
    """Run cases by their numbers."""
    os.environ["XCORE_PLUGINS"] = ""  # the toy world alone
    os.environ.setdefault("XCORE_CACHE", tempfile.mkdtemp(prefix="fuzz-"))
    tally = Tally()
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        kind = KINDS[number % len(KINDS)]
        with _place() as place:
            ended, wrong = kind(rng, place, limit)
        tally.ended[ended] += 1
        if wrong:
            tally.failures.append(f"case {number} ({ended}): {wrong}")
            print(tally.failures[-1], flush=True)
    return tally


def main() -> None:
    """Run the cases of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a command may take")
    parser.add_argument("--only", type=int, help="the number of the one case to run")
    parser.add_argument("--counts", type=Path, help="file that keeps the counts; with one that is there, they go on")
    asked = parser.parse_args()
    _verbose[0] = asked.only is not None
    cheaper()
    tally = Tally.kept(asked.counts)
    while tally.cases < (1 if asked.only is not None else asked.cases):
        began = time.time()
        until = min(asked.cases, tally.cases + 30)
        some = fuzz([asked.only] if asked.only is not None else [*range(tally.cases, until)], asked.seed, asked.limit)
        took = tally.seconds + time.time() - began
        tally = Tally(tally.ended + some.ended, tally.failures + some.failures, took)
        if asked.counts:
            tally.keep(asked.counts)
    for ended, count in sorted(tally.ended.items()):
        print(f"{count:6} {ended}")
    print(f"{len(tally.failures)} of {tally.cases} cases failed, in {tally.seconds:.0f} s")
    raise SystemExit(bool(tally.failures))


if __name__ == "__main__":
    main()
