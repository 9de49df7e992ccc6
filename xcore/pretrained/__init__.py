"""Pretrained models: directories and hub ids, loading without pickles, adapters and LoRA, and sampling of tokens.

Public: plugins may import its modules. `xcore.pretrained.hub` imports no torch, so fingerprints on cards may use it.
Only `xcore.pretrained.lora` needs peft.
"""
