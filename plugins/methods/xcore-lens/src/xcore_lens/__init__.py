"""Lens: concepts as a dictionary of the activations at one layer, ranked by an attribution of the class logit.

The numerical parts can be used on their own: `xcore_lens.extract`, `xcore_lens.factorise`.
"""
