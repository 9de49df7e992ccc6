"""`xcore texplain train | explain | cloud`, right and wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from xcore_texplain.testing import SMALL, TOLD, save_blip, save_shop, save_told

from xcore.errors import MissingError, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_told(tmp_path_factory.mktemp("made"))


def run(*words: str) -> Any:
    from xcore_texplain.commands import app

    return CliRunner().invoke(app, list(words))


@pytest.fixture
def subject(made: Path, tmp_path: Path) -> list[str]:
    """What the commands are about: a data set and a classifier of a plugin file."""
    file = save_shop(tmp_path, "stripes")
    settings = [f"--set=texplain.{k}={v}" for k, v in SMALL.items() if k not in ("steps", "sentences")]
    decoder = f"text-decoder=blip-decoder:{made / 'blip'}"
    return ["--plugin", str(file), "--data", "shop", "--classifier", "tiny", "--model", decoder, *settings]


def test_train_then_explain_then_draw(subject: list[str], made: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "translator", tmp_path / "words"
    train = ["train", *subject, "--pairs", str(made), "--steps", "4", "--out", str(out)]
    done = run(*train)
    assert done.exit_code == 0, done.output
    assert "13 pairs, 4 steps" in done.output
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "translator.safetensors"]
    assert "is trained already" in run(*train).output
    assert isinstance(run(*train, "--set", "texplain.lr=0.5").exception, UsageError)

    asked = ["--class", "stripes", "--sentences", "6", "--translator", str(out), "--out", str(words)]
    done = run("explain", *subject, *asked)
    assert done.exit_code == 0, done.output
    assert "stripes: stripes at" in done.output
    done = run("explain", *subject, *asked, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "4 image(s) were read" in done.stderr
    assert {"class", "word", "freq", "lift_shuffled"} <= set(rows[0])

    other = f"text-decoder=blip-decoder:{save_blip(tmp_path / 'other', TOLD, layers=1, states=16, seed=1)}"
    done = run("explain", *subject, *asked, "--model", other)
    assert f"trained for blip-decoder:{made / 'blip'} and blip-decoder:{tmp_path / 'other'} reads it" in done.output

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
    for name, told in (("bare", "no sentences of 'shuffled'"), ("prior", "no sentences about images of a class")):
        done = run("cloud", str(tmp_path / f"{name}.jsonl"), "--out", str(tmp_path / "wrong"))
        assert isinstance(done.exception, UsageError), done.exception
        assert told in str(done.exception)
    every = ",".join(row["word"] for row in rows)
    for wrong, told in (
        (["--group", "x"], "these sentences name no groups"),
        (["--group", "x,y,z"], "too many groups"),
        (["--drop", every], "no word that is kept .*--drop fewer"),
        (["--against", str(words), "--drop", every], "no word that is kept"),
        (["--out", str(words / "words.csv")], "cannot write to .*--out"),
    ):
        done = run("cloud", str(words), "--out", str(tmp_path / "wrong"), *wrong)
        assert isinstance(done.exception, UsageError)
        assert re.search(told, str(done.exception)), done.exception
        assert not (tmp_path / "wrong").exists()
    assert isinstance(run("cloud", str(tmp_path / "translator")).exception, MissingError)
    assert isinstance(run(*train, "--classifier", "tiny,shop").exception, UsageError)


def test_the_decoder_is_asked_for_by_its_flag(subject: list[str], made: Path, tmp_path: Path) -> None:
    at = subject.index("--model")
    done = run("train", *subject[:at], *subject[at + 2 :], "--pairs", str(made), "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, MissingError)
    assert "--model text-decoder=REF" in str(done.exception)


def test_a_translator_needs_no_class_of_the_classifier(made: Path, tmp_path: Path) -> None:
    """The data set gives pictures and captions: its classes are others, and its captions have unknown words."""
    file, out = save_shop(tmp_path, "stripes"), tmp_path / "translator"
    (tmp_path / "told.py").write_text(
        "from dataclasses import replace\n"
        "from xcore import hookimpl\n"
        "@hookimpl\n"
        "def register_datasets(register):\n"
        "    register('told', lambda o: Told(), summary='stripes with captions')\n"
        "class Told:\n"
        "    kind, classes, concepts, vocabulary, defaults = 'image', ('line', 'okapi'), (), (), {}\n"
        "    skipped = notes = ()\n"
        "    def samples(self, cls, split, n, seed):\n"
        "        from xcore.testing import stripes\n"
        "        assert split == 'train'\n"
        "        made = stripes(min(n, 20), seed)\n"
        "        return replace(made, meta={'caption': ('red okapi',) * len(made)})\n"
    )
    small = [f"--set=texplain.{k}={v}" for k, v in SMALL.items() if k not in ("steps", "sentences")]
    decoder = ["--model", f"text-decoder=blip-decoder:{made / 'blip'}"]
    about = ["--plugin", str(file), "--plugin", str(tmp_path / "told.py"), "--classifier", "tiny", *decoder, *small]
    done = run("train", *about, "--data", "told", "--steps", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "50.0% of the words of the captions are unknown" in done.output
    assert sorted(p.name for p in out.iterdir()) == ["config.json", "translator.safetensors"]
    asked = [*about, "--data", "shop", "--class", "stripes", "--sentences", "2", "--out", str(tmp_path / "words")]
    done = run("explain", *asked, "--translator", str(out))
    assert done.exit_code == 0, done.output
    done = run("explain", *about, "--data", "told", "--class", "line", "--out", str(tmp_path / "line"))
    assert "unknown class of classifier tiny: 'line'" in str(done.exception)


def test_the_training_of_other_settings_is_not_gone_on_with(subject: list[str], made: Path, tmp_path: Path) -> None:
    from xcore_texplain import train as training

    out = tmp_path / "translator"
    asked = ["train", *subject, "--pairs", str(made), "--out", str(out)]

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
    ("data", "classifier", "told"),
    [
        ("reviews", "tiny", "data set reviews is text"),
        ("shop", "reviews/textcnn", "classifier reviews/textcnn reads text"),
    ],
)
def test_texts_are_refused(data: str, classifier: str, told: str, made: Path, tmp_path: Path) -> None:
    decoder = f"text-decoder=blip-decoder:{made / 'blip'}"
    about = ["--plugin", str(save_shop(tmp_path, "stripes")), "--data", data, "--classifier", classifier]
    done = run("train", *about, "--model", decoder, "--pairs", str(made), "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)


def test_the_commands_are_subcommands_of_xcore() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xcore", "texplain", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in ("train", "explain", "cloud"))
    listed = subprocess.run([sys.executable, "-m", "xcore", "list", "commands"], capture_output=True, text=True)
    assert "texplain" in listed.stdout
