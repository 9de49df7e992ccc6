"""Temporary folders: those of killed processes are removed, those of living ones and of others are not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from xcore.base import temporary

HOLDS = """
import sys, time
from xcore.base.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "x").write_text("made")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock there")
def test_what_a_killed_process_left_is_removed_and_nothing_else(place):
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=-1, stdout=-1, text=True) as process:
        folder = place / process.stdout.readline().strip()
        (place / "xcore-mine").mkdir()  # somebody else's folder, which has no mark
        (place / "xcore-file").touch()
        temporary.remove_stale()
        assert (folder / "x").read_text() == "made", "the process lives"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.exists()
    temporary.remove_stale()
    assert sorted(path.name for path in place.iterdir()) == ["xcore-file", "xcore-mine"]


def test_a_folder_is_empty_and_gone_in_the_end_whatever_happens(place):
    def fail():
        with temporary.temporary_folder() as folder:
            assert not list(folder.iterdir())
            (folder / "x").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(place.iterdir())
