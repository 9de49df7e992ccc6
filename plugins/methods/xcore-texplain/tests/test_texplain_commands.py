"""`xcore texplain train | explain | cloud`, right and wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xcore_texplain import training
from xcore_texplain.testing import WORDS, save_blip
from xcore_texplain.texplain import TExplain

from xcore.contract import Explanation, MissingError, Task, UsageError

Run = Callable[..., Any]


def test_train_then_explain_then_draw(
    run: Run, train_command: list[str], flags: list[str], decoder_and_pairs: Path, tmp_path: Path
) -> None:
    out, words = tmp_path / "translator", tmp_path / "words"
    train = [*train_command, "--steps", "4", "--out", str(out)]
    done = run(*train)
    assert done.exit_code == 0, done.output
    assert "13 pairs, 4 steps" in done.output
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "translator.safetensors"]
    assert "is already trained" in run(*train).output
    assert isinstance(run(*train, "--set", "texplain.lr=0.5").exception, UsageError)

    asked = ["--class", "stripes", "--sentences", "6", "--translator", str(out), "--out", str(words)]
    done = run("explain", *flags, *asked)
    assert done.exit_code == 0, done.output
    assert "stripes: stripes at" in done.output
    done = run("explain", *flags, *asked, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "only 4 images were described" in done.stderr
    assert {"class", "word", "freq", "lift_shuffled"} <= set(rows[0])

    other = f"text-decoder=blip-decoder:{save_blip(tmp_path / 'other', WORDS, layers=1, states=16, seed=1)}"
    done = run("explain", *flags, *asked, "--model", other)
    own, other = f"blip-decoder:{decoder_and_pairs / 'blip'}", f"blip-decoder:{tmp_path / 'other'}"
    assert f"the translator was trained for {own}, not for {other}; its words may be wrong" in done.output

    done = run("cloud", str(words), "--drop", rows[0]["word"], "--out", str(tmp_path / "cloud"))
    assert done.exit_code == 0, done.output
    assert rows[0]["word"] not in (tmp_path / "cloud" / "words.csv").read_text()
    assert (tmp_path / "cloud" / "cloud.png").is_file()
    done = run("cloud", str(words), "--against", str(words), "--out", str(tmp_path / "changes"))
    assert done.exit_code == 0, done.output
    assert "gained" in done.output
    assert "lost" in done.output
    lines = (words / "sentences.jsonl").read_text().splitlines()
    own = [line for line in lines if json.loads(line)["of"] == "class"]
    (tmp_path / "one.jsonl").write_text("\n".join([own[0], *(line for line in lines if line not in own)]))
    done = run("cloud", str(tmp_path / "one.jsonl"), "--out", str(tmp_path / "changes"))
    assert "no interval" in done.output, done.output
    done = run("cloud", str(tmp_path / "one.jsonl"), "--against", str(words), "--out", str(tmp_path / "changes"))
    assert "no interval" in done.output, done.output
    (tmp_path / "bare.jsonl").write_text("\n".join(own))
    (tmp_path / "prior.jsonl").write_text("\n".join(line for line in lines if line not in own))
    for name, message in (
        ("bare", "no sentences of the prior 'shuffled'"),
        ("prior", "no sentences about images of a class"),
    ):
        done = run("cloud", str(tmp_path / f"{name}.jsonl"), "--out", str(tmp_path / "wrong"))
        assert isinstance(done.exception, UsageError), done.exception
        assert message in str(done.exception)
    every = ",".join(row["word"] for row in rows)
    for wrong, message in (
        (["--group", "x"], "the images of these sentences have no groups"),
        (["--group", "x,y,z"], "too many groups"),
        (["--drop", every], "no word is left.*fewer words with --drop"),
        (["--against", str(words), "--drop", every], "no word is left"),
        (["--out", str(words / "words.csv")], "cannot write to .*--out"),
    ):
        done = run("cloud", str(words), "--out", str(tmp_path / "wrong"), *wrong)
        assert isinstance(done.exception, UsageError)
        assert re.search(message, str(done.exception)), done.exception
        assert not (tmp_path / "wrong").exists()
    assert isinstance(run("cloud", str(tmp_path / "translator")).exception, MissingError)
    assert isinstance(run(*train, "--classifier", "tiny,shop").exception, UsageError)


def test_a_missing_decoder_is_asked_for_by_its_flag(run: Run, train_command: list[str], tmp_path: Path) -> None:
    at = train_command.index("--model")
    done = run(*train_command[:at], *train_command[at + 2 :], "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, MissingError)
    assert "--model text-decoder=blip-decoder:" in str(done.exception)


def test_a_translator_needs_no_class_of_the_classifier(run: Run, flags: list[str], tmp_path: Path) -> None:
    """The data set gives pictures and captions only: its classes are others, and its captions have unknown words."""
    out, file = tmp_path / "translator", tmp_path / "captioned.py"
    file.write_text(
        "from dataclasses import replace\n"
        "from xcore import hookimpl\n"
        "@hookimpl\n"
        "def register_datasets(register):\n"
        "    register('captioned', lambda o: Captioned(), summary='stripes with captions')\n"
        "class Captioned:\n"
        "    modality, classes, concepts, vocabulary, defaults = 'image', ('line', 'okapi'), (), (), {}\n"
        "    skipped = notes = ()\n"
        "    def samples(self, cls, split, n, seed):\n"
        "        from xcore.testing import stripes\n"
        "        assert split == 'train'\n"
        "        made = stripes(min(n, 20), seed)\n"
        "        return replace(made, meta={'caption': ('red okapi',) * len(made)})\n"
    )
    captioned = [*flags, "--plugin", str(file), "--data", "captioned"]  # the last --data wins
    done = run("train", *captioned, "--steps", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "50.0% of the words of the captions are unknown" in done.output
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "translator.safetensors"]
    asked = [*flags, "--class", "stripes", "--sentences", "2", "--out", str(tmp_path / "words")]
    done = run("explain", *asked, "--translator", str(out))
    assert done.exit_code == 0, done.output
    done = run("explain", *captioned, "--class", "line", "--out", str(tmp_path / "line"))
    assert "unknown class of classifier tiny: 'line'" in str(done.exception)


def test_a_training_with_other_settings_is_not_continued(run: Run, train_command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "translator"
    asked = [*train_command, "--out", str(out)]

    def stop(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    kept = training.Translator.save
    training.Translator.save = stop  # type: ignore[method-assign]
    try:
        assert run(*asked, "--steps", "4").exit_code != 0
    finally:
        training.Translator.save = kept  # type: ignore[method-assign]
    assert list(out.glob(".texplain-training/*/checkpoint.safetensors"))
    done = run(*asked, "--steps", "2")
    assert done.exit_code == 0, done.output
    assert "13 pairs, 2 steps" in done.output


@pytest.mark.parametrize(
    ("data", "classifier", "message"),
    [
        ("reviews", "tiny", "the samples of data set reviews are text"),
        ("shop", "reviews/textcnn", "classifier reviews/textcnn reads text"),
    ],
)
def test_texts_are_refused(
    data: str, classifier: str, message: str, run: Run, train_command: list[str], tmp_path: Path
) -> None:
    done = run(*train_command, "--data", data, "--classifier", classifier, "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_the_commands_are_subcommands_of_xcore() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xcore", "texplain", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in ("train", "explain", "cloud"))
    listed = subprocess.run([sys.executable, "-m", "xcore", "list", "commands"], capture_output=True, text=True)
    assert "texplain" in listed.stdout


def test_a_class_that_fails_is_told_and_loses_no_other(
    run: Run, flags: list[str], train_command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TExplain.explain

    def broken(self: TExplain, task: Task) -> Explanation:
        if task.target_name == "contrast":
            raise ValueError("a bug")
        return real(self, task)

    monkeypatch.setattr(TExplain, "explain", broken)
    translator, out = tmp_path / "translator", tmp_path / "words"
    assert run(*train_command, "--out", str(translator)).exit_code == 0
    flags = [*flags, "--translator", str(translator)]
    done = run("explain", *flags, "--class", "contrast,stripes", "--sentences", "6", "--out", str(out))
    assert done.exit_code == 1, f"{done.output} {done.exception!r}"
    assert (out / "stripes" / "words.csv").is_file()
    assert not (out / "contrast").exists()
    assert "contrast failed: ValueError: a bug" in done.output
    alone = run("explain", *flags, "--class", "contrast", "--sentences", "2", "--out", str(tmp_path / "alone"))
    assert isinstance(alone.exception, ValueError)
