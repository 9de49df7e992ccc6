"""Causal language models as xcore generators of synonym lists.

`MistralGenerator` is in `xcore_mistral.generator`; nothing heavy is imported here.
"""
