"""Wheels of all distributions: they hold every file, move together, and work where no clone is."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import xcore

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"release_{name}", ROOT / "release" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheels, version = script("wheels"), script("version")
FOLDERS: dict[str, Path] = wheels.distributions()


def required(project: dict[str, Any]) -> list[str]:
    """All requirements of a distribution and of its extras."""
    return [*project["dependencies"], *(r for rs in project.get("optional-dependencies", {}).values() for r in rs)]


@pytest.mark.parametrize("name", FOLDERS)
def test_all_versions_move_together(name: str) -> None:
    project = wheels.project(FOLDERS[name])
    assert project["version"] == xcore.__version__
    own = [r for r in required(project) if re.match(r"xcore-", r)]
    assert own
    known = {f"{other}=={xcore.__version__}" for other in FOLDERS}
    assert set(own) <= known, "each of ours is required in exactly this version"


def test_the_extras_of_the_core_reach_every_distribution() -> None:
    extras = wheels.project(ROOT)["optional-dependencies"]
    plugins = {f"{name}=={xcore.__version__}" for name in FOLDERS if name != "xcore-xai"}
    assert set(extras["all"]) == plugins
    for pinned in plugins:
        short = pinned.partition("==")[0].removeprefix("xcore-")
        assert extras[short] == [pinned]


def test_a_new_version_is_written_everywhere(tmp_path: Path) -> None:
    for path in (ROOT / "xcore" / "__init__.py", *(folder / "pyproject.toml" for folder in FOLDERS.values())):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    assert len(version.set_version(tmp_path, "7.8.9", write=False)) == len(FOLDERS) + 1
    assert len(version.set_version(tmp_path, "7.8.9")) == len(FOLDERS) + 1
    assert not version.set_version(tmp_path, "7.8.9", write=False)
    assert '__version__ = "7.8.9"' in (tmp_path / "xcore" / "__init__.py").read_text()
    for path in tmp_path.rglob("pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        assert project["version"] == "7.8.9"
        assert all(r.endswith("==7.8.9") for r in required(project) if r.startswith("xcore-"))
    with pytest.raises(SystemExit, match="'next' is no version"):
        version.set_version(tmp_path, "next")


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.stem)
def test_workflows_call_what_is_there(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    called = " ".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    scripts = re.findall(r"python (\S+\.py)", called)
    targets = re.findall(r"make (\S+)", called)
    assert scripts or targets
    assert all((ROOT / script).is_file() for script in scripts)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_source_archives_hold_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {name: FOLDERS[name] for name in ("xcore-xai", "xcore-minizoo")}
    monkeypatch.setattr(wheels, "distributions", lambda: two)
    made = wheels.build(tmp_path, ["sdist"])
    assert [file.name.partition("-")[0] for file in made] == ["xcore_minizoo", "xcore_xai"]
    assert [wheels.missing(file) for file in made] == [[], []]


def test_only_what_was_built_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xcore_craft-0.0.1-py3-none-any.whl.part").touch()
    monkeypatch.setattr("sys.argv", ["wheels.py", "try", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"lacks the wheels of {len(FOLDERS)} distributions; build them"):
        wheels.main()


def test_what_is_uploaded_is_what_was_tried() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    called = {name: " ".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    given = {name: [step.get("uses", "").partition("@")[0] for step in job["steps"]] for name, job in jobs.items()}
    assert [name for name, words in called.items() if "wheels.py build" in words] == ["build"]
    assert (jobs["try"]["needs"], jobs["publish"]["needs"]) == ("build", "try")
    for name in ("try", "publish"):
        assert "actions/download-artifact" in given[name]


def test_wheels_hold_every_file_and_compare_craft_outside_the_repository(tmp_path: Path) -> None:
    made = wheels.build(tmp_path / "wheels", ["wheel"])
    assert len(made) == len(FOLDERS)
    assert {wheel.name: wheels.missing(wheel) for wheel in made} == {wheel.name: [] for wheel in made}
    inside = wheels.environment(tmp_path / "environment")
    wheels.install(inside, tmp_path / "wheels")
    here = tmp_path / "elsewhere"
    here.mkdir()
    asked = ("bench", "--methods", "craft", "--controls", "noise", "--metrics", "cost", "--json")
    small = ("--seeds", "1", "--samples", "8", "--set", "craft.k=3", "--engine", "local")
    said = wheels.bench(inside, here, (*asked, *small))
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert lines[-1]["cells"]["ok"] == 2
    assert {line.get("label") for line in lines} == {"craft", "noise", None}
    about = json.loads((here / "runs" / "default" / "run.json").read_text(encoding="utf-8"))
    assert "xcore-rlpo" not in said, "only what was asked for is installed"
    assert str(ROOT) not in json.dumps(about)
