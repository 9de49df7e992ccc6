"""RLPO's commands on docs/methods/rlpo.md, on a folder of photographs, with small models saved as real ones."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xcore.cli.main import main
from xcore.contract import Ref
from xcore.registry import load_registry
from xcore.run.plan import Suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

pytest.importorskip("xcore_diffusion")
pytest.importorskip("xcore_vision")

ROOT = Path(__file__).parents[2]
COMMANDS = [
    command.replace("\\\n", " ")
    for block in re.findall(r"```\n(.*?)```", (ROOT / "docs" / "methods" / "rlpo.md").read_text("utf-8"), re.DOTALL)
    for command in re.split(r"\n(?=xcore )", block.strip())
    if "--data folder:photos" in command
]
LONG = " ".join(["water"] * 20)
"""The phrase in phrases.txt of more words than the small models read."""
SMALL = {
    "rlpo": {
        "steps": 2,
        "n": 3,
        "negatives": 3,
        "actions": 3,
        "rank_sets": 1,
        "shown": 2,
        "vqa_images": 1,
        "rank": "tcav",
    },
    "diffusion": {"steps": 1},
    "timm": {"pretrained": False, "classes": "tabby cat,zebra,tiger"},
    "TS": {"n": 4, "negatives": 3, "null": 19, "alpha": 0.5},
}
REAL = {
    "timm:resnet50": "timm:test_resnet",  # reads 160 pixels, and the pipeline draws 64
    "hf:stable-diffusion-v1-5/stable-diffusion-v1-5": "diffusion:pipeline",
    "clip:openai/clip-vit-base-patch32": "clip:clip",
    "blip-vqa:Salesforce/blip-vqa-base": "blip-vqa:blip",
}
"""What a command names -> what is there in its place."""


@pytest.fixture
def command(
    place: Path, small_pools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[dict[str, Any]]]:
    def run(text: str) -> list[dict[str, Any]]:
        for name, stand_in in REAL.items():
            text = text.replace(name, stand_in)
        words = shlex.split(text)
        words[words.index("cat")] = str(tmp_path / "cat")
        given = [f"{name}.{key}={value}" for name, options in SMALL.items() for key, value in options.items()]
        words += [w for one in given for w in ("--set", one)] + ["--samples", "4", "--metrics", "TS,CS", "--json"]
        monkeypatch.chdir(place)
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert not left.value.code, printed.err
        return [row for line in printed.out.splitlines() if "concept" in (row := json.loads(line))]

    return run


def test_the_page_has_a_command_for_each_source_of_seed_prompts() -> None:
    assert len(COMMANDS) == 4


@pytest.mark.parametrize(
    ("index", "note"),
    [
        (0, "the search took 2 of 2 steps"),
        (1, "the phrases are 133 everyday visual attributes"),
        (2, "4 phrases come from the vocabulary file 'phrases.txt'"),
        (3, "seed prompts come from 63 answers about 1 images"),
    ],
    ids=["prompts", "everyday", "file", "answers"],
)
def test_a_command_runs_as_it_stands(index: int, note: str, command: Callable[..., Any]) -> None:
    rows = command(COMMANDS[index])
    assert {row["status"] for row in rows} == {"ok"}
    assert note in rows[0]["note"]
    names = {row["concept"] for row in rows}
    if index == 0:
        assert names == {"whiskers", "fur", "stripes"}
        assert "clip:ID" in rows[0]["scores"]["CS"]["reason"], "the column that is missing names its flag"
    if index == 2:
        assert names == {"stripes", "grass", LONG}, "without the phrase that names the class"
        (cut,) = (note for note in rows[0]["note"].split("; ") if "tokens of a prompt" in note)
        assert "reads only the first 16 tokens of a prompt: the end of 1 of 3 prompts is not drawn" in cut
    if index > 0:
        assert all(row["scores"]["CS"]["value"] is not None for row in rows)
    assert all(0 <= row["scores"]["TS"]["value"] <= 1 for row in rows)


@pytest.mark.usefixtures("small_pools")
def test_concepts_and_random_sets_have_the_size_of_the_photographs(place: Path, tmp_path: Path) -> None:
    registry = load_registry()
    suite = Suite(
        methods=["rlpo"],
        data=f"folder:{place / 'photos'}",
        classifiers=["timm:test_resnet"],
        classes=["zebra"],
        generator=f"diffusion:{place / 'pipeline'}",
        budget={"samples": 4},
        set={**SMALL, "rlpo": {**SMALL["rlpo"], "prompts": ["fur"], "search": "brute"}},
    )
    (cell,) = make_plan(suite, registry).cells
    bench = Workbench(registry, Store(tmp_path / "run"))
    task = bench.task(cell, tmp_path, lambda step, total, note="": None)
    found = registry.create("explainer", Ref("rlpo", cell.method.options)).explain(task)
    shown, drawn = found.concepts[0].samples, task.random_set(3, 0, found.concepts[0].render)
    for samples in (shown, drawn):
        assert samples is not None
        assert samples.images.shape[1:] == task.samples.images.shape[1:] == (3, 160, 160)
        eight_bit = samples.images * 255
        assert float((eight_bit - eight_bit.round()).abs().max()) < 1e-3, "as files of a folder would be"
