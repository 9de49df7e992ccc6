"""Text for outputs that cannot hold every character, such as pipes on Windows, and for pipes that are closed early."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

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
            self._stream.write(printable(text, self.encoding))
        return len(text)

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
                with suppress(OSError):  # a full disk: Python tells of it when it ends
                    stream.flush()
        sys.stdout, sys.stderr = before
