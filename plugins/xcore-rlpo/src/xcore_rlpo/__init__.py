"""RLPO: concepts that a generator draws from seed prompts, picked by a policy and tuned by preference.

`Rlpo` is in `xcore_rlpo.rlpo`; nothing heavy is imported here.
"""
