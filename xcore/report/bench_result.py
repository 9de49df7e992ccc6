"""What `bench`, `score` and `report` return."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xcore.report.data import to_pandas
from xcore.report.rows import ResultRow
from xcore.report.table import Table
from xcore.report.write import render

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

    from xcore.ci.verdict import Verdict
    from xcore.run.result import Result


@dataclass(frozen=True, eq=False, repr=False)
class BenchResult:
    """A finished run: its table, rows, directory and verdicts. A notebook shows the table.

    Attributes
    ----------
    table
        What the notebook shows and `to_pandas` gives: rows of several seeds combined into one.
    rows
        Plain data: one mapping for each label, classifier, class, seed and concept. A cell that failed, was skipped or
        is not done, or whose explanation has no concept, is one row whose concept is None. ``xcore bench --json``
        prints the same rows, with the paths of pictures as seen from the current folder.

        ``method``, ``label``, ``classifier``, ``data``, ``class``, ``seed``, ``data_seed``: the cell. ``status`` ("ok",
        "failed", "skipped" or "pending") and ``reason``: how it ended. ``seconds``, ``shared_seconds``: what the
        explanation took, and artifacts that other cells use, too. ``cached``: whether it was there before. ``heldout``:
        how many held-out samples the metrics saw.

        ``rank`` (1 = most important), ``concept`` (its name), ``words``, ``importance``, ``importance_is`` (its unit)
        and ``evidence`` (statistic -> number): the concept; a row without a concept has only the first two of these.

        ``scores``: metric -> a mapping with ``value`` or ``reason`` (one of them is None), ``spread``, ``over``, ``n``,
        ``variant`` and ``details`` as in `xcore.contract.Score`, ``metric``, and ``joint`` (whether one value judges
        several seeds). The second and later variants of a metric have the key ``METRIC [VARIANT]``. ``overall``: the
        same of the metrics that judge a whole explanation, on the row of its first concept.

        ``note``: what a reader of the explanation must know; ``picture``: the picture of the concept, in `path`;
        ``pictures``: the others of the cell; ``marked``: the explained texts with their highlights. All but
        ``picture`` are on the first row of a cell only.
    path
        The run directory.
    result
        How each cell ended (``outcomes``), the scores that failed (``score_failures``), and the wall-clock ``seconds``.
    verdicts
        One verdict for each gate and for each value that is compared with a baseline; empty if there are none.
    suite
        The name of the suite.
    pictures
        The pictures of all explanations, by paths that a person can read; the rows say which are whose.
    """

    table: Table
    rows: list[ResultRow]
    path: Path
    result: Result
    verdicts: list[Verdict] = field(default_factory=list)
    suite: str = ""
    pictures: list[Path] = field(default_factory=list)

    @property
    def broken(self) -> str:
        """How many cells and scores failed or are not done yet, as a sentence; empty if the run is whole."""
        cells, scores, left = self.result.count("failed"), len(self.result.score_failures), self.result.count("pending")
        failed = [f"{cells} cell(s) failed, {scores} score(s) failed"] if cells or scores else []
        return "; ".join([*failed, *([f"{left} cell{'' if left == 1 else 's'} not done yet"] if left else [])])

    def to_pandas(self) -> pd.DataFrame:
        """The table as a long frame: one row for each section, row of the table and metric.

        It has every concept, in full precision, and the columns of ``table.csv``. A failed or skipped cell, or an
        explanation without concepts, is one row without a metric.

        Returns
        -------
        pandas.DataFrame
            ``data``, ``classifier``, ``class``: the section. ``method``, ``label``, ``status``, ``reason``, ``seeds``:
            the row, and why a value is missing. ``rank`` (1 = most important), ``concept`` (its most frequent name),
            ``named_in_seeds`` (how many seeds gave this name), ``words``: the concept. ``metric``, ``variant``,
            ``direction`` ("higher" or "lower" is better, or "none"), ``whole_explanation``: the metric. ``value`` (mean
            over seeds), ``spread``, ``over``, ``n`` (what the spread is taken over, and how many), ``null_mean``,
            ``outside_null_seeds``, ``lowers_class_seeds`` (in how many of these the concept lowers the class),
            ``chance``: the value, in the unit of its metric. ``seconds``: what the explanation took, on the rows of the
            first concept of a method; ``shared_seconds``: its share of what explanations of the method have in common.
            Dtypes: string, Int64, boolean and float64.
        """
        return to_pandas(self.table)

    def __repr__(self) -> str:
        """One line: the rows of a run may fill pages."""
        sections = self.table.sections
        classes = len({section.cls for section in sections})
        methods = len({row.label for section in sections for row in section.rows})
        done = self.result.count("ok")
        of = f"{methods} method{'' if methods == 1 else 's'}, {classes} class{'' if classes == 1 else 'es'}"
        said = f"{of}, {done} of {len(self.result.outcomes)} cells done"
        return f"<bench {self.suite!r}: {said}, in {self.path}>"

    def _repr_html_(self) -> str:
        from xcore.report.notebook import table_html

        return table_html(self.table)

    def _repr_markdown_(self) -> str:
        return render(self.table, "md")
