"""What distributions say of themselves is read once, and again only when something was installed or removed."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from xcore.store import installed


def install(folder, number: str, needs: str) -> None:
    for old in folder.glob("*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    about = folder / f"xcore_made-{number}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: xcore-made\nVersion: {number}\nRequires-Dist: {needs}\n"
    )
    (about / "entry_points.txt").write_text("[xcore]\nmade = pack_made.plugin\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that holds one plugin, and a cache of its own."""
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "site"
    folder.mkdir()
    install(folder, "1.0", "numpy>=1")
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget()


def forget() -> None:
    """As in a new process."""
    for function in (installed._kept, installed._version, installed.plugin_packages):
        function.cache_clear()


def said() -> list[object]:
    forget()
    return [
        installed.version("xcore-made"),
        [*installed.requires("xcore-made")],
        installed.plugin_packages()["xcore-made"],
    ]


def test_what_was_read_is_kept_until_another_version_is_installed(site, monkeypatch):
    first = ["1.0", ["numpy>=1"], frozenset({"pack_made"})]
    assert said() == first
    with monkeypatch.context() as patched:
        for name in ("version", "requires", "entry_points"):
            patched.setattr(importlib.metadata, name, lambda *a, **k: pytest.fail("it was read again"))
        assert said() == first
    install(site, "2.0", "scipy")
    assert said() == ["2.0", ["scipy"], frozenset({"pack_made"})]


def test_what_is_not_installed_has_no_version_and_requires_nothing(site):
    forget()
    assert (installed.version("no-such-thing"), [*installed.requires("no-such-thing")]) == ("", [])


@pytest.mark.parametrize("kept", ["", "{", json.dumps({"state": []})])
def test_a_damaged_file_is_made_anew(site, tmp_path, kept):
    before = said()
    (file,) = (tmp_path / "cache").glob("installed-*.json")
    file.write_text(kept)
    assert said() == before
    assert json.loads(file.read_text())["versions"]["xcore-made"] == "1.0"
