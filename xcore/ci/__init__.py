"""Judging a run in continuous integration: gates, regressions against a baseline file, JUnit, job summaries.

Not public, and no part of what identifies a result.
"""
