"""What people see of a run: one table of all results, in the terminal and as files, and pictures of each explanation.

Records become rows (`rows`), rows become the table (`build`, `table`, `notes`), and the table becomes text for people
(`layout`, `terminal`, `markup`), data for machines (`data`) and a page for the browser (`site`). `pictures` and
`typeset` draw one explanation. This room is not public, and no result depends on it.
"""

from xcore.report.build import build
from xcore.report.data import to_pandas
from xcore.report.pictures import draw, gallery
from xcore.report.site.run_page import PAGE
from xcore.report.table import Column, MetricInfo, Row, Section, Table, Value
from xcore.report.terminal import show, show_concepts
from xcore.report.write import FORMATS, PARQUET, check_format, render, write_all, write_parquet

__all__ = [
    "FORMATS",
    "PAGE",
    "PARQUET",
    "Column",
    "MetricInfo",
    "Row",
    "Section",
    "Table",
    "Value",
    "build",
    "check_format",
    "draw",
    "gallery",
    "render",
    "show",
    "show_concepts",
    "to_pandas",
    "write_all",
    "write_parquet",
]
