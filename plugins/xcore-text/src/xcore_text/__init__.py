"""Texts: classifiers, data sets and embedders."""
