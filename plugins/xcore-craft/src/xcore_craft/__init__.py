"""CRAFT: concepts of an image class by non-negative factorisation of the activations of its crops.

The numerical pieces are a library of their own: `xcore_craft.sobol`, `xcore_craft.factorise`, `xcore_craft.crops`,
`xcore_craft.maps`.
"""
