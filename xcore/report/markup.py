"""The table as Markdown and as LaTeX."""

from __future__ import annotations

import re

from xcore.report.layout import Grid, Line, grids
from xcore.report.table import Table

_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "*": r"\textsuperscript{*}",
    "†": r"\textsuperscript{\dag}",
    "‡": r"\textsuperscript{\ddag}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
}


def markdown(table: Table) -> str:
    """Render the table as GitHub-flavoured Markdown: for each section a heading, a table and its footnotes."""
    return "\n\n".join(map(grid_markdown, grids(table))) + _md_notes(table.notes) + "\n"


def grid_markdown(grid: Grid) -> str:
    """One grid as GitHub-flavoured Markdown: a heading, a table and its footnotes."""
    head = [
        f"| {' | '.join(map(escaped, grid.head))} |",
        f"|{'|'.join(':--' if i < 2 else '--:' for i in range(len(grid.head)))}|",
    ]
    body = [f"| {' | '.join(map(escaped, line.cells))} |" for line in grid.lines]
    return f"### {escaped(grid.title)}\n\n" + "\n".join(head + body) + _md_notes(grid.notes)


def escaped(text: str) -> str:
    """The text on one line, with every character escaped that Markdown would interpret."""
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", " ".join(text.split()))


def _md_notes(notes: tuple[str, ...]) -> str:
    return "".join(["\n\n", "\n".join(f"- {escaped(note)}" for note in notes)]) if notes else ""


def latex(table: Table) -> str:
    """Render each section as a LaTeX `table` environment; it needs `\\usepackage{booktabs}` and UTF-8 input."""
    return "\n".join(_latex_grid(grid, table.notes) for grid in grids(table))


def _latex_grid(grid: Grid, legend: tuple[str, ...]) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(grid.title)}}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(grid.head) - 2)}}}",
        r"\toprule",
        _latex_row(grid.head),
        r"\midrule",
        *(_latex_line(line, len(grid.head)) for line in grid.lines),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_tex(note)}" for note in (*grid.notes, *legend)),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _latex_line(line: Line, width: int) -> str:
    if not line.unfinished:
        return _latex_row(line.cells)
    return rf"{_tex(line.cells[0])} & \multicolumn{{{width - 1}}}{{l}}{{{_tex(line.cells[1])}}} \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))
