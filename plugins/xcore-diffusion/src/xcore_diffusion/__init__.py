"""Stable Diffusion pipelines as xcore generators.

`DiffusionGenerator` is in `xcore_diffusion.generator`; nothing heavy is imported here.
"""
