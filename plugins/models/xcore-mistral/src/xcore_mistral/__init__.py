"""Causal language models as generators of lists of synonyms.

`MistralGenerator` is in `xcore_mistral.generator`; this module imports nothing heavy.
"""
