"""Explain Any Concept: Shapley values of the segments of an image, and segmenters.

Two parts can be used as a library: `xcore_eac.games` (Shapley and Banzhaf values of any cooperative game) and
`xcore_eac.surrogate` (the per-input equivalent, PIE, of a model).
"""
