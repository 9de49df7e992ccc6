"""How well weak lists of a language model are told from synonyms by a text embedder (docs/text.md).

The lists are those that `reviews/mistral` gives, untuned, for words of its own world and for other English words. The
truth is WordNet's (a list is right if half of its words or more are synonyms) and, for the words of the reviews, the
groups of their lexicon. Bounds are chosen on one half of the words by what is flagged and missed, summed
over both embedders; errors are counted on the other half.

    python benchmarks/synonyms.py --wordnet /usr/share/wordnet
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from xcore_reviews.data import english
from xcore_reviews.lexicon import GROUP_OF
from xcore_rlpo.lists import NEAR, WEAK, share_near
from xcore_tcav.sources import most_frequent_words

from xcore.contract import Ref, XcoreError
from xcore.session import make

RANDOM, DRAWS = 200, 6
Lists = Mapping[str, tuple[str, ...]]


def wordnet(folder: Path) -> dict[str, set[str]]:
    """Word -> the words that share a synset of WordNet 3.0 with it."""
    synsets: dict[str, set[str]] = defaultdict(set)
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if not line.startswith("  "):
                cells = line.split(" ")
                names = [n.split("(")[0].lower() for n in cells[4 : 4 + 2 * int(cells[3], 16) : 2]]
                names = [n.replace("_", " ") for n in names]
                for name in names:
                    synsets[name] |= set(names)
    return synsets


def lists_of(words: Sequence[str]) -> Lists:
    """The words that the language model gives most often for each word."""
    generator = make("generator", Ref("reviews/mistral"))
    drawn = generator.generate([w for w in words for _ in range(DRAWS)], list(range(DRAWS)) * len(words))
    made = {w: drawn.take(range(i * DRAWS, (i + 1) * DRAWS)) for i, w in enumerate(words)}
    return {w: found for w, own in made.items() if (found := most_frequent_words(own))}


def half(word: str) -> int:
    return hashlib.sha256(word.encode()).digest()[0] % 2


def errors(near: np.ndarray, right: np.ndarray, bound: float) -> tuple[float, float]:
    """Share of right lists that are flagged, and of wrong ones that are not."""
    flagged = near < bound
    return (
        float(flagged[right].mean()) if right.any() else 0.0,
        float((~flagged)[~right].mean()) if (~right).any() else 0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--words", type=int, default=400, help="other English words")
    args = parser.parse_args()
    known = wordnet(args.wordnet)
    rng = np.random.default_rng(0)
    others = [w for w in english() if len(known[w]) > 2]
    others = [others[i] for i in rng.permutation(len(others))[: args.words]]
    random = [english()[i] for i in rng.permutation(len(english()))[:RANDOM]]
    own_lists, other_lists = lists_of(sorted(GROUP_OF)), lists_of(others)
    members: dict[str, set[str]] = defaultdict(set)
    for word, group in GROUP_OF.items():
        members[group].add(word)
    synonyms = {**known, **{w: members[g] | known[w] for w, g in GROUP_OF.items()}}
    strangers = {w: tuple(sorted(known[others[i - 1]] - {others[i - 1]}))[:6] for i, w in enumerate(others)}
    worlds: dict[str, Lists] = {
        "lists for words of the reviews": own_lists,
        "lists for other words": other_lists,
        "synonyms of WordNet": {w: tuple(sorted(known[w] - {w}))[:6] for w in others},
        "synonyms of another word": strangers,
    }
    for name in ("reviews/embedder", "minilm"):
        try:
            embed = make("model", Ref(name)).embed
        except XcoreError as error:
            print(f"{name}: {error}")
            continue
        found = {}
        for world, lists in worlds.items():
            words = list(lists)
            near = np.array(share_near(embed, words, [lists[w] for w in words], random))
            right = np.array([2 * sum(x in synonyms[w] for x in lists[w]) >= len(lists[w]) for w in words])
            found[world] = near, right, np.array([half(w) for w in words])
        print(f"\n{name}: near = {NEAR}, weak < {WEAK}")
        print("| lists | right | right ones flagged | wrong ones missed |\n|---|---|---|---|")
        for world, (near, right, part) in found.items():
            for which in (0, 1):
                test = part == which
                false, missed = errors(near[test], right[test], WEAK)
                n, m = int(right[test].sum()), int(test.sum())
                flags, misses = f"{false:.2f}" if n else "-", f"{missed:.2f}" if m > n else "-"
                print(f"| {world}, half {which + 1} | {n} of {m} | {flags} | {misses} |")


if __name__ == "__main__":
    main()
