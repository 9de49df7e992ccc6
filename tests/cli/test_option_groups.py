"""`xcore show`: options in groups, each below its heading."""

from __future__ import annotations

import json

from xcore.cli.listing import show_component

PLUGIN = """
from pydantic import Field
from xcore import hookimpl
from xcore.contract import Options


class Some(Options):
    steps: int = Field(10, description="steps", json_schema_extra={"group": "Search"})
    k: int = 3
    rate: float = Field(0.1, json_schema_extra={"group": "Updates"})
    batch: int = Field(8, json_schema_extra={"group": "Updates"})
    beta: float = 0.5


@hookimpl
def register_explainers(register):
    register("grouped", "x:y", summary="s", options=Some)
"""


def test_a_heading_stands_before_each_group_and_options_without_one_come_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XCORE_PLUGINS", "")
    file = tmp_path / "grouped.py"
    file.write_text(PLUGIN)
    show_component("grouped", [str(file)], as_json=False)
    out = capsys.readouterr().out
    assert out[out.index("  --set") :] == (
        "  --set grouped.k=3 (integer)\n"
        "  --set grouped.beta=0.5 (number)\n"
        "\n"
        "  Search:\n"
        "  --set grouped.steps=10 (integer)  steps\n"
        "\n"
        "  Updates:\n"
        "  --set grouped.rate=0.1 (number)\n"
        "  --set grouped.batch=8 (integer)\n"
    )
    show_component("grouped", [str(file)], as_json=True)
    options = json.loads(capsys.readouterr().out)["options"]
    assert list(options) == ["steps", "k", "rate", "batch", "beta"]
    assert options["rate"]["group"] == "Updates"
