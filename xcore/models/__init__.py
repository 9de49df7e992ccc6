"""Classifiers made from torch modules and Python functions, probes that open them at a layer, and the device.

Public: plugins may import its modules. All of them but `xcore.models.device` import torch.
"""
