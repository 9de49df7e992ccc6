"""Reading the inputs of users: image files, tensors, lists of texts, paths, and the words of texts.

`xcore.inputs.renderings` renders images as crops or segments.

Public: plugins may import its modules.
"""
