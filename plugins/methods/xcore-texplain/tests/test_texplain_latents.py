"""A generator's latents as features: what is drawn is what is read, and what cannot be read is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.options import Options as Drawing
from xcore_diffusion.testing import save_tiny_pipeline
from xcore_texplain import plugin, sentences
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions, Options
from xcore_texplain.testing import save_blip, save_plugin, teach
from xcore_texplain.texplain import TExplain

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.models.classifiers import FunctionClassifier

CLASSES = ("zebra", "horse", "tiger")
SMALL: dict[str, Any] = {
    "features": "generator", "mode": "flatten_bottleneck", "hidden": 8, "train_pairs": 24, "validation": 6, "steps": 4,
    "every": 2, "batch": 8, "sentences": 6, "prior_images": 6, "prior_sentences": 10, "bootstrap": 50,
}  # fmt: skip


class Shades:
    """A data set whose classes are colours; every picture has a caption that names its class."""

    modality = "image"
    classes = CLASSES
    concepts: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    defaults: dict[str, str] = {}  # noqa: RUF012 (as a data set has it)
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
        labels = torch.tensor([i % 3 if cls is None else CLASSES.index(cls) for i in range(n)])
        noise = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed + len(split)))
        images = 0.9 * torch.eye(3)[labels][:, :, None, None] + 0.1 * noise
        ids = tuple(f"{split}/{cls}/{seed}/{i}" for i in range(n))
        return Samples("image", images, ids, labels, {"caption": tuple(f"a {CLASSES[i]}" for i in labels)})

    def concept(self, name: str, n: int, seed: int) -> Samples:
        raise KeyError(name)

    def truth(self, classifier: str) -> None:
        return None


class Painter:
    """A generator whose drawings are those of the data set, with latents that are its colours: 3 x 4 x 4."""

    modality = "image"
    fingerprint = "shades"
    can = frozenset[str]()
    layout = "NCHW"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def probe(self) -> Painter:
        return self

    def activations(self, x: Samples) -> torch.Tensor:
        drawn = x.meta.get("latents")
        return torch.nn.functional.adaptive_avg_pool2d(x.images, 4) if drawn is None else drawn

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Any = None) -> Samples:
        self.asked += prompts
        parts = [Shades().samples(p.split()[-1], "drawn", 1, s % 1000) for p, s in zip(prompts, seeds, strict=True)]
        samples = Samples.concat(parts)
        return replace(samples, meta={"latents": torch.nn.functional.adaptive_avg_pool2d(samples.images, 4)})


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip(tmp_path_factory.mktemp("blip"), ("a", *CLASSES), layers=1, states=16, length=12)


@pytest.fixture
def decoder(blip: Path) -> BlipDecoder:
    """A decoder that was trained to say the class that its one state stands for."""
    made = BlipDecoder(blip, DecoderOptions(max_words=2, tokens=1))
    names = torch.eye(3, 16).repeat(20, 1)
    teach(made, 3 * names[:, None], [f"a {CLASSES[i % 3]}" for i in range(60)], 60, 1e-2)
    return made


@pytest.fixture
def task(make_task: Callable[..., Task], decoder: BlipDecoder, tmp_path: Path) -> Task:
    """A task with a black box, so that only the generator can be read."""
    black_box = FunctionClassifier(lambda x: torch.zeros(len(x), 3), CLASSES)
    samples = Shades().samples("zebra", "explain", 5, 0)
    return make_task(tmp_path, black_box, Shades(), samples, decoder, generator=Painter())


def test_the_words_are_those_of_what_the_generator_draws(task: Task) -> None:
    o = Options(**{**SMALL, "train_pairs": 120, "steps": 150, "every": 50, "lr": 1e-2})
    for target, name in enumerate(CLASSES[:2]):
        made = TExplain(o).explain(replace(task, target=target))
        assert made.concepts[0].name == name
        assert made.concepts[0].evidence["freq"] > 0.8
        assert made.concepts[0].evidence["over_lo"] > 0
        assert made.concepts[0].local is None
        assert "the generator's latents" in made.notes[0]
        assert not any("other features" in note for note in made.notes)
        assert made.cost.generated == 5 * 6 + 5
    painter: Any = task.generator
    # the prior's pictures were drawn once, those of a class for its own explanation
    assert painter.asked == [*["a zebra"] * 2, *["a horse"] * 2, *["a tiger"] * 2, *["a zebra"] * 5, *["a horse"] * 5]


def test_a_pipeline_is_read_through_its_probe(task: Task, tmp_path: Path) -> None:
    pipe = DiffusionGenerator(save_tiny_pipeline(tmp_path / "tiny"), Drawing(steps=2, batch_size=5))
    made = TExplain(Options(**SMALL, prompt="a plain {class}", least=0)).explain(replace(task, generator=pipe))
    rows = [row for row in sentences.read(made.files["sentences.jsonl"]) if row.of == "class"]
    assert len(rows) == 5
    assert all(row.image.startswith("generated/") for row in rows)
    assert pipe.generate(["a plain zebra"], [sentences.combined_seed(3, 6, 0)]).ids[0] == rows[0].image


def test_a_generator_that_cannot_be_read_is_refused_in_one_line(task: Task) -> None:
    class Closed:
        modality, fingerprint = "image", "closed"

    with pytest.raises(NotApplicable, match="offers no probe"):
        TExplain(Options(**SMALL)).explain(replace(task, generator=Closed()))  # type: ignore[arg-type]
    with pytest.raises(MissingError, match=r"needs a generator .*--generator"):
        TExplain(Options(**SMALL)).explain(replace(task, generator=None))


def test_the_options_ask_for_a_generator_and_for_the_class() -> None:
    assert plugin.uses(Options(features="generator")) == ("text-decoder", "generator")
    with pytest.raises(ValidationError, match="class"):
        Options(prompt="a picture")


def test_the_commands_read_a_pipeline(blip: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    save_tiny_pipeline(tmp_path / "tiny")
    rows = []
    for i, image in enumerate(Shades().samples(None, "train", 12, 0).images):
        from PIL import Image

        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,a {CLASSES[i % 3]}\n")
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(rows))
    file = save_plugin(tmp_path, "zebra")
    settings = [f"--set=texplain.{k}={v}" for k, v in {**SMALL, "pairs": str(tmp_path)}.items()]
    decoder, generator = f"text-decoder=blip-decoder:{blip}", f"diffusion:{tmp_path / 'tiny'}"
    flags = ["--plugin", str(file), "--data", "shop", "--classifier", "tiny", "--model", decoder]
    flags += ["--generator", generator, *settings]
    done = run("train", *flags, "--out", str(tmp_path / "translator"))
    assert done.exit_code == 0, (done.output, done.exception)
    asked = ["--class", "zebra", "--translator", str(tmp_path / "translator"), "--out", str(tmp_path / "words")]
    done = run("explain", *flags, *asked)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "zebra at the generator's latents" in done.output
    assert "other features" not in done.output

    told = ["--translator", str(tmp_path / "translator"), "--drawings", "3", "--out", str(tmp_path / "latents")]
    done = run("latents", *flags, *told, "--categories", "zebra")
    assert "only 'zebra' is to be drawn" in str(done.exception)
    done = run("latents", *flags, *told, "--categories", "zebra,horse")
    assert isinstance(done.exception, MissingError)
    assert "--model captioner=" in done.exception.hint
    file = tmp_path / "captioner.py"
    file.write_text(
        "from xcore import hookimpl\n"
        "@hookimpl\n"
        "def register_models(register):\n"
        "    register('says', lambda o: Says(), role='captioner', summary='says one thing')\n"
        "class Says:\n"
        "    name = fingerprint = 'says'\n"
        "    def caption(self, samples, seeds):\n"
        '        return [f\'a {("zebra", "horse")[s % 2]}\' for s in seeds]\n'
    )
    more = ["--plugin", str(file), "--model", "captioner=says", "--captions-each", "2"]
    done = run("latents", *flags, *told, *more, "--categories", "zebra,horse", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["category"] for row in rows] == ["zebra", "horse"]
    assert all(0 <= row["distance"] <= 1 for row in rows)
    assert list(tmp_path.glob("latents/findings/*/latents.png"))
