"""Plugins that were never seen before are loaded in a child process first.

Code that runs while a plugin loads may end the process (``os._exit``, a crash of a compiled library) or never come
back. There it harms nothing. A plugin is known by the digest of its files, and what was found is kept in the user's
cache: the next start asks no child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

from xcore.base.errors import UsageError
from xcore.base.files import cache_directory, write_text
from xcore.cards import GROUP, record_of, sources_of

SECONDS = 30.0
"""How long one plugin may take to load for the first time; the variable XCORE_LOAD_SECONDS gives another limit."""
FILE = "plugins-tried.json"
MOST = 500
"""Verdicts that are kept; the oldest are dropped."""
Key = tuple[str, str]
"""Entry point and distribution."""


def dangers(points: Sequence[EntryPoint], again: bool = False) -> dict[Key, str]:
    """Which plugins must not be loaded here, and why.

    Parameters
    ----------
    points
        The entry points that are to be loaded.
    again
        Also try those again that were dangerous before.
    """
    limit = _limit()
    if not limit:
        return {}
    tried = _read()
    digests = [_digest(point) for point in points]
    new = [i for i, key in enumerate(digests) if key not in tried or (again and tried[key])]
    if new:
        verdicts = _tried([points[i] for i in new], limit)
        for i, reason in zip(new, verdicts, strict=False):  # fewer, where no child can be started
            tried.pop(digests[i], None)
            tried[digests[i]] = reason
        _write(tried)
    named = ((_key(point), tried.get(key, "")) for point, key in zip(points, digests, strict=True))
    return {key: reason for key, reason in named if reason}


def _limit() -> float:
    text = os.environ.get("XCORE_LOAD_SECONDS", "") or str(SECONDS)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < threading.TIMEOUT_MAX:
        raise UsageError(f"XCORE_LOAD_SECONDS is {text!r}", "write seconds, such as 60, or 0 to try no plugin first")
    return limit


def _key(point: EntryPoint) -> Key:
    return point.name, point.dist.name if point.dist else point.name


# -- what was found before -------------------------------------------------------------------------------------------
def _read() -> dict[str, str]:
    try:
        kept = json.loads((cache_directory() / FILE).read_bytes())
        return {str(key): str(reason) for key, reason in kept.items()}
    except (OSError, ValueError, AttributeError):  # not there, or cut off: all are tried again
        return {}


def _write(tried: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
        cache_directory().mkdir(parents=True, exist_ok=True)
        write_text(cache_directory() / FILE, json.dumps(dict([*tried.items()][-MOST:])))


def _digest(point: EntryPoint) -> str:
    """What identifies the code of a plugin: its RECORD and its Python files. Nothing of it is imported."""
    read: list[bytes] = [f"{sys.version} {point.value}".encode()]
    record = record_of(point)
    with contextlib.suppress(OSError, ImportError, ValueError):  # what cannot be found fails when it is loaded
        read += [Path(record).read_bytes()] if record else []
        read += [path.read_bytes() for path in sources_of(point)[1]]
    checksums = [zlib.crc32(content) for content in read]
    return f"{point.name} {zlib.crc32(json.dumps(checksums).encode()):08x} {sum(map(len, read))}"


# -- in this process -------------------------------------------------------------------------------------------------
def _tried(points: Sequence[EntryPoint], limit: float) -> list[str]:
    """Why each of these must not be loaded here; "" if it may be. One child tries them all, unless one ends it."""
    found: list[str] = []
    while len(found) < len(points):
        more = _in_one_child(points[len(found) :], limit)
        if not more:  # no child can be started here, so nothing is known of the rest
            break
        found += more
    return found


def _in_one_child(points: Sequence[EntryPoint], limit: float) -> list[str]:
    """The verdicts of one child, up to the plugin that ended it; none if it could not be started."""
    paths = os.pathsep.join(path or os.curdir for path in sys.path)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "xcore.loading.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # an interrupt by the user is for this process, which then ends the child
        )
    except OSError:
        return []
    assert child.stdin is not None
    found: list[str] = []
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps([[*_key(point), point.value] for point in points]).encode())
        if _line(child, limit) == b"ready\n":
            while len(found) < len(points):
                if (answer := _line(child, limit)) is None:
                    hint = "XCORE_LOAD_SECONDS gives it more, and `xcore plugins` tries it again"
                    found.append(f"it was still loading after {limit:g} seconds ({hint})")
                    break
                if not answer.endswith(b"\n"):
                    found.append(f"it ended the process in which it was loaded ({_exit_of(child)})")
                    break
                found.append(str(json.loads(answer)))
    finally:
        _end(child)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    return found


def _line(child: subprocess.Popen[bytes], limit: float) -> bytes | None:
    """The next line of a child; what there is of it if it ended, and None if it took too long, which ends it."""
    assert child.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(child)

    timer = threading.Timer(limit, stop)
    timer.start()
    try:
        line = child.stdout.readline()
    finally:
        timer.cancel()
    return None if late.is_set() else line


def _exit_of(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:  # it closed its pipe, and lives on
        return "it closed its output"
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child, with what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


# -- in the child ----------------------------------------------------------------------------------------------------
def main() -> None:
    """Load the plugins that stdin names, and print a line for each: why it must not be loaded elsewhere, or ""."""
    from xcore.loading.plugins import Loader

    points = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a plugin prints is no answer
        answers.write(b"ready\n")
        loader = Loader()
        for name, distribution, value in points:
            reason = ""
            try:
                loader.load(name, distribution, "", EntryPoint(name, value, GROUP).load)
            except KeyboardInterrupt:
                reason = "it raises KeyboardInterrupt, as if the user had pressed Ctrl-C"
            answers.write(json.dumps(reason).encode() + b"\n")
    os._exit(0)  # whatever threads it left


if __name__ == "__main__":
    main()
