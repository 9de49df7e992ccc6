"""The blocks of the docs' pages: what they are, which file they are, and why a block is not run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<why>not run: [^>]+) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of a page: its language ("" = commands), its text, and why it is not run ("" = it is)."""

    page: str
    kind: str
    text: str
    why: str

    @property
    def file(self) -> str:
        """The name of the file that the block is, as its first line says; "" for others."""
        named = re.match(r"# (\S+\.(?:py|toml|yml))$", self.text.splitlines()[0]) if self.text else None
        return named[1] if named else ""

    @property
    def commands(self) -> list[str]:
        """The commands of a block, one a line, without comments."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in (re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()) if line]


def blocks(page: str) -> list[Block]:
    """All blocks of a page of the docs, in its order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(page, m["kind"], re.sub(rf"^{m['indent']}", "", m["text"], flags=re.MULTILINE), m["why"] or "")
        for m in BLOCK.finditer(text)
    ]


def pages() -> list[str]:
    """The pages, by their paths below docs/."""
    return sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
