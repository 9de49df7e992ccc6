"""The published schedule: what it needs, how long it trains, and that its stages go on where they stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xcore_texplain import presets, training
from xcore_texplain.presets import PRESETS, Preset, Stage, steps_of

from xcore.contract import MissingError, UsageError

Run = Callable[..., Any]


def test_the_published_schedule() -> None:
    (first, second), sets = PRESETS["paper"].stages, {name for s in PRESETS["paper"].stages for name in s.sets}
    assert (first.epochs, second.epochs, PRESETS["paper"].batch) == (20, 5, 512)
    assert sets == {"coco", "visual-genome", "conceptual-captions", "cc12m", "sbu"}
    assert steps_of(14_000_000, 20, 512) == 20 * 27343
    assert steps_of(100, 2, 512) == 2


def test_what_is_missing_is_named(run: Run, train_command: list[str], decoder_and_pairs: Path, tmp_path: Path) -> None:
    at = train_command.index("--pairs")
    bare, file = [*train_command[:at], "--out", str(tmp_path / "out")], tmp_path / "sets.toml"
    file.write_text('coco = "captions.jsonl"\n')
    pairs = ["--pairs", str(file)]
    for more, kind, says in (
        (["--preset", "papre"], UsageError, "unknown preset 'papre'"),
        (["--preset", "paper"], MissingError, "the preset 'paper' needs 5 sets of pairs"),
        (["--preset", "paper", "--steps", "3"], UsageError, "leave one of them out"),
        (["--preset", "paper", "--pairs", str(tmp_path / "none.toml")], MissingError, "cannot read"),
        (["--preset", "paper", *pairs], MissingError, "does not say where the pairs of visual-genome, .* are"),
    ):
        done = run(*bare, *more)
        assert isinstance(done.exception, kind), done.exception
        assert __import__("re").search(says, str(done.exception)), done.exception
    file.write_text('cocoa = "captions.jsonl"\n')
    assert "did you mean 'coco'" in str(run(*bare, "--preset", "paper", *pairs).exception)
    assert not (tmp_path / "out").exists()


def test_stages_follow_one_another_and_go_on_after_an_interruption(
    run: Run, train_command: list[str], decoder_and_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "paper", Preset((Stage(("one", "two"), 2), Stage(("three",), 1)), 4, 10**6))
    file = tmp_path / "sets.toml"
    file.write_text("".join(f'{name} = "{decoder_and_pairs}"\n' for name in ("one", "two", "three")))
    at = train_command.index("--pairs")
    asked = [*train_command[:at], "--preset", "paper", "--pairs", str(file), "--set=texplain.lr=0.01"]
    done = run(*asked, "--out", str(tmp_path / "whole"))
    assert done.exit_code == 0, (done.output, done.exception)
    about = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert about["steps"] == 2 * (28 // 4) + 13 // 4  # 32 pairs of which 4 are held out, then 16 of which 3 are
    assert about["pairs"] == 48
    assert "was published with about 1000000 pairs, not 48" in done.stderr
    kept = training.train
    stages: list[Any] = []

    def second_fails(*given: Any, **named: Any) -> Any:
        stages.append(given)
        if len(stages) == 2:
            raise KeyboardInterrupt
        return kept(*given, **named)

    monkeypatch.setattr(presets, "train", second_fails)
    assert run(*asked, "--out", str(tmp_path / "cut")).exit_code != 0
    done = run(*asked, "--out", str(tmp_path / "cut"))
    assert done.exit_code == 0, (done.output, done.exception)
    assert len(stages) == 3  # the first stage was not trained again
    weights = [(tmp_path / name / "translator.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
