"""A plugin with a method that does nothing, so that a bench of it is all overhead (see overhead.py)."""

from __future__ import annotations

from xcore import hookimpl
from xcore.contract import Concept, Explanation, Register, Task


class Nothing:
    """One concept without anything in it."""

    def __init__(self, options: object) -> None: ...

    def explain(self, task: Task) -> Explanation:
        return Explanation("nothing", task.target_name, "nothing", (Concept("C1", 0.0),))


@hookimpl
def register_explainers(register: Register) -> None:
    """Offer `nothing`."""
    register("nothing", Nothing, summary="does nothing", modalities=("image", "text"))
