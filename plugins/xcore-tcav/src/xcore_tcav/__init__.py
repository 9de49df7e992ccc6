"""Concept activation vectors: exact batched fits, scores with a calibrated null, and the metric TS.

The library is `Scorer` (`xcore_tcav.scorer`) with the statistics of `xcore_tcav.inference` and the fit of
`xcore_tcav.logistic`; nothing heavy is imported until one of them is.
"""

__version__ = "0.1.0"
