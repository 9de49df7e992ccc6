"""Puts the pages together that zensical builds the site from: `python docs/tools/stage.py FOLDER`.

The pages of `docs/` are plain Markdown, whose links to files of the repository work where the repository is browsed. A
site has no repository around it, so each file that a page links to becomes a page, too: the README of a plugin as it
is, code as a listing. Thus every link of the site leads to a page of the site, and the builder can check it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PICTURES = (".png", ".svg", ".jpg")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json"}
LINK = re.compile(r"(?<!\\)(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)


def with_links(text: str, changed: Callable[[str], str]) -> str:
    """A Markdown text with the targets of its links changed. Blocks of code stay as they are."""
    parts = FENCE.split(text)
    return "".join(
        part if i % 2 else LINK.sub(lambda m: m[1] + changed(m[2]) + m[3], part) for i, part in enumerate(parts)
    )


def links(text: str) -> list[str]:
    """The targets of the links and pictures of a Markdown text that are no addresses of the web."""
    found: list[str] = []

    def seen(target: str) -> str:
        found.append(target)
        return target

    with_links(text, seen)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def page_of(file: Path) -> Path:
    """Where the page of a file of the repository is on the site, relative to its root."""
    if file.is_relative_to(DOCS) and file.suffix in (".md", *PICTURES):
        return file.relative_to(DOCS)
    inside = Path("source") / file.relative_to(ROOT)
    if file.is_dir():
        return page_of(file / "README.md") if (file / "README.md").is_file() else inside / "index.md"
    if file.name == "README.md":
        return inside.with_name("index.md")
    return inside if file.suffix in (".md", *PICTURES) else inside.with_name(f"{file.name}.md")


def listing(file: Path) -> str:
    """A page that shows a file, or the names of what is in a folder."""
    title = f"# `{file.relative_to(ROOT)}`\n\n"
    if file.is_dir():
        return title + "".join(f"- [{p.name}]({p.name})\n" for p in sorted(file.iterdir()) if p.is_file())
    return f"{title}````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}````\n"


def stage(out: Path) -> list[Path]:
    """Writes all pages and pictures below `out`, which is emptied first, and returns the files that they come from."""
    shutil.rmtree(out, ignore_errors=True)
    waiting = sorted(p for p in DOCS.rglob("*") if p.suffix in (".md", ".css", ".txt"))
    done: list[Path] = []
    while waiting:
        file = waiting.pop()
        if file in done:
            continue
        done.append(file)
        asset = file.suffix in (*PICTURES, ".css", ".txt")
        target = out / (file.relative_to(DOCS) if asset and file.is_relative_to(DOCS) else page_of(file))
        target.parent.mkdir(parents=True, exist_ok=True)
        if asset:
            shutil.copyfile(file, target)
            continue

        def changed(link: str, file: Path = file, target: Path = target) -> str:
            path, _, anchor = link.partition("#")
            if not path or re.match(r"[a-z]+:", link):
                return link
            linked = ((file if file.is_dir() else file.parent) / path).resolve()
            if not linked.exists() or not linked.is_relative_to(ROOT):
                raise SystemExit(f"{file.relative_to(ROOT)} links to {link}, which is not there")
            if linked.is_dir() and (linked / "README.md").is_file():
                linked /= "README.md"
            waiting.append(linked)
            relative = os.path.relpath(out / page_of(linked), target.parent)
            return f"{relative}#{anchor}" if anchor else relative

        text = file.read_text(encoding="utf-8") if file.suffix == ".md" else listing(file)
        target.write_text(with_links(text, changed), encoding="utf-8")
    return done


if __name__ == "__main__":
    staged = stage(Path(sys.argv[1]).resolve())
    print(f"{len(staged)} pages and pictures", file=sys.stderr)
