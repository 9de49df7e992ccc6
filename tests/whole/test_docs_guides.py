"""The tutorial and the guides for plugin authors: every file, command and test of theirs runs as it stands there."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xcore.cli.main import main

pytest.importorskip("xcore_minizoo")

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("docs_blocks", HERE / "docs_blocks.py")
assert spec is not None
assert spec.loader is not None
docs_blocks: Any = importlib.util.module_from_spec(spec)
sys.modules["docs_blocks"] = docs_blocks
spec.loader.exec_module(docs_blocks)

PAGES = ["tutorial.md", *(page for page in docs_blocks.pages() if page.startswith("guides/"))]
ALL = {page: docs_blocks.blocks(page) for page in PAGES}
TESTS = sorted(
    {b.file for blocks in ALL.values() for b in blocks if b.file.startswith("test_")} - {"test_onnx_classifier.py"}
)
SMALL = {
    "craft": {"craft.k": 3, "craft.designs": 4},
    "TS": {"TS.negatives": 3, "TS.null": 19, "TS.alpha": 0.5},
    "tcav": {"tcav.n": 4, "tcav.negatives": 3, "tcav.null": 19, "tcav.alpha": 0.5, "tcav.maps": 1},
    "eac": {"eac.coalitions": 40, "eac.surrogate": "none"},
}
"""What a command names -> the options that make it quick."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a reader would work: all files of all pages lie in it, those of a deeper path below it."""
    made = tmp_path_factory.mktemp("reader")
    for blocks in ALL.values():
        for block in blocks:
            if block.file:
                (made / block.file).parent.mkdir(parents=True, exist_ok=True)
                (made / block.file).write_text(block.text, encoding="utf-8")
    before = os.getcwd()
    os.chdir(made)
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))
    os.chdir(before)


def typed(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints, with fewer samples and small settings."""
    words = shlex.split(command)
    if words[1] in ("bench", "explain"):
        named = {n for word in words for n in word.split(",")}
        words += [w for n in SMALL.keys() & named for k, v in SMALL[n].items() for w in ("--set", f"{k}={v}")]
        words += [] if "--samples" in words else ["--samples", "8"]
    if words[1] == "bench":  # that other processes give the same table is tested elsewhere
        words += [] if "--engine" in words else ["--engine", "local"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert left.value.code in (0, None), printed.out + printed.err
    return printed.out


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_a_file_or_runs(page: str, folder: Path, monkeypatch: Any, capsys: Any) -> None:
    if page == "guides/classifier.md":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    space: dict[str, Any] = {"__name__": "page"}
    for block in ALL[page]:
        if block.why:
            continue
        if block.file:
            {".toml": tomllib.loads, ".yml": yaml.safe_load}.get(Path(block.file).suffix, str)(block.text)
        elif block.kind == "python":
            exec(compile(block.text, page, "exec"), space)
        else:
            assert block.kind == "", f"{page} has a block of {block.kind} that no test knows how to run"
            for command in block.commands:
                if command.startswith("xcore "):
                    typed(command, monkeypatch, capsys)
                else:
                    assert command.startswith("pytest test_"), f"{page}: no test runs {command!r}"
                    assert (folder / command.split()[1]).is_file()
    if page == "tutorial.md":
        assert [c.name.split()[0] for c in space["explanation"].concepts] == ["channel"] * 3
    if page == "guides/private-file.md":
        assert {row["label"] for row in space["run"].rows} == {"channels"}


def test_the_table_has_the_method_of_the_tutorial_beside_the_others(
    folder: Path, monkeypatch: Any, capsys: Any
) -> None:
    if not (folder / "runs" / "channels").is_dir():
        pytest.skip("the tutorial was not run")
    rows = [json.loads(line) for line in typed("xcore report runs/channels --json", monkeypatch, capsys).splitlines()]
    scored = {row["method"] for row in rows if "scores" in row and row["scores"].get("TS", {}).get("value") is not None}
    assert {"channels", "craft", "noise"} <= scored


def test_an_engine_of_the_guide_leaves_cells_for_another_night(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(
        "sys.argv",
        shlex.split(
            "xcore bench --methods channels --plugin channels.py --plugin nightly.py --engine nightly --controls ''"
            " --set nightly.minutes=0 --seeds 2 --samples 8 --class zebra --metrics '' --json --out runs/nights"
        ),
    )
    for night, pending in ((1, 1), (2, 0)):
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code in ((1,) if pending else (0, None)), night
        counts = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
        assert counts.get("pending", 0) == pending


def test_the_tests_of_the_pages_pass(folder: Path) -> None:
    """One process for all of them; they import the files beside them as a reader's do."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *TESTS],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_the_onnx_classifier_passes_the_conformance_tests(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    if not (folder / "net.onnx").is_file():
        pytest.skip("the page that writes the network was not run")
    from onnx_classifier import make  # type: ignore[import-not-found]

    from xcore.testing import stripes
    from xcore.testing.checklist import Skipped, checks_of
    from xcore.testing.classifiers import Classifying

    subject, passed = Classifying(make(None, "net.onnx"), stripes(6, seed=0)), []
    for check in checks_of("classifier"):
        with contextlib.suppress(Skipped):  # a black box has no gradients that could be checked
            check.run(subject)
            passed.append(check.name)
    assert {"one_finite_logit_a_class", "logits_do_not_depend_on_the_batch"} <= set(passed)
