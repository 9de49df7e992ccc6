"""Marked texts as one HTML file that needs no other: real text, readable in light and dark, and read aloud."""

from __future__ import annotations

from html import escape

from xcore.marked import Listed, Marked, MarkedText, headline, visible
from xcore.report.layout import title
from xcore.report.table import Shown, Table

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5a5a5a; --line: #d8d8d8; --back: #fff;
  --for: 31, 119, 180; --against: 214, 110, 0; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #a8a8a8; --line: #3c3c3c; --back: #161616; } }
body { color: var(--ink); background: var(--back); font: 1.05rem/1.65 system-ui, sans-serif; max-width: 46rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.3; }
h2 { font-size: 1.25rem; margin-top: 3rem; }
summary { margin-top: 1.5rem; cursor: pointer; }
h3 { font-size: 1.05rem; display: inline; }
article { border-top: 1px solid var(--line); padding: .6rem 0; overflow-wrap: anywhere; }
article p { margin: .2rem 0; }
.about, li { font-size: .9rem; }
.about, .number { color: var(--soft); }
.number { font-variant-numeric: tabular-nums; }
ul { list-style: none; margin: .3rem 0; padding-left: 1.2rem; }
mark { color: inherit; background: rgba(var(--for), calc(.15 + .4 * var(--weight))); padding: 0 .1em;
  border-bottom: 2px solid rgb(var(--for)); border-radius: 2px 2px 0 0; }
mark.against { background: rgba(var(--against), calc(.15 + .4 * var(--weight)));
  border-bottom: 2px dashed rgb(var(--against)); }
mark[title] { cursor: help; }
mark::before, mark::after { clip-path: inset(100%); height: 1px; width: 1px; overflow: hidden; position: absolute;
  white-space: nowrap; }
mark::before { content: " [for: "; }
mark.against::before { content: " [against: "; }
mark::after { content: "] "; }
@media print { mark { print-color-adjust: exact; } }
"""


def page(table: Table) -> str:
    """The marked texts of all explanations of a table as an HTML page.

    A marked word is a `mark` with its concept's list as title; its background tells the strength, its line (solid or
    dashed), and a word that is only read aloud, whether it speaks for or against the class. No scripts.
    """
    parts = []
    for section in table.sections:
        if section.marked:
            parts.append(f"<h2>{_text(title(section))}</h2>")
            parts += [_explanation(shown, first=i == 0) for i, shown in enumerate(section.marked)]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>xcore · marked texts</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Explained texts, with the words that name concepts</h1>
<p>A marked word speaks {_mark("for", 1, 0.6)} the class or {_mark("against", -1, 0.6)} it; the stronger the colour,
the stronger its concept in that text. Above each text stands the probability that the classifier gives the class, below
it are the lists of the concepts that are marked in it.</p>
{chr(10).join(parts)}
</main>
</body>
</html>
"""


def _explanation(shown: Shown, first: bool) -> str:
    """The texts of one explanation; only the first of a section is unfolded."""
    found = shown.marked
    concepts = "\n".join(
        f'<li><span class="number">{entry.strength:+.2f}</span> {_list(entry)}</li>' for entry in found.concepts
    )
    return f"""<details{" open" if first else ""}>
<summary><h3>{_text(shown.label)}, seed {shown.seed}</h3></summary>
<p class="about">{found.found} of {found.of} texts have a marked word.</p>
{chr(10).join(_article(text, found) for text in found.texts)}
<h4>{_text(headline(found))}</h4>
<ul>
{concepts or "<li>no concept found</li>"}
</ul>
</details>"""


def _article(text: MarkedText, found: Marked) -> str:
    lines = {entry.concept: entry.line for entry in found.concepts}
    body = "".join(
        _text(p) if m is None else _mark(p, m.strength, m.weight, lines[m.concept]) for p, m in text.pieces()
    )
    about = "" if text.probability is None else f" · {_text(found.target)} {text.probability:.2f}"
    below = "".join(f"<li>{_list(entry)}</li>\n" for entry in text.lists)
    return f"""<article>
<p class="about">{_text(text.id)}{about}</p>
<p dir="auto">{body or '<span class="number">(no text)</span>'}</p>
{f"<ul>{below}</ul>" if below else ""}
</article>"""


def _list(entry: Listed) -> str:
    return _mark(entry.name, entry.strength, 0.5) + _text(entry.line.removeprefix(entry.name))


def _mark(word: str, strength: float, weight: float, line: str = "") -> str:
    against = ' class="against"' if strength < 0 else ""
    about = f' title="{_text(line)}"' if line else ""
    return f'<mark{against} style="--weight: {weight:.2f}"{about}>{_text(word)}</mark>'


def _text(text: str) -> str:
    return escape(visible(text))
