"""The ground floor: errors, digests, file writing and seeding. It imports no other room of xcore.

Plugins reach errors, digests and seeding through `xcore.contract`, and file writing through `xcore.session`.
"""
