"""Stable Diffusion pipelines as generators.

`DiffusionGenerator` is in `xcore_diffusion.generator`; this module imports nothing heavy.
"""
