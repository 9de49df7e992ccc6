"""Errors say the next step."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
import xcore_evidence
from xcore_evidence.blended import blended, paired
from xcore_evidence.edited import edits_read
from xcore_evidence.factorial import factorial, scenes_read
from xcore_evidence.margins import margin

from xcore.contract import Samples, XcoreError

MODULES = sorted(Path(xcore_evidence.__file__).parent.glob("*.py"))
ERRORS = ("UsageError", "MissingError", "NotApplicable")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_error_has_a_hint(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            said = [*node.args, *(word.value for word in node.keywords if word.arg == "hint")]
            assert len(said) == 2, f"{module.name}:{node.lineno} says what is wrong, but not what to do"
            assert not (isinstance(said[1], ast.Constant) and not said[1].value), f"{module.name}:{node.lineno}"


def pictures(n: int) -> Samples:
    return Samples("image", torch.full((n, 3, 4, 4), 0.5), tuple(map(str, range(n))))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: margin(torch.zeros(2, 1), 0), r"has one \(wrap a classifier of one logit"),
        (lambda: margin(torch.tensor([[0.0, 1], [torch.nan, 0]]), 0), r"for 1 of 2 samples \(look for such numbers"),
        (lambda: factorial(None, ["red"]), r"there is 1 \(name more phrases, or use observed"),
        (lambda: scenes_read(None, ["red"], 400, 3), r"there is 1 \(name more phrases, or use observed"),
        (lambda: edits_read(None, ["red"], 400, 2, 0.6), r"there is 1 \(name more phrases, or use observed"),
        (lambda: edits_read(None, ["red", "blue"], 9, 2, 0.6), r"at least 13 are needed \(name fewer phrases, or ask"),
        (lambda: paired(["red", "blue"], torch.zeros(2, 2), says="", gap=1.0), r"there are 2 \(give more pictures"),
        (lambda: paired(["red", "blue"], torch.zeros(1, 2), says="", gap=1.0), r"there is 1 \(give more pictures"),
        (lambda: paired(["red"], torch.zeros(3, 1), says="", gap=1.0), r"there is 1 \(give two phrases or more"),
        (
            lambda: blended(pictures(2), {"red": pictures(1)}, share=0.5, masks=torch.ones(1, 4, 4)),
            r"\(1, 4, 4\).*asks for \(2, 4, 4\) \(give one mask for each picture",
        ),
    ],
)  # fmt: skip
def test_the_next_step_is_told(ask: Any, told: str) -> None:
    with pytest.raises(XcoreError, match=told):
        ask()
