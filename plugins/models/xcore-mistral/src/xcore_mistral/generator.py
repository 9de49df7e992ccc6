"""The generator: a causal language model that lists synonyms reproducibly and can be adapted by preference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xcore.contract import Adapter, Modality, NotApplicable, Samples, UsageError, validate
from xcore.pretrained.drawing import check_seeds, drawn_ids, paired_prompts
from xcore.pretrained.lora import Lora
from xcore_mistral import dpo
from xcore_mistral.ask import Asker
from xcore_mistral.files import DEFAULT, Source, fingerprint, gguf_source, model_source
from xcore_mistral.load import load
from xcore_mistral.options import AdaptOptions, Options
from xcore_mistral.sample import sample

PREFIX = "base_model.model."
"""How the names in an adapter begin, as in files of peft."""


def from_model(options: Options | None = None, argument: str | None = None) -> MistralGenerator:
    """The generator `mistral:MODEL`: a directory, a model on the hub, or the default model."""
    return MistralGenerator(model_source(argument), options, name=f"mistral:{argument or DEFAULT}")


def from_gguf(options: Options | None, argument: str) -> MistralGenerator:
    """The generator `gguf:FILE`."""
    return MistralGenerator(gguf_source(argument), options, name=f"gguf:{argument}")


class _TooLong(UsageError):
    """The question about a word is longer than the model reads."""


class MistralGenerator:
    """A causal language model of transformers as a generator of synonym lists (protocol `xcore.contract.Generator`).

    Sample i depends on its prompt, its seed and the adapter only: it has a random stream of its own, and all batches
    have the same size and no padding.

    Parameters
    ----------
    source
        The files of the model.
    options
        How the model is asked; None = the defaults.
    name
        The name of the generator in messages.

    Raises
    ------
    MissingError, UsageError, XcoreError
        See `xcore_mistral.load.load`.
    """

    modality: Modality = "text"

    def __init__(self, source: Source, options: Options | None = None, *, name: str = "") -> None:
        self.options = options or Options()
        self.name = name or str(source.path)
        self.fingerprint = fingerprint(source, self.options)
        self.model, tokenizer = load(source, self.options)
        self.asker = Asker(tokenizer, _ends(self.model, tokenizer, self.name), self.options)
        config = self.model.config.get_text_config()
        self._limit: int | None = getattr(config, "max_position_embeddings", None)
        self._too_long: set[str] = set()
        self._lora: Lora | None = None
        self._attention = attention_layers(self.model)  # before the LoRA adds linear layers of its own
        self.can = frozenset({"adapt"} if self._attention else ())

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        """Ask for synonyms of each prompt once.

        Parameters
        ----------
        prompts, seeds
            n words or phrases, and n seeds of the random streams.
        adapter
            The state of the LoRA; None = the base model.

        Returns
        -------
        n texts: the words of the parsed list joined by ", ", or "" if no answer had a usable word or the prompt is
        longer than the model reads (see `notes`). `meta` holds the
        tuples of length n "prompt", "seed", "words" (a tuple for each sample) and "answer" (what the model wrote).
        """
        check_seeds(self.name, prompts, seeds)
        tokens = self._questions(prompts)
        draws = torch.stack([self._draws(word, seed) for word, seed in zip(prompts, seeds, strict=True)])
        answers, words = [""] * len(prompts), [()] * len(prompts)  # type: list[str], list[tuple[str, ...]]
        self._put(adapter)
        rows = [i for i, word in enumerate(prompts) if word in tokens]
        for attempt in range(self.options.tries if rows else 0):
            written = sample(
                self.model,
                [tokens[prompts[i]] for i in rows],
                draws[rows, attempt],
                stops=self.asker.stops,
                temperature=self.options.temperature,
                top_p=self.options.top_p,
                batch=self.options.batch_size,
            )
            for i, ids in zip(rows, written, strict=True):
                answers[i] = self.asker.text(ids)
                words[i] = self.asker.words(answers[i], prompts[i], ids[-1] in self.asker.stops)
            rows = [i for i in rows if not words[i]]
            if not rows:
                break
        names = drawn_ids(self.fingerprint, adapter, prompts, seeds)
        meta = {
            "prompt": tuple(prompts),
            "seed": tuple(int(s) for s in seeds),
            "words": tuple(words),
            "answer": tuple(answers),
        }
        return Samples("text", tuple(", ".join(w) for w in words), names, meta=meta)

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        """Adapt the LoRA by DPO to prefer `preferred[i]` over `rejected[i]`; the base model is the reference.

        Parameters
        ----------
        adapter
            The adapter to start from, with the state of its optimiser; None = a new LoRA that is drawn from the seed.
        preferred, rejected
            n texts each. The prompts are those in the meta of `preferred`. Pairs with an empty text or with two equal
            texts are left out.
        seed
            The pairs of a step depend on it and on the number of steps that the adapter was trained for so far.
        options
            Fields of `AdaptOptions`.

        Returns
        -------
        The new adapter and the figures of the update (see `xcore_mistral.dpo.update`), and `pairs`, the number of pairs
        that were used. If no pair can be used, no step is taken, and the adapter is the given one (or the new one).
        """
        chosen = validate(AdaptOptions, options, f"adapt of {self.name}")
        prompts = paired_prompts(preferred, rejected)
        texts = zip(prompts, preferred.texts, rejected.texts, strict=True)
        pairs = [self._pair(word, yes, no) for word, yes, no in texts if yes and no and yes != no]
        lora = self._lora_layers()
        begin = adapter or lora.initial(seed)
        if not pairs:
            return begin, {"pairs": 0.0, "steps": 0.0}
        try:
            result, figures = dpo.update(
                self.model, lora, begin, pairs, seed=seed, options=chosen, chunk=max(1, self.options.batch_size // 2)
            )
        finally:
            lora.switch(False)
        return result, {**figures, "pairs": float(len(pairs))}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the prompts so far: those that were not asked about, because they are too long."""
        if not self._too_long:
            return ()
        longest = max(self._too_long, key=len)
        return (
            f"{len(self._too_long)} prompt(s) got no list, because the question about them is longer than the "
            f"{self._limit} tokens that {self.name} reads, such as '{longest[:40]}...'",
        )

    def _questions(self, prompts: Sequence[str]) -> dict[str, list[int]]:
        """The tokens of the question about each prompt that is not too long; raises `UsageError` if all are."""
        found: dict[str, list[int]] = {}
        refused: UsageError | None = None
        for word in dict.fromkeys(prompts):
            try:
                found[word] = self._prompt(word)
            except _TooLong as error:
                self._too_long.add(word)
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    def _prompt(self, word: str) -> list[int]:
        if not word.strip():
            raise UsageError(f"{self.name} was asked for synonyms of an empty prompt", "give a word or a short phrase")
        tokens = self.asker.prompt(word)
        if self._limit and len(tokens) + self.options.max_new_tokens > self._limit:
            raise _TooLong(
                f"the question about {word[:40]!r} has {len(tokens)} tokens and its answer up to "
                f"{self.options.max_new_tokens}, but {self.name} reads {self._limit}",
                "shorten the question or the examples, or lower max_new_tokens",
            )
        return tokens

    def _pair(self, word: str, preferred: str, rejected: str) -> dpo.Pair:
        prompt, write = self._prompt(word), self.asker.completion
        return dpo.Pair(tuple(prompt), tuple(write(word, preferred)), tuple(write(word, rejected)))

    def _draws(self, word: str, seed: int) -> Tensor:
        """The uniform random numbers (tries, max_new_tokens) of a sample."""
        digest = hashlib.sha256(f"{word}\0{int(seed)}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.rand(self.options.tries, self.options.max_new_tokens, generator=generator, dtype=torch.float64)

    def _lora_layers(self) -> Lora:
        if self._lora is None:
            if not self._attention:
                raise NotApplicable(
                    f"{self.name} cannot be adapted: it has no linear layers in modules named attn or attention",
                    "choose another causal language model, or draw with it as it is",
                )
            self._lora = Lora(self.model, self._attention, self.options.rank, PREFIX)
        return self._lora

    def _put(self, adapter: Adapter | None) -> None:
        if adapter is not None or self._lora is not None:
            self._lora_layers().put(adapter)


def attention_layers(model: torch.nn.Module) -> list[str]:
    """The names of the linear layers in the attention modules of a model: the projections of q, k, v and o."""
    found = []
    for name, module in model.named_modules():
        *above, _ = name.split(".")
        linear = isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's linear layer
        if linear and any("attn" in part or "attention" in part for part in above):
            found.append(name)
    return found


def _ends(model: Any, tokenizer: Any, name: str) -> list[int]:
    """The tokens that end a text, that of the tokenizer first."""
    ends: list[int] = []
    for value in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        ends += [value] if isinstance(value, int) else list(value or [])
    if not ends:
        raise UsageError(f"{name} has no token that ends a text", "set eos_token in its tokenizer_config.json")
    return list(dict.fromkeys(ends))
