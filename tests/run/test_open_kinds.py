"""What a plugin may bring beside methods and metrics: a role, a rendering of random sets, an engine with options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import xcore
from xcore.contract import MissingError, NotApplicable, PluginError, Ref, UsageError
from xcore.registry import Registry, load_registry
from xcore.run.random_sets import RandomSets

TOY = Path(__file__).parents[1] / "plugins" / "toy_plugin.py"
OPEN = Path(__file__).parents[1] / "plugins" / "open_plugin.py"
COMMON = {"plugins": [TOY, OPEN], "data": "toy", "classes": ["red"], "metrics": ["flatness"]}


@pytest.fixture
def registry() -> Registry:
    return load_registry([TOY, OPEN])


def explained(registry: Registry, method: str, **keys):
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    images, others = torch.rand(6, 3, 16, 16), torch.rand(20, 3, 16, 16)
    return xcore.explain(
        method, net, images, target="a", class_names=["a", "b"], contrast=others, registry=registry, **keys
    )


# -- roles -----------------------------------------------------------------------------------------------------------
def test_a_role_of_a_plugin_works_in_bench_and_in_explain(tmp_path, registry):
    result = xcore.bench(["painted"], out=tmp_path / "run", models={"palette": "warm"}, **COMMON)
    assert [row["concept"] for row in result.rows] == ["warm"]
    assert explained(registry, "painted", models={"palette": "warm"}).concepts[0].name == "warm"
    assert explained(registry, "painted", models={"palette": "cold"}).concepts[0].name == "cold"


def test_a_role_that_nobody_plays_is_refused_with_the_nearest(tmp_path, registry):
    with pytest.raises(UsageError, match=r"unknown role 'palete' \(did you mean 'palette'\?\)"):
        xcore.bench(["painted"], out=tmp_path / "run", models={"palete": "warm"}, **COMMON)
    with pytest.raises(UsageError, match=r"unknown role 'palete' \(did you mean 'palette'\?\)"):
        explained(registry, "painted", models={"palete": "warm"})
    with pytest.raises(UsageError, match="model 'loud' plays the role 'loudness', not 'palette'"):
        explained(registry, "painted", models={"palette": "loud"})
    with pytest.raises(MissingError, match=r"the role 'palette' \(pass models=\{'palette': 'cold or warm'\}\)"):
        explained(registry, "painted")


# -- renderings ------------------------------------------------------------------------------------------------------
def test_random_sets_are_rendered_as_a_plugin_says(tmp_path, registry):
    """The metric asks for a random set rendered like the concept; `flat:P` leaves a share P of the contrast."""
    values = []
    for strength in (100, 50, 0):
        keys = {"set": {"flattened": {"percent": strength}}}
        result = xcore.bench(["flattened"], out=tmp_path / f"run{strength}", **COMMON, **keys)
        values.append(result.rows[0]["scores"]["flatness"]["value"])
    assert values[0] > 0.1
    assert values[1] == pytest.approx(values[0] / 2, rel=1e-4)
    assert values[2] == pytest.approx(0, abs=1e-6)
    assert explained(registry, "asks-for-random").notes == ("flat:0 has contrast 0.000",)


def test_the_same_set_is_drawn_whatever_the_rendering(registry):
    data = registry.create("dataset", Ref("toy"))
    sets = RandomSets(data, "red", "train", seed=0, renderings=registry.rendering)
    plain, flat = sets(5, 3, "as-is"), sets(5, 3, "flat:0")
    assert torch.allclose(plain.images.mean((2, 3)), flat.images.mean((2, 3)), atol=1e-6)
    assert sets(5, 3, "as-is", "null").ids != plain.ids


def test_a_rendering_that_nobody_registers_says_what_is_known(registry):
    sets = RandomSets(registry.create("dataset", Ref("toy")), "red", "train", seed=0, renderings=registry.rendering)
    with pytest.raises(NotApplicable, match=r"no plugin registers the rendering 'blurr' .*as-is, crop"):
        sets(5, 0, "blurr:3")


# -- engines ---------------------------------------------------------------------------------------------------------
def test_options_of_an_engine_reach_it(tmp_path, capsys):
    keys = {**COMMON, "metrics": ["brightness"], "seeds": [0, 1, 2]}
    first = xcore.bench(["toy"], out=tmp_path / "one", engine="batches", set={"batches": {"size": 2}}, **keys)
    assert capsys.readouterr().err.count("a batch of") == 2
    again = xcore.bench(["toy"], out=tmp_path / "two", engine="batches", set={"batches": {"size": 1}}, **keys)
    assert capsys.readouterr().err.count("a batch of") == 3
    assert [r["scores"] for r in first.rows] == [r["scores"] for r in again.rows]


def test_wrong_options_of_an_engine_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"engine 'batches': option 'size'"):
        xcore.bench(["toy"], out=tmp_path / "run", engine="batches", set={"batches": {"size": 0}}, **COMMON)
    with pytest.raises(UsageError, match=r"key of engine 'batches': 'sise' \(did you mean 'size'\?\)"):
        xcore.bench(["toy"], out=tmp_path / "run", engine="batches", set={"batches": {"sise": 2}}, **COMMON)


def test_an_engine_that_cannot_be_made_says_whose_it_is(tmp_path):
    with pytest.raises(PluginError, match="engine 'broken' of open_plugin cannot be made: RuntimeError: no workers"):
        xcore.bench(["toy"], out=tmp_path / "run", engine="broken", **COMMON)
