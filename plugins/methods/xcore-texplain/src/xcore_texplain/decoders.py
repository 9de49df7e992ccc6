"""Frozen language models that read states and say sentences about them: the models of the role ``text-decoder``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import UsageError, digest
from xcore.inputs.words import WORD
from xcore.models import device
from xcore.pretrained.hub import directory_digest, model_directory
from xcore.pretrained.loading import load_model, load_tokenizer
from xcore.pretrained.nucleus import nucleus, pick
from xcore_texplain.options import DecoderOptions

IGNORED = -100
"""Label of tokens that do not count in the loss."""
USUAL_LENGTH = (0, 30)
"""Fewest and most words of a sentence if neither the options nor the model's card say more."""
PREFIX = 10
"""States in front of a sentence of `PrefixDecoder` if the options do not say how many, as in ClipCap."""

Step = Callable[[Tensor], Tensor]
"""Takes the last tokens (n,) and returns the logits (n, V) of the next ones; it keeps what came before."""


class Decoder(ABC):
    """A language model that reads states (n, T, width) and says a sentence (protocol `xcore.contract.TextDecoder`).

    It is frozen and in evaluation mode; gradients flow through it to the states.

    Parameters
    ----------
    folder
        A directory that `save_pretrained` wrote, with a tokenizer.
    options
        Length and sampling of the sentences.
    name
        How messages and results call it; empty means the folder.

    Raises
    ------
    UsageError
        The directory holds another kind of model, or sentences shall be longer than the model allows.
    """

    width: int
    """Width of a state."""
    tokens: int
    """The number of states that the model usually reads."""

    def __init__(self, folder: Path, options: DecoderOptions | None = None, name: str = "") -> None:
        self.options = o = options or DecoderOptions()
        self.name = name or str(folder)
        self.fingerprint = digest([type(self).__name__, directory_digest(folder), o.identity])
        self._device = torch.device(o.device or device.current())
        self._tokenizer = load_tokenizer(folder)
        self.model: Any = self._load(folder).to(self._device)
        self._start, self._end = self._start_and_end()
        self._prompt = self._ids([o.prompt])[0] if o.prompt else []
        self._words = self._sentence_length(folder)
        self._max_sentence_tokens(self.tokens)  # fails now rather than after hours of training
        self._rules = self._sampling_rules()

    @property
    def words(self) -> tuple[int, int]:
        """The fewest and the most words of a sentence."""
        return self._words

    def loss(self, states: Tensor, texts: Sequence[str]) -> Tensor:
        """Mean cross-entropy (n,) of the tokens of each text and of its end, in nats; differentiable in the states.

        Padding and the prompt do not count. Texts that are longer than the model allows are cut.

        Parameters
        ----------
        states
            (n, T, width).
        texts
            n texts.
        """
        self._check_states(states)
        if len(states) != len(texts):
            raise UsageError(f"{len(states)} rows of states but {len(texts)} texts")
        room = self._max_sentence_tokens(states.shape[1])
        rows = [[*self._opening, *ids[: room - 1], self._end] for ids in self._ids(texts)]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._end] * (longest - len(row))] for row in rows], device=self._device)
        sizes = torch.tensor([len(row) for row in rows], device=self._device)
        following = ids[:, 1:].clone()
        following[:, : len(self._opening) - 1] = IGNORED
        following[torch.arange(1, longest, device=self._device) >= sizes[:, None]] = IGNORED
        logits = self._logits(states.to(self._device), ids[:, :-1])
        each = F.cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none")
        return each.sum(1) / (following != IGNORED).sum(1)

    def word_loss(self, states: Tensor, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> Tensor:
        """Minus the log-probability (n,) of one word of each text given the text before it, in nats; differentiable.

        Parameters
        ----------
        states
            (n, T, width).
        texts
            n texts.
        spans
            Where the word begins and ends in each text, in characters.
        """
        self._check_states(states)
        before = self._ids([text[:start].rstrip() for text, (start, _) in zip(texts, spans, strict=True)])
        through = self._ids([text[:end] for text, (_, end) in zip(texts, spans, strict=True)])
        room = self._max_sentence_tokens(states.shape[1])
        rows = [[*self._opening, *ids[:room]] for ids in through]
        first = [len(self._opening) + min(len(a), len(b) - 1) for a, b in zip(before, through, strict=True)]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._end] * (longest - len(row))] for row in rows], device=self._device)
        place = torch.arange(1, longest, device=self._device)
        sizes, begins = (torch.tensor(n, device=self._device)[:, None] for n in ([len(r) for r in rows], first))
        following = ids[:, 1:].masked_fill((place >= sizes) | (place < begins), IGNORED)
        logits = self._logits(states.to(self._device), ids[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none").sum(1)

    def remarks(self, texts: Sequence[str], states: int) -> list[str]:
        """Notes on what the model cannot learn from these texts, behind so many states.

        One note says which words the tokenizer does not know (words with an unknown token, or without any token), the
        other how many texts are longer than the model allows.
        """
        occurrences = Counter(match.group() for text in texts for match in WORD.finditer(text))
        unknown = {
            word: occurrences[word]
            for word, ids in zip(occurrences, self._ids(list(occurrences)), strict=True)
            if not ids or self._tokenizer.unk_token_id in ids
        }
        notes = []
        if unknown:
            examples = ", ".join(sorted(unknown, key=lambda word: (-unknown[word], word))[:5])
            share = sum(unknown.values()) / occurrences.total()
            notes.append(f"{share:.1%} of the words of the captions are unknown to {self.name}: {examples}")
        room = self._max_sentence_tokens(states) - 1
        if long := sum(len(ids) > room for ids in self._ids(texts)):
            notes.append(
                f"{long} of {len(texts)} captions are longer than the {room} tokens that {self.name} takes; "
                "they were cut"
            )
        return notes

    @torch.no_grad()
    def sample(self, states: Tensor, n: int, seed: int) -> list[list[str]]:
        """Sample n sentences for each row of states by nucleus sampling.

        Sentence j of a row depends on that row, on the seed and on j. Rows are read one by one, so the other rows do
        not matter. Rows share their random numbers; use one call with a seed of its own for each row where they must
        not.

        Parameters
        ----------
        states
            (m, T, width).
        n
            Sentences for each row.
        seed
            Seed of the random numbers.
        """
        self._check_states(states)
        return [self._sentences(row[None], n, [seed])[0] for row in states]

    @torch.no_grad()
    def sample_each(self, states: Tensor, n: int, seeds: Sequence[int]) -> list[list[str]]:
        """Sample n sentences for each row of states, each row with a seed of its own, many rows at once.

        The sentences are those that `sample` gives for each row and its seed, up to the rounding of sums: a sentence
        may differ where a random number falls on the border between two tokens. It is several times as fast where n is
        small.

        Parameters
        ----------
        states
            (m, T, width).
        n
            Sentences for each row.
        seeds
            m seeds of the random numbers.
        """
        self._check_states(states)
        if len(states) != len(seeds):
            raise UsageError(f"{len(states)} rows of states but {len(seeds)} seeds")
        rows = max(1, self.options.batch // n)
        parts = range(0, len(states), rows)
        return [texts for i in parts for texts in self._sentences(states[i : i + rows], n, seeds[i : i + rows])]

    def _sentences(self, states: Tensor, n: int, seeds: Sequence[int]) -> list[list[str]]:
        """n sentences for each of these rows of states, all rows at once."""
        # A word has at most three tokens on average, and there is some punctuation.
        steps = min(self._max_sentence_tokens(states.shape[1]), 3 * self._words[1] + 8)
        quantiles = torch.stack([uniform_numbers(n, steps, seed) for seed in seeds]).to(self._device)
        found: list[list[str]] = [[] for _ in seeds]
        for start in range(0, n, self.options.batch):
            part = quantiles[:, start : start + self.options.batch]
            first, step = self._begin(states.to(self._device), part.shape[1])
            ids = self._rules.sample(first, step, part.flatten(0, 1))
            texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
            for row, own in enumerate(found):
                own += [text.strip() for text in texts[row * part.shape[1] : (row + 1) * part.shape[1]]]
        return found

    @abstractmethod
    def _load(self, folder: Path) -> Any:
        """Load the model, and set `width` and `tokens`."""

    @abstractmethod
    def _start_and_end(self) -> tuple[int, int]:
        """The tokens that start and end a sentence."""

    @abstractmethod
    def _positions(self, states: int) -> int:
        """How many tokens fit behind so many states."""

    @abstractmethod
    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        """Logits (n, L, V) of what follows each of the tokens (n, L)."""

    @abstractmethod
    def _begin(self, states: Tensor, n: int) -> tuple[Tensor, Step]:
        """Begin n sentences about each of m states (m, T, width): logits of the first tokens, and the next step.

        The logits are (m n, V); the sentences of a state follow one another.
        """

    @property
    def _opening(self) -> list[int]:
        """The tokens that every sentence begins with: the start token and the prompt."""
        return [self._start, *self._prompt]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])

    def _sentence_length(self, folder: Path) -> tuple[int, int]:
        """The fewest and the most words of a sentence: of the options, else of the model's card, else the usual."""
        o, (least, most) = self.options, words_on_card(folder) or USUAL_LENGTH
        least = o.min_words if o.min_words is not None else min(least, o.max_words or least)
        return least, o.max_words if o.max_words is not None else max(most, least)

    def _sampling_rules(self) -> SamplingRules:
        size = self.model.get_output_embeddings().weight.shape[0]
        word_starts, first_word_starts = tokens_that_begin_words(self._tokenizer, size)
        banned = torch.zeros(size, dtype=torch.bool)
        banned[[i for i in self._tokenizer.all_special_ids if i < size] + [self._start]] = True
        banned[len(self._tokenizer) :] = True
        banned[self._end] = False
        word_starts[self._end] = first_word_starts[self._end] = False
        banned, word_starts, first_word_starts = (t.to(self._device) for t in (banned, word_starts, first_word_starts))
        o = self.options
        return SamplingRules(self._end, banned, word_starts, first_word_starts, self._words, o.top_p, o.temperature)

    def _check_states(self, states: Tensor) -> None:
        if states.ndim != 3 or states.shape[-1] != self.width:
            raise UsageError(f"{self.name} reads states of shape (n, T, {self.width}), got {tuple(states.shape)}")

    def _max_sentence_tokens(self, states: int) -> int:
        """Tokens of a sentence that fit behind so many states and the prompt; raises `UsageError` if too few do."""
        room = self._positions(states) - len(self._opening)
        if room <= self._words[0] or room < 2:
            raise UsageError(
                f"{self.name} has room for {max(room, 0)} tokens of a sentence behind {states} states, "
                f"but sentences have {self._words[0]} words or more",
                "set min_words or tokens of the decoder, or texplain.mode=flatten_bottleneck",
            )
        return room


class PrefixDecoder(Decoder):
    """Any causal language model of transformers that reads states as embeddings in front of the sentence.

    References
    ----------
    Mokady et al., ClipCap: CLIP Prefix for Image Captioning, 2021.
    """

    def _load(self, folder: Path) -> Any:
        from transformers import AutoModelForCausalLM

        model = load_model(AutoModelForCausalLM, folder, "causal language model")
        self.width = int(model.get_input_embeddings().weight.shape[1])
        self.tokens = self.options.tokens or PREFIX
        return model

    def _start_and_end(self) -> tuple[int, int]:
        end = self._tokenizer.eos_token_id
        if end is None:
            raise UsageError(
                f"the tokenizer of {self.name} names no token that ends a sentence",
                "set the eos_token of the tokenizer",
            )
        start = self._tokenizer.bos_token_id
        return int(end if start is None else start), int(end)

    def _positions(self, states: int) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 1024)) - states

    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        embedded = torch.cat([states, self.model.get_input_embeddings()(ids)], 1)
        logits: Tensor = self.model(inputs_embeds=embedded, use_cache=False).logits[:, states.shape[1] :]
        return logits

    def _begin(self, states: Tensor, n: int) -> tuple[Tensor, Step]:
        opening = torch.tensor([self._opening], device=self._device).expand(len(states), -1)
        embedded = torch.cat([states, self.model.get_input_embeddings()(opening)], 1)
        made = self.model(inputs_embeds=embedded, use_cache=True)
        cache = made.past_key_values
        cache.batch_repeat_interleave(n)

        def step(ids: Tensor) -> Tensor:
            logits: Tensor = self.model(input_ids=ids[:, None], past_key_values=cache, use_cache=True).logits[:, -1]
            return logits

        return made.logits[:, -1].repeat_interleave(n, 0), step


def prefix_decoder(options: DecoderOptions | None, argument: str) -> Decoder:
    """``prefix-decoder:MODEL``: the causal language model of a directory or Hub id."""
    return PrefixDecoder(model_directory(argument), options, f"prefix-decoder:{argument}")


@dataclass(frozen=True, eq=False)
class SamplingRules:
    """How sentences are sampled: nucleus sampling with limits on the number of words.

    Parameters
    ----------
    end
        The token that ends a sentence.
    banned
        (V,) tokens that are never sampled: padding, masks, the unknown word.
    word_starts
        (V,) tokens that begin a word; of a word of several tokens the first.
    first_word_starts
        (V,) tokens that begin a word at the beginning of a sentence.
    words
        The fewest and the most words of a sentence.
    top_p
        Tokens are sampled from the likeliest ones that together have this probability.
    temperature
        Divides the logits first.
    """

    end: int
    banned: Tensor
    word_starts: Tensor
    first_word_starts: Tensor
    words: tuple[int, int]
    top_p: float = 0.95
    temperature: float = 1.0

    def sample(self, first: Tensor, step: Step, quantiles: Tensor) -> list[list[int]]:
        """Sample one sentence, a list of tokens without the end, for each row of logits.

        Parameters
        ----------
        first
            (n, V) logits of the first tokens.
        step
            Gives the logits of the next tokens.
        quantiles
            (n, L) in [0, 1): quantile t of row i decides token t of sentence i. No sentence gets more than L tokens;
            only one of very long words needs that many.
        """
        n, (least, most) = len(first), self.words
        logits, counts = first, torch.zeros(n, dtype=torch.long, device=first.device)
        going, written = torch.ones(n, dtype=torch.bool, device=first.device), []
        for t in range(quantiles.shape[1]):
            scores = logits.double() / self.temperature
            scores[:, self.banned] = -torch.inf
            scores[counts < least, self.end] = -torch.inf
            full = (counts >= most).nonzero().flatten()
            scores[full] = scores[full].masked_fill(self.word_starts, -torch.inf)
            chosen = pick(*nucleus(scores.softmax(-1), self.top_p), quantiles[:, t])
            chosen[~going] = self.end
            going &= chosen != self.end
            written.append(chosen)
            if not going.any():
                break
            counts += (self.word_starts if t else self.first_word_starts)[chosen]
            if t + 1 < quantiles.shape[1]:
                logits = step(chosen)
        rows: list[list[int]] = torch.stack(written, 1).tolist()
        return [row[: row.index(self.end)] if self.end in row else row for row in rows]


def tokens_that_begin_words(tokenizer: Any, size: int) -> tuple[Tensor, Tensor]:
    """Masks (size,) of the tokens that begin a word, and of those that do at the beginning of a sentence.

    WordPiece marks the tokens that continue a word with ``##``; byte-level BPE and SentencePiece mark those that begin
    one with a space; in other vocabularies every token with a letter is a word.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    size
        V, the number of tokens that the model has logits for.
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


def uniform_numbers(n: int, steps: int, seed: int) -> Tensor:
    """Random numbers (n, steps) in [0, 1), float64; row i is the same for every n."""
    rows = [np.random.default_rng([seed, 4711, i]).random(steps) for i in range(n)]
    return torch.from_numpy(np.stack(rows))


def words_on_card(folder: Path) -> tuple[int, int] | None:
    """The fewest and the most words of the sentences that a model was trained on.

    The file ``card.json`` in the model's directory says ``"words": [fewest, most]``; None if it does not.

    Raises
    ------
    UsageError
        The file is damaged.
    """
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        words = json.loads(path.read_text(encoding="utf-8")).get("words")
        return (int(words[0]), int(words[1])) if words else None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(f"{str(path)!r} is damaged: {error}", 'it may say "words": [20, 30]') from error
