"""Text for outputs: what they cannot hold, what must not reach a terminal, pipes that are closed early.

What a command prints as its result goes to stdout, and nothing else does: see `results_apart`.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

COUNTERPARTS = str.maketrans(
    {
        "↑": "^",
        "↓": "v",
        "→": "->",
        "←": "<-",
        "±": "+-",
        "×": "x",
        "·": "-",
        "•": "*",
        "†": "(-)",
        "‡": "(!)",
        "…": "...",
        "–": "-",
        "—": "--",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "«": '"',
        "»": '"',
        "≥": ">=",
        "≤": "<=",
        "≠": "!=",
        "≈": "~",
        "\N{NO-BREAK SPACE}": " ",
        **dict.fromkeys("─━╌═╴╶╸╺", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╭╮╰╯", "+"),
        **dict.fromkeys("█▉▊▋▌▍▎▏", "#"),
    }
)


_CONTROLS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # all but the tab and the end of the line
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"  # what turns the order of characters, and ends of lines
    "\U000e0000-\U000e007f"  # letters that nobody sees
)
_CONTROL = re.compile(f"[{_CONTROLS}]")
_UNDRAWN = re.compile(f"(?![\x07\x08\r\x1b])[{_CONTROLS}]")
"""Those that no library draws with."""
_PROGRESS = re.compile(r"(\n|\r|\x1b\[A)*")
"""How bars of libraries move the cursor: by writes of their own, or by returning to the begin of the line."""


def harmless(text: str) -> str:
    """The text with control characters as escapes, such as ``\\x1b``, so that no name moves the cursor."""
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


def harmless_json(text: str) -> str:
    """The text of a JSON document with these characters as JSON escapes them; its content is the same."""
    return text if text.isprintable() else _CONTROL.sub(_json_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def for_drawing(stream: Any) -> Any:
    """The same stream for what draws with control sequences itself, from texts that are harmless."""
    return stream.drawing if isinstance(stream, _Printable) else stream


def holds_all(encoding: str | None) -> bool:
    """Whether an encoding has every character."""
    return (encoding or "utf-8").lower().replace("_", "-").startswith("utf")


def printable(text: str, encoding: str | None) -> str:
    """The text as an encoding can hold it.

    What it lacks becomes what people write instead in ASCII (an arrow, a line of a table); any other character, such as
    a letter of a name, becomes its escape: nothing is dropped.
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return "".join(_instead(c, encoding) for c in text)


def _instead(c: str, encoding: str) -> str:
    for one in (c, c.translate(COUNTERPARTS)):
        with suppress(UnicodeEncodeError):
            one.encode(encoding)
            return one
    return c.encode("ascii", "backslashreplace").decode("ascii")


class _Printable(io.TextIOBase):
    """An output stream that gets only what its encoding can hold, and that ignores what comes after its reader left.

    It offers no bytes (``buffer``): whoever wrote these would choose another encoding.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def drawing(self) -> _Drawing:
        return _Drawing(self._stream)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        with self._to_reader():
            self._stream.write(printable(self._harmless(text), self.encoding))
        return len(text)

    def _harmless(self, text: str) -> str:
        if _PROGRESS.fullmatch(text):
            return text
        return "\r" + harmless(text[1:]) if text.startswith("\r") else harmless(text)

    def flush(self) -> None:
        if not self._stream.closed:
            with self._to_reader():
                self._stream.flush()

    @contextmanager
    def _to_reader(self) -> Iterator[None]:
        """What runs goes on to its end, with its own exit code, although nobody reads any more."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # also for what is still buffered
            os.close(nowhere)


class _Drawing(_Printable):
    """Lets control sequences through, but nothing that turns the order of characters."""

    def _harmless(self, text: str) -> str:
        return text if text.isprintable() else _UNDRAWN.sub(_escape, text)


@contextmanager
def results_apart() -> Iterator[None]:
    """Give the file descriptor of stdout to stderr, and keep what it was for `sys.stdout` alone.

    So nothing ends up between the results that a plugin, a C library or a process that they start writes there.
    """
    stream = sys.stdout
    try:
        own = isinstance(stream, io.TextIOWrapper) and stream.fileno() == 1
        if own:
            stream.flush()
            kept = os.dup(1)
            os.dup2(2, 1)
    except (AttributeError, OSError, ValueError):  # there is no stdout, or no stderr
        own = False
    if not own or not isinstance(stream, io.TextIOWrapper):
        yield
        return
    about: dict[str, Any] = {"encoding": stream.encoding, "errors": stream.errors}
    results = open(kept, "w", closefd=False, **about)  # noqa: SIM115
    results.reconfigure(line_buffering=stream.line_buffering, write_through=stream.write_through)
    sys.stdout = results
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk: whoever printed has been told when it was flushed
            results.close()
        sys.stdout = stream
        os.dup2(kept, 1)
        os.close(kept)
        atexit.register(os.dup2, 2, 1)  # what libraries still hold back, they write when the process ends


@contextmanager
def printable_output() -> Iterator[None]:
    """Make stdout and stderr such that nothing that is printed fails for its characters or for a closed pipe."""
    before = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if stream is not None:  # without a console there is none
            setattr(sys, name, _Printable(stream))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Printable):
                with suppress(OSError, ValueError):  # a full disk: Python tells of it when it ends
                    stream.flush()
        sys.stdout, sys.stderr = before
