"""CRAFT: the concepts of an image class, found by factorising the activations of image crops.

The numerical parts can be used on their own: `xcore_craft.crops`, `xcore_craft.factorise`, `xcore_craft.sobol`.
"""
