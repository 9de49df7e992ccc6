"""The test classes: standard tests cannot be dropped unseen; and the fixtures that pytest finds by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xcore.contract import Options
from xcore.testing import MetricTests, OptionsTests, World, xfail
from xcore.testing.checklist import MODULES, checks_of

PAGE = Path(__file__).parents[2] / "docs" / "checking.md"


class Removed(OptionsTests):
    __test__ = False
    test_defaults_are_valid = None


class Overridden(OptionsTests):
    __test__ = False

    def test_defaults_are_valid(self) -> None:
        """It is always green."""


class Inherited(Overridden):
    __test__ = False


class Declared(OptionsTests):
    __test__ = False
    test_every_option_says_what_it_is = xfail(reason="the options are those of another library")


class DeclaredBelow(Declared):
    __test__ = False


class Empty(Options):
    k: int = 3


@pytest.mark.parametrize("case", [Removed, Overridden, Inherited])
def test_a_standard_test_cannot_be_dropped(case: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="test_defaults_are_valid is a standard test") as failed:
        case().test_defaults_are_valid()
    assert 'test_defaults_are_valid = xfail(reason="...")' in str(failed.value)


@pytest.mark.parametrize("case", [Declared, DeclaredBelow])
def test_a_declared_failure_is_expected_with_its_reason(case: Any) -> None:
    (mark,) = case.test_every_option_says_what_it_is.pytestmark
    assert (mark.name, mark.kwargs["reason"]) == ("xfail", "the options are those of another library")
    case().test_defaults_are_valid(_subject(Empty))
    with pytest.raises(pytest.fail.Exception, match="options without a description: k"):
        case().test_every_option_says_what_it_is(_subject(Empty))


def _subject(model: type[Any]) -> Any:
    from xcore.testing.options import Choosing

    return Choosing(model)


def test_an_expected_failure_has_a_reason() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        xfail(reason=" ")


def test_a_class_has_a_test_for_each_check() -> None:
    assert {f"test_{one.name}" for one in checks_of("metric")} <= set(dir(MetricTests))
    assert not [name for name in dir(World) if name.startswith("test_")]


@pytest.mark.parametrize("kind", MODULES)
def test_each_check_says_why_and_how_to_mend_and_is_on_the_page(kind: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### {kind}\n(.*?)(?=^### |^## |\Z)", page, re.DOTALL | re.MULTILINE)
    rows = [f"| `{one.name}` | {one.what}. | {one.why} | {one.mend} |" for one in checks_of(kind)]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows
    for one in checks_of(kind):
        assert one.why.endswith(".")
        assert one.mend.endswith(".")


# -- fixtures --------------------------------------------------------------------------------------------------------
def test_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, xcore.testing.pytest_plugin; print({'torch', 'numpy', 'pydantic', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_task(xcore_task: Any, xcore_segmenter: Any, xcore_models: Any) -> None:
    assert xcore_task.target_name == "stripes"
    assert xcore_task.random_set(4, 0).images.shape == (4, 3, 32, 32)
    assert xcore_task.workdir.is_dir()
    assert int(xcore_segmenter.segment(xcore_task.samples.images[0]).sum()) == 32 * 32
    assert "text-decoder" in xcore_models


def test_the_images_have_known_factors(xcore_images: Any) -> None:
    assert set(xcore_images.meta) == {"red", "green", "blue"}
    assert 0.05 < float(xcore_images.meta["red"].mean()) < 0.3


def test_the_classifiers_have_three_layouts(xcore_classifiers: Any) -> None:
    assert {name: made.open(made.default_layer).layout for name, made in xcore_classifiers.items()} == {
        name: name for name in ("NC", "NCHW", "NTC")
    }


def test_the_text_world(xcore_text_world: Any) -> None:
    world = xcore_text_world
    logits = world.classifier.logits(world.task.samples)
    assert (logits.argmax(1) == world.task.target).all()
    assert world.generator.generate(["lovely"], [0]).texts[0].split().count("lovely") == 1


def test_the_run_directory_is_isolated(xcore_run_dir: Path) -> None:
    from xcore.base.files import cache_directory

    assert Path.cwd() == xcore_run_dir.parent
    assert cache_directory().is_relative_to(xcore_run_dir.parent)
