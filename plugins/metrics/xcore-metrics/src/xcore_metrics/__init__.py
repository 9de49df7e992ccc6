"""Metrics for explanations of any method, and controls (explainers that explain nothing) to compare with."""
