"""Running: a suite becomes a plan, the plan becomes cells, each cell a task, and the loop keeps what comes of it.

Not public: command plugins use `xcore.session`.
"""
