"""The card, the commands, and what every explainer must keep."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner
from xcore_texplain import plugin
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions, Options
from xcore_texplain.testing import save_blip, save_shop
from xcore_texplain.texplain import TExplain

from xcore.contrast import Contrast
from xcore.errors import MissingError, NotApplicable, UsageError
from xcore.live import LiveData
from xcore.protocols import Task
from xcore.samples import Samples
from xcore.store import Store
from xcore.task import TrainingData
from xcore.testing import ExplainerTests, OptionsTests, blobs, stripes
from xcore.types import Budget

WORDS = ("zebra", "stripe", "blob", "grass", "soft", "red", "blue", "line")


def test_the_cards() -> None:
    cards: dict[str, Any] = {}
    for hook in (plugin.register_explainers, plugin.register_models, plugin.register_commands):
        hook(lambda name, factory, **card: cards.update({(name, card.get("role")): card}))
    assert set(cards) == {
        ("texplain", None),
        ("blip-decoder", "text-decoder"),
        ("prefix-decoder", "text-decoder"),
    }
    assert plugin.uses(Options()) == ("text-decoder",)
    assert plugin.uses(Options(draw=True)) == ("text-decoder", "generator")


def test_files_that_options_name_are_part_of_the_identity(tmp_path: Path) -> None:
    seen = [plugin.files_fingerprint(Options())]
    for text in ("one", "two"):
        (tmp_path / "captions.csv").write_text(text)
        seen += [plugin.files_fingerprint(Options(pairs=str(tmp_path)))]
        assert plugin.files_fingerprint(Options(pairs=str(tmp_path / "captions.csv"))) == seen[-1]
    assert len(set(seen)) == 3
    assert plugin.files_fingerprint(Options(translator=str(tmp_path / "gone"))) == seen[0]


def test_the_cards_and_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, xcore_texplain.plugin, xcore_texplain.commands\n"
        "heavy = {'torch', 'numpy', 'transformers', 'simplemma', 'wordcloud', 'PIL', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import xcore_texplain.options\n"
        "heavy.discard('pydantic')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder, and pictures with captions."""
    folder = tmp_path_factory.mktemp("made")
    save_blip(folder / "blip", WORDS, layers=1, states=16)
    rows = []
    for name, samples in (("stripe", stripes(8, 11)), ("blob", blobs(8, 12))):
        for i, image in enumerate(samples.images):
            file = folder / name / f"{i}.png"
            file.parent.mkdir(exist_ok=True)
            from PIL import Image

            Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(file)
            rows.append({"image": f"{name}/{i}.png", "caption": f"{name} line"})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Painter:
    """A generator that paints noise."""

    kind = "image"
    fingerprint = "noise"

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        images = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return Samples("image", torch.stack(images), tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)))


SMALL: dict[str, Any] = {
    "steps": 4, "every": 2, "batch": 4, "validation": 4, "sentences": 6, "prior_images": 4, "prior_sentences": 10,
    "bootstrap": 50, "k": 5,
}  # fmt: skip


class TestTExplain(ExplainerTests):
    @pytest.fixture(params=["tokenwise", "flatten_bottleneck"])
    def explainer(self, request: pytest.FixtureRequest, made: Path) -> Any:
        return TExplain(Options(mode=request.param, pairs=str(made), **SMALL))

    @pytest.fixture
    def models(self, made: Path) -> Mapping[str, Any]:
        return {"text-decoder": BlipDecoder(made / "blip", DecoderOptions(max_words=6, tokens=3))}

    @pytest.fixture
    def task(self, classifier: Any, models: Any, tmp_path: Path) -> Task:
        samples = stripes(4, 1)
        data = LiveData(samples, "stripes", blobs(20, 2), ())
        (tmp_path / "work").mkdir()
        return Task(
            classifier=classifier,
            layer="4",
            target=0,
            samples=samples,
            contrast=Contrast(data, "stripes", "train", seed=0, pool_size=10),
            data=TrainingData(data),
            seed=3,
            generator=Painter(),  # type: ignore[arg-type]
            model=lambda role: models[role],
            artifact=Store(tmp_path / "store").artifact,
            workdir=tmp_path / "work",
            budget=Budget(samples=4),
        )

    def test_words_are_painted_on_request(self, task: Task, made: Path) -> None:
        explanation = TExplain(Options(pairs=str(made), draw=True, drawn=3, **SMALL)).explain(task)
        for concept in explanation.concepts:
            assert concept.samples is not None
            assert len(concept.samples) == 3
            assert concept.render == "generated:noise"
            assert concept.samples.ids[0].startswith(f"{concept.name}/")

    def test_what_is_missing_is_told(self, task: Task, made: Path) -> None:
        from dataclasses import replace

        with pytest.raises(MissingError, match=r"generator .*--generator"):
            TExplain(Options(draw=True)).explain(replace(task, generator=None))
        with pytest.raises(MissingError, match="no captions"):
            TExplain(Options(**SMALL)).explain(task)

        from xcore.classifier import FunctionClassifier

        black = FunctionClassifier(lambda x: torch.zeros(len(x), 3), ("stripes", "blobs", "other"))
        with pytest.raises(NotApplicable, match="shows none"):
            TExplain(Options(pairs=str(made), **SMALL)).explain(replace(task, classifier=black))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options


# -- commands ------------------------------------------------------------------------------------------------------


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

    other = f"text-decoder=blip-decoder:{save_blip(tmp_path / 'other', WORDS, layers=1, states=16, seed=1)}"
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
    assert list(out.glob("training/*/checkpoint.safetensors"))
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
