"""docs/first-session.md: every command and every line of Python of the page runs as it stands there, in its order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from xcore.cli import dry_run
from xcore.cli.main import main
from xcore.models import batches, device

pytest.importorskip("xcore_diffusion")
pytest.importorskip("xcore_vision")
pytest.importorskip("matplotlib")

PAGE = (Path(__file__).parents[2] / "docs" / "first-session.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python)?\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [text.replace("\\\n", " ").strip() for kind, text in BLOCKS if not kind]
PYTHON = [text for kind, text in BLOCKS if kind]
REAL = {
    "timm:tf_efficientnet_lite0": "timm:test_resnet",
    "timm:resnet50.tv_in1k": "timm:test_vit",
    "hf:stable-diffusion-v1-5/stable-diffusion-v1-5": "diffusion:pipeline",
    "clip:openai/clip-vit-base-patch32": "clip:clip",
}
"""What the page names -> what is there in its place."""
RANDOM: dict[str, Any] = {"pretrained": False, "classes": "tabby cat,zebra,tiger"}
SMALL = {
    "rlpo": {"steps": 2, "n": 3, "negatives": 3, "actions": 3, "rank_sets": 1, "shown": 2, "rank": "tcav"},
    "diffusion": {"steps": 1},
    "timm": RANDOM,
    "image-embedder": {"pretrained": False},
    "craft": {"k": 3, "designs": 4},
    "TS": {"n": 4, "negatives": 3, "null": 19, "alpha": 0.5},
}


@pytest.fixture(scope="module")
def folder(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session takes place."""
    made = tmp_path_factory.mktemp("session")
    for name in ("photos", "pipeline", "clip"):
        (made / name).symlink_to(place / name)
    shutil.copytree(place / "photos" / "tiger", made / "new-photos")
    return made


pytestmark = pytest.mark.usefixtures("small_pools")


def typed(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints, with small models in place of the real ones."""
    for name, stand_in in REAL.items():
        command = command.replace(name, stand_in)
    words = shlex.split(command)
    named = {"bench": SMALL, "explain": SMALL, "layers": {"timm": RANDOM}, "doctor": {"timm": RANDOM}}.get(words[1], {})
    used = {name: options for name, options in named.items() if name in command}
    words += [w for n, given in used.items() for key, value in given.items() for w in ("--set", f"{n}.{key}={value}")]
    if words[1] in ("bench", "explain"):
        words += ["--samples", "6"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert left.value.code in (0, None), printed.err
    return printed.out


def probed_here(asked: Mapping[str, Any], run: Path, folder: Path, reporter: Any) -> Any:
    """What the probe of a dry run finds, in this process, where the pools are small."""
    request, answer = folder / "request.json", folder / "answer.json"
    more = {"device": device.current(), "batch_size": batches.current(), "began": time.time()}
    request.write_text(json.dumps({**asked, **more, "artifacts": str(run / "artifacts")}))
    dry_run._probe(request, answer)
    return json.loads(answer.read_text())


def test_the_page_has_all_steps() -> None:
    steps = [command.split()[1] for command in COMMANDS]
    assert steps == ["doctor", "layers", "explain", "bench", "bench", "explain"]
    assert len(PYTHON) == 3


def test_the_doctor_and_the_layers(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    printed = typed(COMMANDS[0], folder, monkeypatch, capsys)
    assert "What you ask for needs:" in printed
    assert "folder:photos" in printed
    assert "craft" in typed(COMMANDS[1], folder, monkeypatch, capsys)


def test_one_explanation_says_where_its_pictures_lie(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    printed = typed(COMMANDS[2], folder, monkeypatch, capsys)
    for name in ("zebra-craft/concepts.png", "zebra-craft/maps.png"):
        assert name in printed
        assert (folder / name).is_file()
    assert "Sobol" in printed


def test_the_four_columns_and_what_they_cost(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(dry_run, "_in_another_process", probed_here)
    monkeypatch.setattr(dry_run, "_end_with_parent", lambda folder: None)
    before = sorted(folder.iterdir())
    forecast = json.loads(typed(COMMANDS[3] + " --json", folder, monkeypatch, capsys).splitlines()[-1])
    assert sorted(folder.iterdir()) == before
    assert forecast
    rows = [json.loads(line) for line in typed(COMMANDS[4] + " --json", folder, monkeypatch, capsys).splitlines()]
    for row in (row for row in rows if row.get("method") == "craft" and "scores" in row):
        assert {name for name, score in row["scores"].items() if score["value"] is not None} >= {
            "CS",
            "ED",
            "RCS",
            "RED",
        }


def test_concepts_are_drawn(folder: Path, monkeypatch: Any, capsys: Any) -> None:
    printed = typed(COMMANDS[5], folder, monkeypatch, capsys)
    assert (folder / "zebra-rlpo" / "concepts.png").is_file()
    assert any(prompt in printed for prompt in ("stripes", "spots", "grass"))


def test_the_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    space: dict[str, Any] = {}
    for text in PYTHON:
        for name, stand_in in REAL.items():
            text = text.replace(
                f'"{name}"', f'"{stand_in}", pretrained=False, classes={str(RANDOM["classes"]).split(",")}'
            )
        exec(compile(text, "docs/first-session.md", "exec"), space)
    explanation, kept, found = space["explanation"], space["kept"], space["found"]
    assert [c.importance for c in kept.concepts] == [c.importance for c in explanation.concepts]
    table = found.to_pandas()
    assert table.shape == (16, len(kept.concepts))
    assert not table.isna().to_numpy().any()
