"""The command line. Every command imports what it needs when it runs, so that help and lists come at once.

Not public, and no part of what identifies a result.
"""
