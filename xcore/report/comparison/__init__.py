"""Runs compared: what is better, worse, or shows no difference, with what certainty, and what cannot be compared.

`compare` reads the records of runs (`runs`), sees what they differ in (`comparable`), sets their values against each
other (`design`, `statistics`) and gives back lines (`lines`) that show themselves (`compared`, `show`).
"""

from xcore.report.comparison.compare import compare
from xcore.report.comparison.compared import Compared
from xcore.report.comparison.lines import Line, Pair, PicturePair

__all__ = ["Compared", "Line", "Pair", "PicturePair", "compare"]
