"""Lens: concepts as a dictionary of the activations at one layer, ranked by an attribution of the class logit.

The numerical pieces are a library of their own: `xcore_lens.factorise`, `xcore_lens.extract`.
"""
