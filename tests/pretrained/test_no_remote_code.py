"""Every class of transformers that chooses a class by a model's directory is told never to take one from there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file
    for file in [*ROOT.glob("xcore/**/*.py"), *ROOT.glob("plugins/*/*/src/**/*.py")]
    if file.name != "testing.py"  # reads directories that it has just written
)


def chooses(call: ast.Call) -> bool:
    """Whether a call may choose a class by the files of a model: ``AutoX.from_pretrained``, or one that is named."""
    if not isinstance(call.func, ast.Attribute):
        return False
    owner = ast.unparse(call.func.value)
    auto = owner.rpartition(".")[2].startswith("Auto") and not owner.startswith("AutoencoderKL")
    return call.func.attr == "from_pretrained" and (auto or owner in ("auto", "getattr(transformers, name)"))


def calls(file: Path) -> list[ast.Call]:
    text = file.read_text(encoding="utf-8")
    nodes = ast.walk(ast.parse(text)) if "from_pretrained" in text else ()  # most files have none: not worth parsing
    return [node for node in nodes if isinstance(node, ast.Call) and chooses(node)]


@pytest.mark.parametrize("file", [file for file in FILES if calls(file)], ids=lambda file: str(file.relative_to(ROOT)))
def test_code_of_model_directories_is_not_trusted(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for call in calls(file):
        named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        given = named.get("trust_remote_code") == "False"
        in_a_mapping = None in named and '"trust_remote_code": False' in text
        assert given or in_a_mapping, f"{file.name}:{call.lineno} must pass trust_remote_code=False"


def test_some_are_found() -> None:
    assert sum(len(calls(file)) for file in FILES) > 5
