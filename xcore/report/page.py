"""Documents in HTML: the templates, and a policy under which only our own style sheet and script have any effect."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.report.highlighted import HighlightedTexts, headline, visible
from xcore.report.layout import title

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
STYLE, SCRIPT = "page.css", "page.js"
PAGE = "report.html"
"""The page of a run in its directory."""


@cache
def environment() -> Environment:
    """The templates with escaping switched on; a name that a template misspells is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"visible": visible, "title": title, "headline": headline, "lines": _lines, "lines_of": _lines_of}
    made.filters |= filters
    return made


def document(template: str, content: Mapping[str, Any], rules: str = "") -> str:
    """A whole document from a template, as one file that needs no other file and no network.

    Everything that comes from names, texts and files is escaped. The content security policy of the document allows one
    style sheet and one script, by their digests, and pictures that are in the document itself.

    Parameters
    ----------
    template
        The name of the template. It gets `content` and, beside it, ``policy``, ``style`` and ``script``.
    rules
        Further rules for the style sheet, made by us.
    """
    from markupsafe import Markup

    templates = environment()
    marks: Any = templates.get_template("texts.html").module
    style = f"{(TEMPLATES / STYLE).read_text(encoding='utf-8')}{marks.mark_rules('')}{rules}"
    script = (TEMPLATES / SCRIPT).read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    given = {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return templates.get_template(template).render(**content, **given)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _lines(found: HighlightedTexts) -> dict[int, str]:
    """Concept -> its list on one line."""
    return {entry.concept: entry.line for entry in found.concepts}


def _lines_of(text: str) -> str:
    """A text of several lines without control characters."""
    return "\n".join(visible(line) for line in text.splitlines())
