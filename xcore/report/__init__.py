"""What people see of a run: one table of all results, in the terminal and as files, and pictures of each explanation.

Records become rows (`rows`), rows become the table (`build`, `table`, `notes`), and the table becomes text for people
(`layout`, `terminal`, `markup`), data for machines (`data`) and a page for the browser (`site`). `pictures` and
`typeset` draw one explanation. This room is not public, and no result depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.base.lazy import lazy_exports
from xcore.report.build import build as build  # not late: its module has the same name

if TYPE_CHECKING:
    from xcore.report.data import to_pandas as to_pandas
    from xcore.report.page import PAGE as PAGE
    from xcore.report.pictures import draw as draw
    from xcore.report.pictures import gallery as gallery
    from xcore.report.table import Column as Column
    from xcore.report.table import MetricInfo as MetricInfo
    from xcore.report.table import Row as Row
    from xcore.report.table import Section as Section
    from xcore.report.table import Table as Table
    from xcore.report.table import Value as Value
    from xcore.report.terminal import show as show
    from xcore.report.terminal import show_concepts as show_concepts
    from xcore.report.write import FORMATS as FORMATS
    from xcore.report.write import PARQUET as PARQUET
    from xcore.report.write import check_format as check_format
    from xcore.report.write import render as render
    from xcore.report.write import write_all as write_all
    from xcore.report.write import write_parquet as write_parquet

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "xcore.report.data": ("to_pandas",),
        "xcore.report.pictures": ("draw", "gallery"),
        "xcore.report.page": ("PAGE",),
        "xcore.report.table": ("Column", "MetricInfo", "Row", "Section", "Table", "Value"),
        "xcore.report.terminal": ("show", "show_concepts"),
        "xcore.report.write": ("FORMATS", "PARQUET", "check_format", "render", "write_all", "write_parquet"),
    },
)
