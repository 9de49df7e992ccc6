"""How plugins are loaded: each in its own guard, with its cards checked, so that a broken one harms only itself.

Only `xcore.registry` comes in. Nothing here is imported while cards are read that were kept from an earlier start.
"""
