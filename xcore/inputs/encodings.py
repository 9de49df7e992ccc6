"""The encoding of a text file: UTF-8, what its byte order mark says, or what a user names. No torch here.

Nothing else is guessed: a file that is read in a wrong encoding gives words that nobody wrote. A file that is none of
these is refused with the encoding that it may have and the line that reads or converts it.
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases
from pathlib import Path

from xcore.base.errors import UsageError, unknown

MIXED = "mixed"
"""What a user names for files that are UTF-8 in some lines and Windows-1252 in others."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_WESTERN = 0.4
"""At most this share of the letters of a text in cp1252 is beyond ASCII; of one in Russian or Greek nearly all are."""


def checked_encoding(name: str) -> str:
    """The name of an encoding, as users write it; raises `UsageError` if Python knows none of this name."""
    plain = name.strip().lower()
    if plain == MIXED:
        return plain
    try:
        known = codecs.lookup(plain)
    except LookupError:
        raise unknown("encoding", name, [MIXED, *sorted({*aliases, *aliases.values()})]) from None
    if not known._is_text_encoding:  # base64 and the like
        raise UsageError(f"{name!r} is no encoding of text", "name one such as cp1252 or utf-16")
    return plain


def decoded(content: bytes, name: str, encoding: str = "") -> str:
    """The text of a file.

    Parameters
    ----------
    content
        Its bytes.
    name
        Its name, for messages.
    encoding
        Its encoding; "" = what its byte order mark says, else UTF-8. ``"mixed"`` = UTF-8, and cp1252 in lines that are
        not UTF-8.

    Returns
    -------
    str
        Without the byte order mark. In UTF-8, bytes that are none become lone surrogates, by which their lines can be
        recognised.

    Raises
    ------
    UsageError
        The file cannot be read in its encoding.
    """
    chosen = encoding or next((e for mark, e in _MARKS if content.startswith(mark)), "utf-8")
    if chosen == MIXED:
        return "".join(map(_line, content.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)))
    if codecs.lookup(chosen).name in ("utf-8", "utf-8-sig"):
        return content.decode("utf-8-sig", errors="surrogateescape")
    try:
        return content.decode(chosen)
    except UnicodeDecodeError as error:
        why = f"{error.reason} at byte {error.start}"
        raise UsageError(f"{name} cannot be read as {chosen}: {why}", "name its encoding") from error


def _line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="surrogateescape")


def refuse_others(content: bytes, name: str, *, option: str = "", what: str = "") -> None:
    """Raise `UsageError` if a file is neither UTF-8 nor has a byte order mark.

    Parameters
    ----------
    content, name
        As of `decoded`; the name is that of the file, which the line that converts it needs, too.
    option
        How a user names the encoding, such as ``table.encoding``; "" if there is no such option.
    what
        What is said of the file instead of its name, such as how many of a folder are like it.
    """
    if problem := reason(content):
        why, likely = problem
        raise UsageError(f"{what or name} {why}", advice(name, likely, option))


def reason(content: bytes) -> tuple[str, str] | None:
    """Why a file is not read as it is, and its likely encoding ("" if none is); None if it is.

    The encoding is cp1252 only if all its bytes exist there and most letters are ASCII, as in western languages.
    """
    if any(content.startswith(mark) for mark, _ in _MARKS[1:]):
        return None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        first = error.start
    else:
        if b"\0" not in content:
            return None
        first = content.index(b"\0")
    where = f"is not UTF-8 (line {content.count(bytes([10]), 0, first) + 1}, byte {content[first]:#04x})"
    if b"\0" in content:  # no text has zeros but in UTF-16, where every other byte of English is one
        even, odd = content[::2].count(b"\0"), content[1::2].count(b"\0")
        if len(content) % 2 or min(even, odd) > 0.1 * max(even, odd):
            return f"{where}, and no encoding is likely", ""
        return f"{where}; by its zero bytes it is UTF-16", "utf-16-le" if odd > even else "utf-16-be"
    lines = [line for line in content.splitlines() if not line.isascii()]
    wrong = [line for line in lines if not _is_utf8(line)]
    if not _western(b"\n".join(wrong)):
        return f"{where}, and no encoding is likely", ""
    shown = _example(wrong[0])
    if len(wrong) < len(lines):
        return (
            f"mixes encodings: of {len(lines)} lines with letters beyond ASCII, {len(wrong)} are not UTF-8 and read as "
            f"cp1252, such as {shown!r}",
            MIXED,
        )
    return f"{where}; it reads as cp1252, such as {shown!r}", "cp1252"


def advice(name: str, likely: str, option: str = "") -> str:
    """The lines that read or convert a file."""
    quoted = name if re.fullmatch(r"[\w./-]+", name) else f"'{name}'"
    suffix = Path(name).suffix
    convert = f"iconv -f {likely or 'ENCODING'} -t utf-8 {quoted} > utf8{suffix}"
    if likely == MIXED:
        convert = "save it again as UTF-8"
    if not option:
        return f"convert it: {convert}" if likely != MIXED else convert
    left_out = f", or with {option}=utf-8, which leaves those lines out" if likely == MIXED else ""
    more = "" if likely else ", such as cp1251, shift_jis or gb18030"
    read = f"read it with --set {option}={likely or 'ENCODING'}{more}"
    return f"{read}{left_out}" if likely == MIXED else f"{read}, or convert it: {convert}"


def utf8_text(file: Path) -> str:
    """The text of a file of settings, such as one of names; raises `UsageError` if it is neither UTF-8 nor marked."""
    content = file.read_bytes()
    refuse_others(content, str(file))
    return decoded(content, str(file))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _western(content: bytes) -> bool:
    """Whether bytes may be text of a western language in cp1252."""
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = b"".join(word for word in _WORD.findall(content))
    return sum(byte > 127 for byte in letters) <= _WESTERN * len(letters)


def _example(line: bytes) -> str:
    """The first word of a line with a byte that is not ASCII, in cp1252."""
    word: bytes = next(word for word in _WORD.findall(line) if not word.isascii())
    return word.decode("cp1252")
