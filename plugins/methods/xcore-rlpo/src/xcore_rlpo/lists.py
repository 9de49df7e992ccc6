"""Whether the lists of a language model are synonyms of their seed words, by the embeddings of single words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import normalize

from xcore.contract import Concept, Samples
from xcore.inputs.words import words

NEAR = 0.98
"""A word is near its seed word if it is nearer than this share of random words."""
WEAK = 0.4
"""A list is weak if less than this share of its words is near its seed word. Both bounds were chosen on one half of the
words of ``benchmarks/synonyms.py``; docs/text.md has the errors on the other half."""
RANDOM = 200
"""Random words that a list is compared with."""


def share_near(
    embed: Callable[[Samples], Tensor],
    seeds: Sequence[str],
    lists: Sequence[Sequence[str]],
    random: Sequence[str],
) -> list[float]:
    """The share of the words of each list that are near its seed word.

    The scale of cosines differs from one embedding to the next, so that no cosine is a bound; ranks among random words
    have one scale.

    Parameters
    ----------
    embed
        Texts -> (n, d) embeddings, such as those of the role text-embedder.
    seeds
        k seed words.
    lists
        Their k lists; the seed word in a list is not counted.
    random
        Random words, at least one. Those that are in a list are not compared with its words.

    Returns
    -------
    k shares in [0, 1] of the words whose cosine to the seed word is larger than that of the share `NEAR` of the random
    words; 0 for an empty list.
    """
    every = tuple(dict.fromkeys([*seeds, *(word for own in lists for word in own), *random]))
    rows = normalize(embed(Samples("text", every, every)).double(), dim=1)
    at = {word: i for i, word in enumerate(every)}
    found = []
    for seed, whole in zip(seeds, lists, strict=True):
        own = [word for word in whole if word != seed]
        others = [word for word in random if word != seed and word not in own]
        if not own or not others:
            found.append(0.0)
            continue
        near = rows[[at[word] for word in own]] @ rows[at[seed]]
        far = rows[[at[word] for word in others]] @ rows[at[seed]]
        beaten = (near[:, None] > far).double().mean(1)
        found.append(float((beaten >= NEAR).double().mean()))
    return found


def flagged(
    concepts: Sequence[Concept], embed: Callable[[Samples], Tensor], random_texts: Sequence[str]
) -> tuple[list[Concept], list[str]]:
    """Concepts of texts with the evidence ``near_words`` and ``weak_list``, and a note that names the weak lists.

    Parameters
    ----------
    random_texts
        The texts of random sets; their words are the random words.
    """
    random = tuple(dict.fromkeys(word for text in random_texts for word in words(text)))[:RANDOM]
    if not random:
        return list(concepts), []
    shares = share_near(embed, [c.name for c in concepts], [c.words for c in concepts], random)
    made = [
        replace(c, evidence={**c.evidence, "near_words": share, "weak_list": float(share < WEAK)})
        for c, share in zip(concepts, shares, strict=True)
    ]
    weak = [c for c in made if c.evidence["weak_list"]]
    if not weak:
        return made, [f"all {len(made)} lists are near their seed words in the text embedding"]
    shown = "; ".join(f"{c.name} ({', '.join(w for w in c.words if w != c.name)})" for c in weak[:5])
    return made, [
        f"{len(weak)} of {len(made)} lists are weak: by the text embedding their words are not near the seed word, as "
        f"synonyms are, so that their scores may not be about it: {shown}{'; ...' if len(weak) > 5 else ''}"
    ]
