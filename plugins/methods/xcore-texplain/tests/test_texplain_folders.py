"""What `xcore texplain` leaves in folders: its own files, and everything that is not its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xcore_texplain.commands import _print_words
from xcore_texplain.options import Options
from xcore_texplain.sentences import SentenceRow, read, write
from xcore_texplain.words import Word

from xcore.contract import MissingError, NotApplicable, UsageError, XcoreError

Run = Callable[..., Any]
TRANSLATOR = ["config.json", "translator.safetensors"]


def inside(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_training_leaves_what_is_not_its_own(run: Run, train_command: list[str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "training").mkdir(parents=True)
    (project / "training" / "mine.txt").write_text("mine")
    done = run(*train_command, "--out", str(project))
    assert done.exit_code == 0, done.output
    assert inside(project) == sorted([*TRANSLATOR, "training", "training/mine.txt"])
    assert isinstance(run(*train_command, "--set=texplain.lr=0.5", "--out", str(project)).exception, UsageError)
    assert inside(project) == sorted([*TRANSLATOR, "training", "training/mine.txt"])


def test_a_refused_command_leaves_no_folders(
    run: Run, train_command: list[str], flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps({"image": str(tmp_path / "none.png"), "caption": "red"}) + "\n")
    out, there = tmp_path / "deep" / "out", tmp_path / "there"
    there.mkdir()
    for folder in (out, there):
        for asked in (
            [*train_command, "--pairs", str(tmp_path / "one.jsonl")],
            ["explain", *flags, "--class", "stripes", "--translator", str(tmp_path / "nothing")],
            ["explain", *flags, "--class", "stripes"],
            ["explain", *flags, "--class", "okapi"],
        ):
            assert isinstance(run(*asked, "--out", str(folder)).exception, XcoreError)
            assert not (tmp_path / "deep").exists()
            assert not inside(there)
    assert there.is_dir()


def test_another_process_keeps_its_folder(run: Run, train_command: list[str], tmp_path: Path) -> None:
    from xcore.store.run_directory import Store

    work = tmp_path / "out" / ".texplain-training"
    with Store(work).locked():
        done = run(*train_command, "--out", str(tmp_path / "out"))
        assert "another process works in" in str(done.exception)
        assert (work / ".lock").is_file()


def test_a_translator_without_its_weights_is_trained_again(run: Run, train_command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "half"
    assert run(*train_command, "--out", str(out)).exit_code == 0
    weights = out / "translator.safetensors"
    whole = weights.read_bytes()
    for damage in (weights.unlink, lambda: weights.write_bytes(whole[:100])):
        damage()
        done = run(*train_command, "--out", str(out))
        assert done.exit_code == 0, done.output
        assert "it is trained again" in done.output
        assert f"saved {out}" in done.output
        assert weights.read_bytes() == whole
        assert inside(out) == TRANSLATOR
    done = run(*train_command, "--out", str(out))
    assert "is already trained, so nothing was done" in done.output
    assert "saved" not in done.output
    (out / "config.json").write_text("{}")
    assert "holds a translator that was trained on something else" in str(
        run(*train_command, "--out", str(out)).exception
    )


def test_words_replace_those_of_their_class_alone(
    run: Run, train_command: list[str], flags: list[str], tmp_path: Path
) -> None:
    translator, words = tmp_path / "translator", tmp_path / "words"
    assert run(*train_command, "--out", str(translator)).exit_code == 0
    asked = ["explain", *flags, "--translator", str(translator), "--class", "stripes", "--out"]
    done = run(*asked, str(words))
    assert done.exit_code == 0, done.output
    (words / "groups.png").write_text("old")
    (words / "mine.txt").write_text("mine")
    assert run(*asked, str(words)).exit_code == 0
    kept = ["cloud.png", "cloud.svg", "mine.txt", "sentences.jsonl", "words.csv"]
    assert sorted(p.name for p in words.iterdir() if p.name != ".texplain-work") == kept
    before = (words / "words.csv").read_text()
    done = run(*asked, str(words), "--set=texplain.least=1", "--seed", "3")
    assert isinstance(done.exception, NotApplicable)
    assert (words / "words.csv").read_text() == before  # what is refused replaces nothing

    lines = (words / "sentences.jsonl").read_text().replace('"cls": "stripes"', '"cls": "zebra"')
    (words / "sentences.jsonl").write_text(lines)
    assert "holds words of 'zebra'" in str(run(*asked, str(words)).exception)
    (words / "sentences.jsonl").unlink()
    assert "holds words.csv of something else" in str(run(*asked, str(words)).exception)
    assert (words / "words.csv").read_text() == before


def test_the_words_of_several_classes_are_counted_without_their_prior(tmp_path: Path) -> None:
    def put(folder: str, of: str) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write(tmp_path / folder / "sentences.jsonl", [SentenceRow(of, "", "", "", ("red",))])

    put("work/artifacts/texplain-prior.0123", "shuffled")
    put(".texplain-work/artifacts/.writing-x", "shuffled")
    with pytest.raises(MissingError, match="contains 0 files"):
        read(tmp_path)
    put("zebra", "class")
    assert [row.of for row in read(tmp_path)] == ["class"]
    put("okapi", "class")
    with pytest.raises(MissingError, match="contains 2 files") as failed:
        read(tmp_path)
    assert str(tmp_path / "okapi") in str(failed.value)
    assert str(tmp_path / "zebra") in str(failed.value)


def test_the_table_leaves_out_rare_words_and_marks_uncertain_ones(capsys: pytest.CaptureFixture[str]) -> None:
    def word(name: str, freq: float, lo: float | None, hi: float | None, lift: float) -> Word:
        return Word(name, freq, lo, hi, 0.0, 0.0, freq, lo, hi, lift, lo, hi, 1.0)

    rows = [
        word("sure", 0.5, 0.4, 0.6, 1234.5),
        word("unsure", 0.3, -0.1, 0.6, 99.0),
        word("one", 0.1, None, None, 2.0),
    ]
    _print_words([*rows, word("rare", 0.01, -0.1, 0.1, 3.1)], 0.02)
    _, sure, unsure, one = capsys.readouterr().out.splitlines()
    assert sure.endswith("   >99    1.0")
    assert unsure.endswith("  99.0    1.0  (interval includes 0)")
    assert one.endswith("   2.0    1.0")
    assert "no interval" in one


def test_help_says_the_defaults(run: Run) -> None:
    options = Options()
    for command, default in (("train", f"default: {options.steps}"), ("explain", f"default: {options.sentences}")):
        assert default in " ".join(run(command, "--help").output.split())
