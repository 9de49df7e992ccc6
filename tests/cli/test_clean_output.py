"""Only results are on stdout, whoever writes there; no name moves the cursor; a signal ends a command like Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from xcore.base.streams import for_drawing, harmless, harmless_json, printable_output
from xcore.cli.listing import print_line
from xcore.cli.main import main
from xcore.contract import Cell, Outcome, Ref
from xcore.report.layout import Grid, Line
from xcore.report.terminal import show_grid
from xcore.run.progress import Bars

NOISY = """
import atexit, ctypes, os, subprocess, sys
from xcore.cli import main as command
from xcore.session import print_line

@command.app.command()
def noisy():
    atexit.register(print, "at the end")
    atexit.register(os.write, 1, b"at the very end\\n")
    os.write(1, b"by its number\\n")
    subprocess.run(["echo", "by a process"])
    subprocess.run(["echo", "by a process with the same stdout"], stdout=1)
    print("by the first stdout", file=sys.__stdout__, flush=True)
    ctypes.CDLL(None).printf(b"by C\\n")
    print_line({"result": 1})
    os.write(1, b"after the result\\n")
    print_line({"result": 2})

command.main()
"""
HELD = """
import os, signal, sys, time
from xcore.cli import main as command

@command.app.command()
def held(number: int):
    try:
        os.kill(os.getpid(), number)
        time.sleep(20)
    finally:
        print("given back", file=sys.stderr)

command.main()
"""
LEFT = """
import sys, threading, time
from xcore.cli import leaving, main as command

leaving.PATIENCE = 0.5

@command.app.command()
def left(seconds: float):
    threading.Thread(target=time.sleep, args=(seconds,), name="sleeper").start()
    sys.exit(3)

command.main()
"""
NAME = "a\x1b[2Jb\x9bc\u202ed\r\x07e\u2028f\U000e0041"


def command(code, *words, **more):
    env = {**os.environ, "XCORE_PLUGINS": ""}
    call = [sys.executable, "-c", code, *words]
    return subprocess.run(call, capture_output=True, text=True, env=env, check=False, timeout=60, **more)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no echo")
def test_only_results_are_on_stdout_whoever_writes_there():
    done = command(NOISY, "noisy")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"result": 1}, {"result": 2}]
    for what in ("its number", "a process", "a process with the same stdout", "the first stdout", "C"):
        assert f"by {what}\n" in done.stderr
    assert "at the end\n" in done.stderr
    assert "at the very end\n" in done.stderr
    assert done.returncode == 0


def test_without_stderr_results_come_all_the_same():
    done = command(NOISY, "--version", preexec_fn=lambda: os.close(2))
    assert (done.stdout.startswith("xcore "), done.returncode) == (True, 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_results_that_a_full_disk_swallows_are_one_line():
    with open("/dev/full", "w") as full:
        env = {**os.environ, "XCORE_PLUGINS": ""}
        call = [sys.executable, "-m", "xcore", "--version"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["xcore: No space left on device; to go on: xcore --version"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_like_an_interrupt(name, code):
    heeded = {
        "preexec_fn": lambda: signal.signal(getattr(signal, name), signal.SIG_DFL)
    }  # these tests may run under nohup
    done = command(HELD, "held", str(int(getattr(signal, name))), **heeded)
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"interrupted by {name}; to go on: xcore held")
    assert "given back" in lines


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_a_signal_that_is_ignored_stays_ignored_as_under_nohup():
    code = HELD.replace("time.sleep(20)", "print('goes on')")
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    done = command(code, "held", str(int(signal.SIGHUP)), **ignored)
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_handlers_and_streams_are_given_back(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr, os.fstat(1).st_ino
    monkeypatch.setattr(sys, "argv", ["xcore", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert (signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr, os.fstat(1).st_ino) == before


def test_control_characters_are_escaped_and_nothing_is_dropped():
    assert harmless(NAME) == "a\\x1b[2Jb\\x9bc\\u202ed\\r\\x07e\\u2028f\\U000e0041"
    assert harmless("tab\tand\nline, naïve 猫 👩‍🚀 עברית") == "tab\tand\nline, naïve 猫 👩‍🚀 עברית"


def test_json_has_them_as_escapes_that_read_back_as_they_were(capsys):
    print_line({"name": NAME})
    out = capsys.readouterr().out
    assert not any(c in out for c in "\x1b\x9b\u202e\r\x07\u2028\U000e0041")
    assert json.loads(out) == {"name": NAME}
    assert json.loads(harmless_json('"\x7f\U000e0041"')) == "\x7f\U000e0041"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def streams(monkeypatch):
    """Streams in place of those of pytest, which sets its own again after the fixtures."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    return err


def test_no_name_reaches_a_terminal_unescaped(monkeypatch, tmp_path):
    err = streams(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["xcore", "report", str(tmp_path / NAME)])
    with pytest.raises(SystemExit):
        main()
    said = err.getvalue()
    assert "a\\x1b[2Jb\\x9bc\\u202ed\\r\\x07e\\u2028f\\U000e0041 is not a run directory" in said
    assert said.count("\n") == 1


def test_what_rich_draws_comes_through_and_what_it_is_given_does_not(monkeypatch):
    err = streams(monkeypatch)
    cell = Cell("craft", Ref("craft"), Ref("net"), Ref("data"), NAME, 0)
    with printable_output(), Bars() as bars:
        bars.begin(2, 0)
        bars.begin_cell(cell)
        bars.step(1, 2, NAME)
        bars.warn(NAME)
        print(NAME, file=sys.stderr)
        bars.end_cell(Outcome(cell, "failed", "", NAME))
    said = err.getvalue()
    assert "\x1b[2K" in said, "rich draws"
    assert "\x1b[2J" not in said, "a name does not"
    assert not any(c in said for c in "\x9b\u202e\x07\u2028\U000e0041")
    assert "a\\x1b[2Jb\\x9bc" in said


def test_a_table_on_a_terminal_has_no_control_characters_of_names(monkeypatch):
    streams(monkeypatch)
    with printable_output():
        show_grid(Grid(NAME, (NAME, NAME, NAME), (Line((NAME, NAME, NAME)),), (NAME,)), width=200)
        said = sys.stdout._stream.getvalue()
    assert "\x1b[" in said, "rich draws"
    assert "\x1b[2J" not in said, "a name does not"
    assert not any(c in said for c in "\x9b\u202e\x07\u2028\U000e0041")


def test_bars_of_libraries_may_return_to_the_begin_of_their_line(monkeypatch):
    err = streams(monkeypatch)
    with printable_output():
        for text in ("\r10 %", "\n\n\x1b[A\x1b[A", "\x1b[A10 %\r20 %"):
            print(text, end="", file=sys.stderr)
        for_drawing(sys.stderr).write("\x1b[31mred\x1b[0m \u202eturned")
    assert err.getvalue() == "\r10 %\n\n\x1b[A\x1b[A\\x1b[A10 %\\r20 %\x1b[31mred\x1b[0m \\u202eturned"


@pytest.mark.parametrize(("seconds", "told"), [("600", "threads of a plugin run on: sleeper"), ("0.1", "")])
def test_a_thread_that_a_plugin_leaves_keeps_no_command_from_ending(seconds, told):
    done = command(LEFT, "left", seconds)  # of which the test waits for at most a minute
    assert done.returncode == 3
    assert told in done.stderr
    assert bool(done.stderr) == bool(told)
