"""What was trained or measured depends on the code that computes it, and on no other code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from xcore_minizoo import sources
from xcore_minizoo.planted import Planted


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package's modules, which the digests are taken of."""
    package = tmp_path / "xcore_minizoo"
    package.mkdir()
    for path in Path(sources.__file__).parent.glob("*.py"):
        shutil.copy(path, package)
    monkeypatch.setattr(sources, "_PACKAGE", package)
    sources.code_digest.cache_clear()
    yield package
    sources.code_digest.cache_clear()


def key(copy: Path, module: str) -> str:
    """The code in the key of a planted classifier after a module was changed."""
    with (copy / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    sources.code_digest.cache_clear()
    return str(Planted("cow", "background=grass", 1.0).key()["code"])


def test_a_training_needs_what_paints_and_trains() -> None:
    painters = {"training", "cnn", "collections", "world", "shapes", "textures"}
    assert set(sources.needed("training")) == painters
    assert set(sources.needed("truth")) > painters - {"training"}


def test_imports_are_followed_wherever_they_are_written(copy: Path) -> None:
    (copy / "one.py").write_text("def late():\n    from xcore_minizoo import two\n")
    (copy / "two.py").write_text("import xcore_minizoo.three\nimport xcore_minizoo\nfrom json import loads\n")
    (copy / "three.py").write_text("from xcore_minizoo.one import late\n")
    assert sources.needed("one") == ("one", "three", "two")


@pytest.mark.parametrize("module", ["plugin", "truth", "planted", "models", "data", "captions"])
def test_planted_networks_stay_when_other_code_changes(copy: Path, module: str) -> None:
    before = str(Planted("cow", "background=grass", 1.0).key()["code"])
    assert key(copy, module) == before


@pytest.mark.parametrize("module", ["textures", "world", "training", "cnn"])
def test_planted_networks_are_trained_anew_when_what_trains_them_changes(copy: Path, module: str) -> None:
    before = str(Planted("cow", "background=grass", 1.0).key()["code"])
    assert key(copy, module) != before
