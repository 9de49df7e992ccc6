"""Metrics that ask the model about concepts and about the words that name them."""
