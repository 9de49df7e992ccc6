"""Frozen language models that read states: role ``text-decoder``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore import device
from xcore.errors import UsageError
from xcore.hub import directory_digest
from xcore.identity import digest
from xcore.pretrained import load_tokenizer
from xcore.words import WORD
from xcore_texplain.card import words_on_card
from xcore_texplain.options import DecoderOptions
from xcore_texplain.rules import Rules, Step, openings, uniforms

IGNORED = -100
USUAL = (0, 30)
"""Words of a sentence where neither the options nor the model's card say more."""


class Decoder(ABC):
    """A language model that reads states (n, T, width) and says a sentence (protocol `xcore.roles.TextDecoder`).

    It is frozen and in evaluation mode; gradients flow through it to the states.

    Parameters
    ----------
    folder
        A directory that `save_pretrained` wrote, with a tokenizer.
    options
        Length and sampling of sentences.
    name
        What it is called; empty = the folder.

    Raises
    ------
    UsageError
        The directory holds another kind of model, or the length of sentences is more than the model takes.
    """

    width: int
    """Width of a state."""
    tokens: int
    """States that it is used to."""

    def __init__(self, folder: Path, options: DecoderOptions | None = None, name: str = "") -> None:
        self.options = o = options or DecoderOptions()
        self.name = name or str(folder)
        self.fingerprint = digest([type(self).__name__, directory_digest(folder), o.identity])
        self._device = torch.device(o.device or device.current())
        self._tokenizer = load_tokenizer(folder)
        self.model: Any = self._load(folder).to(self._device)
        self._start, self._end = self._marks()
        self._prompt = self._ids([o.prompt])[0] if o.prompt else []
        self._words = least, most = self._lengths(folder)
        self._room(self.tokens)
        size = self.model.get_output_embeddings().weight.shape[0]
        opens, letters = openings(self._tokenizer, size)
        banned = torch.zeros(size, dtype=torch.bool)
        banned[[i for i in self._tokenizer.all_special_ids if i < size] + [self._start]] = True
        banned[len(self._tokenizer) :] = True
        banned[self._end] = False
        opens[self._end] = letters[self._end] = False
        banned, opens, letters = (t.to(self._device) for t in (banned, opens, letters))
        self._rules = Rules(self._end, banned, opens, letters, (least, most), o.top_p, o.temperature)

    @property
    def words(self) -> tuple[int, int]:
        """Words of a sentence: at least, at most."""
        return self._words

    def loss(self, states: Tensor, texts: Sequence[str]) -> Tensor:
        """(n,) mean cross-entropy of a text's tokens, its end among them, in nats; differentiable in the states.

        Padding and the prompt do not count. Texts longer than the model takes are cut.
        """
        self._check(states)
        if len(states) != len(texts):
            raise UsageError(f"{len(states)} rows of states but {len(texts)} texts")
        room = self._room(states.shape[1])
        rows = [[*self._given, *ids[: room - 1], self._end] for ids in self._ids(texts)]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._end] * (longest - len(row))] for row in rows], device=self._device)
        sizes = torch.tensor([len(row) for row in rows], device=self._device)
        following = ids[:, 1:].clone()
        following[:, : len(self._given) - 1] = IGNORED
        following[torch.arange(1, longest, device=self._device) >= sizes[:, None]] = IGNORED
        logits = self._logits(states.to(self._device), ids[:, :-1])
        each = F.cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none")
        return each.sum(1) / (following != IGNORED).sum(1)

    def remarks(self, texts: Sequence[str], states: int) -> list[str]:
        """What is lost of texts behind so many states: words without a token, and what is longer than the model takes.

        A word is told as unknown if some of its tokens are the unknown one, or if it has none.
        """
        said = Counter(match.group() for text in texts for match in WORD.finditer(text))
        lost = {
            word: said[word]
            for word, ids in zip(said, self._ids(list(said)), strict=True)
            if not ids or self._tokenizer.unk_token_id in ids
        }
        told = []
        if lost:
            most = ", ".join(sorted(lost, key=lambda word: (-lost[word], word))[:5])
            share = sum(lost.values()) / said.total()
            told.append(f"{share:.1%} of the words of the captions are unknown to {self.name}: {most}")
        room = self._room(states) - 1
        if long := sum(len(ids) > room for ids in self._ids(texts)):
            told.append(
                f"{long} of {len(texts)} captions are longer than the {room} tokens that {self.name} takes: cut"
            )
        return told

    @torch.no_grad()
    def sample(self, states: Tensor, n: int, seed: int) -> list[list[str]]:
        """n sentences for each row of states, by nucleus sampling.

        Sentence j of a row depends on that row, on the seed and on j; rows are read one by one, so what else is asked
        for at once does not matter. Give every row a seed of its own (a call each) where rows must not share luck.
        """
        self._check(states)
        # a word is three tokens at most on average, and there is some punctuation
        luck = uniforms(n, min(self._room(states.shape[1]), 3 * self._words[1] + 8), seed).to(self._device)
        said = []
        for row in states.to(self._device):
            ids: list[list[int]] = []
            for start in range(0, n, self.options.batch):
                part = luck[start : start + self.options.batch]
                first, step = self._open(row[None], len(part))
                ids += self._rules.write(first, step, part)
            said.append([text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)])
        return said

    @property
    def _given(self) -> list[int]:
        return [self._start, *self._prompt]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])

    def _lengths(self, folder: Path) -> tuple[int, int]:
        o, (least, most) = self.options, words_on_card(folder) or USUAL
        least = o.min_words if o.min_words is not None else min(least, o.max_words or least)
        return least, o.max_words if o.max_words is not None else max(most, least)

    def _check(self, states: Tensor) -> None:
        if states.ndim != 3 or states.shape[-1] != self.width:
            raise UsageError(f"{self.name} reads states (n, T, {self.width}), got {tuple(states.shape)}")

    @abstractmethod
    def _load(self, folder: Path) -> Any:
        """The model; sets `width` and `tokens`."""

    @abstractmethod
    def _marks(self) -> tuple[int, int]:
        """Tokens that start and end a sentence."""

    def _room(self, states: int) -> int:
        """Tokens of a sentence that fit behind so many states and the prompt; raises `UsageError` if too few do."""
        room = self._positions(states) - len(self._given)
        if room <= self._words[0] or room < 2:
            raise UsageError(
                f"{self.name} has room for {max(room, 0)} tokens of a sentence behind {states} states, "
                f"and sentences have {self._words[0]} words or more",
                "set min_words or tokens of the decoder, or texplain.mode=flatten_bottleneck",
            )
        return room

    @abstractmethod
    def _positions(self, states: int) -> int:
        """Tokens that fit behind so many states."""

    @abstractmethod
    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        """(n, L, V) logits of what follows each of the tokens (n, L)."""

    @abstractmethod
    def _open(self, state: Tensor, n: int) -> tuple[Tensor, Step]:
        """Logits (n, V) of the first tokens of n sentences about one state (1, T, width), and how they go on."""
