"""RLPO: concepts that a generator draws from seed prompts, which a policy chooses and preference tuning improves.

`Rlpo` is in `xcore_rlpo.rlpo`; nothing heavy is imported here.
"""
