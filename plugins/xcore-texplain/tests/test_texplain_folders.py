"""What `xcore texplain` leaves in folders, of others and of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from xcore_texplain.commands import _show_words
from xcore_texplain.counts import Word
from xcore_texplain.options import Options
from xcore_texplain.said import Said, read, write
from xcore_texplain.testing import SMALL, save_shop, save_told

from xcore.errors import MissingError, NotApplicable, UsageError, XcoreError

TRANSLATOR = ["config.json", "translator.safetensors"]


def run(*words: str) -> Any:
    from xcore_texplain.commands import app

    return CliRunner().invoke(app, list(words))


def inside(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_told(tmp_path_factory.mktemp("made"))


@pytest.fixture
def subject(made: Path, tmp_path: Path) -> list[str]:
    settings = [f"--set=texplain.{k}={v}" for k, v in SMALL.items()]
    decoder = f"text-decoder=blip-decoder:{made / 'blip'}"
    file = str(save_shop(tmp_path, "stripes"))
    return ["--plugin", file, "--data", "shop", "--classifier", "tiny", "--model", decoder, *settings]


@pytest.fixture
def train(subject: list[str], made: Path) -> list[str]:
    return ["train", *subject, "--pairs", str(made)]


def test_a_training_leaves_what_is_not_its_own(train: list[str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "training").mkdir(parents=True)
    (project / "training" / "mine.txt").write_text("mine")
    done = run(*train, "--out", str(project))
    assert done.exit_code == 0, done.output
    assert inside(project) == sorted([*TRANSLATOR, "training", "training/mine.txt"])
    assert isinstance(run(*train, "--set=texplain.lr=0.5", "--out", str(project)).exception, UsageError)
    assert inside(project) == sorted([*TRANSLATOR, "training", "training/mine.txt"])


def test_what_is_refused_leaves_no_folders(train: list[str], subject: list[str], tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps({"image": str(tmp_path / "none.png"), "caption": "red"}) + "\n")
    out, there = tmp_path / "deep" / "out", tmp_path / "there"
    there.mkdir()
    for folder in (out, there):
        for asked in (
            [*train, "--pairs", str(tmp_path / "one.jsonl")],
            ["explain", *subject, "--class", "stripes", "--translator", str(tmp_path / "nothing")],
            ["explain", *subject, "--class", "stripes"],
            ["explain", *subject, "--class", "okapi"],
        ):
            assert isinstance(run(*asked, "--out", str(folder)).exception, XcoreError)
            assert not (tmp_path / "deep").exists()
            assert not inside(there)
    assert there.is_dir()


def test_another_process_keeps_its_folder(train: list[str], tmp_path: Path) -> None:
    from xcore.store import Store

    work = tmp_path / "out" / ".texplain-training"
    with Store(work).locked():
        done = run(*train, "--out", str(tmp_path / "out"))
        assert "another process works on" in str(done.exception)
        assert (work / ".lock").is_file()


def test_a_translator_without_its_weights_is_trained_again(train: list[str], tmp_path: Path) -> None:
    out = tmp_path / "half"
    assert run(*train, "--out", str(out)).exit_code == 0
    weights = out / "translator.safetensors"
    whole = weights.read_bytes()
    for damage in (weights.unlink, lambda: weights.write_bytes(whole[:100])):
        damage()
        done = run(*train, "--out", str(out))
        assert done.exit_code == 0, done.output
        assert "it is trained again" in done.output
        assert f"saved {out}" in done.output
        assert weights.read_bytes() == whole
        assert inside(out) == TRANSLATOR
    done = run(*train, "--out", str(out))
    assert "is trained already, nothing was done" in done.output
    assert "saved" not in done.output
    (out / "config.json").write_text("{}")
    assert "holds a translator of something else" in str(run(*train, "--out", str(out)).exception)


def test_words_replace_those_of_their_class_alone(
    train: list[str], subject: list[str], made: Path, tmp_path: Path
) -> None:
    translator, words = tmp_path / "translator", tmp_path / "words"
    assert run(*train, "--out", str(translator)).exit_code == 0
    asked = ["explain", *subject, "--translator", str(translator), "--class", "stripes", "--out"]
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
        write(tmp_path / folder / "sentences.jsonl", [Said(of, "", "", "", ("red",))])

    put("work/artifacts/texplain-prior.0123", "shuffled")
    put(".texplain-work/artifacts/.writing-x", "shuffled")
    with pytest.raises(MissingError, match="holds 0 files"):
        read(tmp_path)
    put("zebra", "class")
    assert [row.of for row in read(tmp_path)] == ["class"]
    put("okapi", "class")
    with pytest.raises(MissingError, match="holds 2 files") as told:
        read(tmp_path)
    assert str(tmp_path / "okapi") in str(told.value)
    assert str(tmp_path / "zebra") in str(told.value)


def test_the_table_leaves_out_rare_words_and_tells_unsure_ones(capsys: pytest.CaptureFixture[str]) -> None:
    def word(name: str, freq: float, lo: float | None, hi: float | None, lift: float) -> Word:
        return Word(name, freq, lo, hi, 0.0, 0.0, freq, lo, hi, lift, lo, hi, 1.0)

    rows = [
        word("sure", 0.5, 0.4, 0.6, 1234.5),
        word("unsure", 0.3, -0.1, 0.6, 99.0),
        word("one", 0.1, None, None, 2.0),
    ]
    _show_words([*rows, word("rare", 0.01, -0.1, 0.1, 3.1)], 0.02)
    _, sure, unsure, one = capsys.readouterr().out.splitlines()
    assert sure.endswith("   >99    1.0")
    assert unsure.endswith("  99.0    1.0  (interval holds 0)")
    assert one.endswith("   2.0    1.0")
    assert "no interval" in one


def test_help_says_the_defaults() -> None:
    options = Options()
    for command, told in (("train", f"default: {options.steps}"), ("explain", f"default: {options.sentences}")):
        assert told in " ".join(run(command, "--help").output.split())
