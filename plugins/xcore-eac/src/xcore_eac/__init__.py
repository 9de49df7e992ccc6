"""Explain Any Concept: Shapley values of the segments of an image, and the segmenters that cut them.

The numerical pieces are a library of their own: `xcore_eac.games` (values of any cooperative game) and
`xcore_eac.surrogate` (the per-input equivalent of a model).
"""
