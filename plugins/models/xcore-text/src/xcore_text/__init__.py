"""Text classifiers, data sets of texts, and sentence embedders."""
