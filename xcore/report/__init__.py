"""What is shown: rows of results become one table, and the table becomes text, Markdown, CSV, JSON, LaTeX or a page."""

from xcore.report.build import build
from xcore.report.junit import junit
from xcore.report.summary import summary
from xcore.report.table import Column, Row, Section, Table, Value
from xcore.report.terminal import show
from xcore.report.verdict import Verdict, tally
from xcore.report.write import FORMATS, PAGE, render, write_all

__all__ = [
    "FORMATS",
    "PAGE",
    "Column",
    "Row",
    "Section",
    "Table",
    "Value",
    "Verdict",
    "build",
    "junit",
    "render",
    "show",
    "summary",
    "tally",
    "write_all",
]
