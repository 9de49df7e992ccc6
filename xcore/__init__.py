"""xcore: explanation methods as plugins, compared honestly with one command.

The names below are loaded when they are first used, so that `import xcore` stays cheap. A command of a plugin may be a
function, too: `xcore.shift(...)` is what `xcore shift` calls.
"""

from typing import TYPE_CHECKING, Any

from xcore.base.lazy import lazy_exports

if TYPE_CHECKING:
    from xcore.api import bench as bench
    from xcore.api import score as score
    from xcore.contract.hooks import hookimpl as hookimpl
    from xcore.explained import Explained as Explained
    from xcore.explained import load as load
    from xcore.interactive import data as data
    from xcore.interactive import explain as explain
    from xcore.interactive import open as open
    from xcore.report.comparison.compare import compare as compare
    from xcore.report.highlighted import highlight as highlight

__version__ = "0.1.0"


def _command(name: str) -> Any:
    """What a command of a plugin calls, by the command's name; None if there is none."""
    if name.startswith("_"):
        return None
    from xcore.registry import load_registry, resolve

    return next((resolve(c.call) for c in load_registry().cards("command") if c.call and c.name == name), None)


__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "xcore.api": ("bench", "score"),
        "xcore.contract.hooks": ("hookimpl",),
        "xcore.explained": ("Explained", "load"),
        "xcore.interactive": ("data", "explain", "open"),
        "xcore.report.comparison.compare": ("compare",),
        "xcore.report.highlighted": ("highlight",),
    },
    _command,
)
