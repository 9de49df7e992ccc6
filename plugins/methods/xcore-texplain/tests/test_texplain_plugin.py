"""The card, the commands, and what every explainer must keep."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_texplain import plugin
from xcore_texplain.blip import BlipDecoder
from xcore_texplain.options import DecoderOptions, Options
from xcore_texplain.testing import SMALL
from xcore_texplain.texplain import TExplain

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.models.classifiers import FunctionClassifier
from xcore.run.live import LiveData
from xcore.testing import ExplainerTests, OptionsTests, blobs, stripes


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


class Painter:
    """A generator that paints noise."""

    modality = "image"
    fingerprint = "noise"
    can = frozenset[str]()

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        images = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return Samples("image", torch.stack(images), tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)))


class TestTExplain(ExplainerTests):
    @pytest.fixture(params=["tokenwise", "flatten_bottleneck"])
    def explainer(self, request: pytest.FixtureRequest, decoder_and_pairs: Path) -> Any:
        return TExplain(Options(mode=request.param, pairs=str(decoder_and_pairs), **SMALL))

    @pytest.fixture
    def models(self, decoder_and_pairs: Path) -> Mapping[str, Any]:
        return {"text-decoder": BlipDecoder(decoder_and_pairs / "blip", DecoderOptions(max_words=6, tokens=3))}

    @pytest.fixture
    def task(self, make_task: Callable[..., Task], classifier: Any, models: Any, tmp_path: Path) -> Task:
        samples = stripes(4, 1)
        data = LiveData(samples, "stripes", blobs(20, 2), ())
        decoder = models["text-decoder"]
        return make_task(tmp_path, classifier, data, samples, decoder, layer="4", generator=Painter())

    def test_words_are_drawn_on_request(self, task: Task, decoder_and_pairs: Path) -> None:
        explanation = TExplain(Options(pairs=str(decoder_and_pairs), draw=True, drawn=3, **SMALL)).explain(task)
        for concept in explanation.concepts:
            assert concept.samples is not None
            assert len(concept.samples) == 3
            assert concept.render == "generated:noise"
            assert concept.samples.ids[0].startswith(f"{concept.name}/")

    def test_what_is_missing_is_named(self, task: Task, decoder_and_pairs: Path) -> None:
        with pytest.raises(MissingError, match=r"generator .*--generator"):
            TExplain(Options(draw=True)).explain(replace(task, generator=None))
        with pytest.raises(MissingError, match="the data set has no captions"):
            TExplain(Options(**SMALL)).explain(task)

        black = FunctionClassifier(lambda x: torch.zeros(len(x), 3), ("stripes", "blobs", "other"))
        with pytest.raises(NotApplicable, match="this classifier gives none"):
            TExplain(Options(pairs=str(decoder_and_pairs), **SMALL)).explain(replace(task, classifier=black))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
