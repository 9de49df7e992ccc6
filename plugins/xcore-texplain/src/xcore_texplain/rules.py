"""Sentences with limits on the number of words, all of one batch step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcore.nucleus import nucleus, pick

Step = Callable[[Tensor], Tensor]
"""Last tokens (n,) -> logits (n, V) of the next ones; keeps what came before."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What a sentence may be."""

    end: int
    """The token that ends it."""
    banned: Tensor
    """(V,) tokens that are never written: padding, masks, unknown words."""
    opens: Tensor
    """(V,) tokens that begin a word; of sub-words the first."""
    letters: Tensor
    """(V,) tokens that begin a word where a sentence begins."""
    words: tuple[int, int]
    """Words of a sentence: at least, at most."""
    top_p: float = 0.95
    temperature: float = 1.0

    def write(self, first: Tensor, step: Step, quantiles: Tensor) -> list[list[int]]:
        """Sentences (lists of tokens without the end), one for each row of logits `first` (n, V).

        The t-th token of sentence i is decided by quantiles[i, t]; a sentence has no more tokens than quantiles, which
        only one of very long words comes to.
        """
        n, (least, most) = len(first), self.words
        logits, counts = first, torch.zeros(n, dtype=torch.long, device=first.device)
        going, written = torch.ones(n, dtype=torch.bool, device=first.device), []
        for t in range(quantiles.shape[1]):
            scores = logits.double() / self.temperature
            scores[:, self.banned] = -torch.inf
            scores[counts < least, self.end] = -torch.inf
            full = (counts >= most).nonzero().flatten()
            scores[full] = scores[full].masked_fill(self.opens, -torch.inf)
            chosen = pick(*nucleus(scores.softmax(-1), self.top_p), quantiles[:, t])
            chosen[~going] = self.end
            going &= chosen != self.end
            written.append(chosen)
            if not going.any():
                break
            counts += (self.opens if t else self.letters)[chosen]
            if t + 1 < quantiles.shape[1]:
                logits = step(chosen)
        rows: list[list[int]] = torch.stack(written, 1).tolist()
        return [row[: row.index(self.end)] if self.end in row else row for row in rows]


def openings(tokenizer: Any, size: int) -> tuple[Tensor, Tensor]:
    """(V,) tokens that begin a word, and those that do where a sentence begins, of a tokenizer of transformers.

    WordPiece marks what goes on with ``##``; byte-level BPE and SentencePiece mark what begins with a space; without
    any of these every token with a letter is a word.
    """
    pieces: Sequence[str | None] = tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer)))))
    known = [piece or "" for piece in pieces] + [""] * max(0, size - len(tokenizer))
    lettered = [any(c.isalpha() and c not in "Ġ▁Ċ" for c in piece) for piece in known]
    if any(piece[:1] in ("Ġ", "▁") for piece in known):
        begins = [piece[:1] in ("Ġ", "▁") for piece in known]
    else:
        begins = [not piece.startswith("##") for piece in known]
    letters = torch.tensor(lettered)
    return letters & torch.tensor(begins), letters


def uniforms(n: int, steps: int, seed: int) -> Tensor:
    """(n, steps) float64 numbers in [0, 1); the first rows are the same for every n."""
    rows = [np.random.default_rng([seed, 4711, i]).random(steps) for i in range(n)]
    return torch.from_numpy(np.stack(rows))
