"""The cards and the options are light, and nothing needs to be named."""

import subprocess
import sys

import pytest
import torch
from xcore_eac import plugin

import xcore
from xcore.api import bench
from xcore.contract import UsageError
from xcore.registry import load_registry
from xcore.testing import tiny_network


def test_the_cards():
    cards = {}
    for hook in (plugin.register_explainers, plugin.register_models):
        hook(lambda name, factory, **card: cards.update({name: (factory, card)}))
    factory, card = cards["eac"]
    assert factory == "xcore_eac.eac:Eac"
    assert card["uses"] == ("segmenter",)
    segmenters = {name for name, (_, card) in cards.items() if card.get("role") == "segmenter"}
    assert segmenters == {"felzenszwalb", "slic", "grid", "sam"}
    assert [name for name, (_, card) in cards.items() if card.get("default")] == ["felzenszwalb"]


def test_the_cards_import_nothing_heavy():
    code = (
        "import sys, xcore_eac.plugin\n"
        "heavy = {'torch', 'numpy', 'scipy', 'skimage', 'transformers', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import xcore_eac.options\n"
        "heavy.discard('pydantic')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_explain_with_nothing_named_and_with_a_segmenter():
    class Halves:
        def segment(self, image):
            left = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
            left[..., : image.shape[-1] // 2] = True
            return torch.cat([left, ~left])

    images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    given = {"target": 1, "class_names": ["a", "b", "c"], "registry": load_registry()}
    made = xcore.explain("eac", tiny_network(), images, **given)
    assert len(made.parts) == 3
    halves = xcore.explain("eac", tiny_network(), images, models={"segmenter": Halves()}, **given)
    assert {len(p.concepts) for p in halves.parts} == {2}
    with pytest.raises(UsageError, match=r"eac.*'valeu'.*did you mean 'value'"):
        xcore.explain("eac", tiny_network(), images, options={"valeu": "shapley"}, **given)


@pytest.mark.parametrize("named", [{}, {"segmenter": "grid"}])
def test_bench_with_nothing_named_and_with_a_segmenter(tmp_path, named):
    pytest.importorskip("xcore_minizoo")
    made = bench(
        ["eac"],
        data="minizoo",
        classes=["zebra"],
        metrics=["cost"],
        budget={"samples": 3, "heldout": 2},
        models=named,
        out=tmp_path,
    )
    (outcome,) = made.result.outcomes
    assert outcome.status == "ok"
    assert outcome.cell.models["segmenter"].text == named.get("segmenter", "felzenszwalb")
    folder = tmp_path / "explanations" / outcome.record
    assert (folder / "concepts.png").is_file()
    assert (folder / "maps.png").is_file()
