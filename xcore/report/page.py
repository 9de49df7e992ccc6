"""The highlighted texts as one HTML file that needs no other file and no script."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.report.highlighted import HighlightedTexts, headline, visible
from xcore.report.layout import title
from xcore.report.table import Table

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def page(table: Table) -> str:
    """Render the highlighted texts of all explanations of a table as an HTML page.

    A highlighted word is a `mark` element whose title is its concept's list. The strength of its background shows the
    strength of the concept. A solid or dashed line below the word, and a word that only screen readers read, tell
    whether it speaks for or against the class. The page follows the light or dark mode of the browser. Everything that
    comes from texts, concepts and names is escaped, and its content security policy forbids scripts and requests.

    Parameters
    ----------
    table
        The table; sections without texts are left out.

    Returns
    -------
    str
        A whole document.
    """
    sections = [section for section in table.sections if section.highlighted]
    return environment().get_template("highlighted.html").render(sections=sections)


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
    made.filters |= {"visible": visible, "title": title, "headline": headline, "lines": _lines}
    return made


def _lines(found: HighlightedTexts) -> dict[int, str]:
    """Concept -> its list on one line."""
    return {entry.concept: entry.line for entry in found.concepts}
