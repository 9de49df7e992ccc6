"""What is kept and how it is found again: the run directory, explanations as files, identities, the environment.

Not public: command plugins use `xcore.session`.
"""
