"""Concept activation vectors (CAVs): the explainer `tcav`, the metric TS, and the library behind both.

The library is `xcore_tcav.scorer.Scorer`, which fits CAVs in batches (`xcore_tcav.logistic`) and tests scores against a
calibrated null distribution (`xcore_tcav.inference`). Importing this package imports none of them.
"""

__version__ = "0.1.0"
