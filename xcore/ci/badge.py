"""A badge that says whether the explanations of a run keep what is asked of them: as SVG, and for shields.io."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from xcore.base.errors import UsageError
from xcore.ci.verdict import Verdict, tally

LABEL = "explanations"
COLOURS = {"good": "brightgreen", "bad": "red", "none": "lightgrey"}
"""As shields.io names them."""
_FILLS = {"good": "#2a7d2e", "bad": "#b3261e", "none": "#5f6368"}
_WIDTHS = {**dict.fromkeys("ijlI.,:;|!'1 ", 4.0), **dict.fromkeys("mwMW", 10.0)}
"""Width in pixels of letters that are narrower or wider than the others, at 11 pixels."""
ENDINGS = (".svg", ".json")


def check_badge(file: str) -> None:
    """Raise `UsageError` if a badge cannot be written to a file of this name."""
    if not file.endswith(ENDINGS):
        raise UsageError(f"--badge {file!r} is neither an SVG nor a JSON file", "e.g. --badge badge.svg")


def badge(file: str, verdicts: Sequence[Verdict], cells: int, broken: str = "") -> str:
    """The content of a badge.

    Parameters
    ----------
    file
        Its name: an SVG picture, or JSON for the endpoint badge of shields.io.
    verdicts
        What the run was judged by.
    cells
        How many explanations were made: what is said where nothing was judged.
    broken
        What failed in the run; empty if nothing did.
    """
    check_badge(file)
    failed = bool(broken) or any(v.fails for v in verdicts)
    message = broken or tally(verdicts) or f"{cells} made"
    state = "bad" if failed else "good" if tally(verdicts) else "none"
    if file.endswith(".json"):
        about = {"schemaVersion": 1, "label": LABEL, "message": message, "color": COLOURS[state]}
        return json.dumps(about | {"isError": failed}, ensure_ascii=False) + "\n"
    return _svg(message, _FILLS[state])


def _svg(message: str, fill: str) -> str:
    left, right = _width(LABEL) + 12, _width(message) + 12
    whole, said = left + right, escape(f"{LABEL}: {message}")
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{said}">
<title>{said}</title>
<clipPath id="round"><rect width="{whole}" height="20" rx="4"/></clipPath>
<g clip-path="url(#round)"><rect width="{left}" height="20" fill="#3c4043"/>
<rect x="{left}" width="{right}" height="20" fill="{fill}"/></g>
<g fill="#fff" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11" text-anchor="middle">
<text x="{left / 2:g}" y="14" textLength="{left - 12}">{LABEL}</text>
<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{escape(message)}</text></g>
</svg>
"""


def _width(text: str) -> int:
    return round(sum(_WIDTHS.get(letter, 6.8) for letter in text))
