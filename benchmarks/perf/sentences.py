"""1,000 sentences about one picture, as TExplain samples them: `python benchmarks/perf/sentences.py`.

The decoder is that of `minizoo/blip`, and the states are those of its own vision model, so that nothing has to be
trained. *Plain* asks `generate` of transformers for one sentence after another, as a loop over sentences would, with
the cache of keys and values that it has; *batched* asks it for all at once. Both sample from the same nucleus. The
*floor* is the passes of the network alone: as many steps as the longest sentence has tokens, all sentences at once.

Sentences are random, so what must agree is how often each word is said: the correlation of the words' shares over a
vocabulary, and no share further off than chance can explain. Processor seconds of one thread; the plain way once.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from figures import note
from measure import Ways
from transformers import BlipForConditionalGeneration
from transformers.utils import logging
from xcore_minizoo.models import shipped

from xcore.contract import Ref
from xcore.registry import load_registry

ALIKE = 0.99
"""Correlation of the shares of words below which two ways do not say the same."""
FAR = 5.0
"""Standard errors of a difference of shares beyond which chance does not explain it, among a hundred words."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="of ours, of the batched way and of the floor")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    registry, n = load_registry(), asked.sentences
    decoder: Any = registry.create("model", Ref("minizoo/decoder"))
    picture = registry.create("dataset", Ref("minizoo")).samples("zebra", "explain", 1, 0)
    theirs: Any = BlipForConditionalGeneration.from_pretrained(shipped("blip"), dtype=torch.float32).eval()
    with torch.no_grad():
        states = theirs.vision_model(pixel_values=picture.images * 2 - 1).last_hidden_state
    plain = Generate(theirs, decoder, states)
    ways: dict[str, tuple[Callable[[], list[str]], int]] = {
        "ours": (lambda: decoder.sample(states, n, 0)[0], asked.repeats),
        "batched": (lambda: plain.sentences(n), asked.repeats),
        "plain": (lambda: [plain.sentences(1)[0] for _ in range(n)], 1),
    }
    cost, said = Ways(_named), dict[str, list[str]]()
    for way, (sample, times) in ways.items():
        torch.manual_seed(0)
        for _ in range(times):
            said[way] = cost.run(way, sample)
    tokens = decoder._tokenizer(said["ours"], add_special_tokens=False)["input_ids"]
    steps = max(map(len, tokens)) + 1
    for _ in range(asked.repeats):
        cost.run("floor", lambda: _passes(decoder, states, n, steps))
    print(f"{n} sentences, the longest of {steps - 1} tokens\n")
    agree = {way: _agreement(said["ours"], said[way]) for way in ("batched", "plain")}
    more = {
        "correlation of shares": {way: f"{alike:.3f}" for way, (alike, _) in agree.items()},
        "furthest share, standard errors": {way: f"{far:.1f}" for way, (_, far) in agree.items()},
    }
    cost.table(more=more)
    wrong = [way for way, (alike, far) in agree.items() if alike < ALIKE or far > FAR]
    if wrong:
        raise SystemExit(f"other words than {' and '.join(wrong)}: the row is worth nothing")
    note("sentences", ours=cost.seconds("ours"), floor=cost.seconds("floor"), peer=cost.seconds("plain"))


def _named(module: Any) -> str:
    """A row is a step of one sentence: counted where its state enters the head that gives the logits of tokens."""
    return "steps of sentences" if type(module).__name__ == "BlipTextLMPredictionHead" else ""


class Generate:
    """Sentences by `generate` of transformers, from the nucleus of the decoder's own options."""

    def __init__(self, model: Any, decoder: Any, states: torch.Tensor) -> None:
        self.model, self.decoder, self.states = model.text_decoder, decoder, states
        rules, o = decoder._rules, decoder.options
        self.settings: dict[str, Any] = {
            **{"do_sample": True, "top_p": o.top_p, "top_k": 0, "temperature": o.temperature},
            **{"bad_words_ids": [[i] for i in rules.banned.nonzero().flatten().tolist()]},
            **{"max_new_tokens": decoder._max_sentence_tokens(states.shape[1]), "min_new_tokens": rules.words[0]},
            **{"eos_token_id": rules.end, "pad_token_id": model.config.text_config.pad_token_id},
        }

    @torch.no_grad()
    def sentences(self, n: int) -> list[str]:
        """n sentences at once."""
        opening = torch.tensor([self.decoder._opening]).expand(n, -1)
        states = self.states.expand(n, -1, -1)
        seen = torch.ones(states.shape[:2], dtype=torch.long)
        ids = self.model.generate(
            opening,
            attention_mask=torch.ones_like(opening),
            encoder_hidden_states=states,
            encoder_attention_mask=seen,
            **self.settings,
        )
        told: Sequence[str] = self.decoder._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in told]


@torch.no_grad()
def _passes(decoder: Any, states: torch.Tensor, n: int, steps: int) -> None:
    """The network alone: every step of all sentences, a batch at a time."""
    size = decoder.options.batch
    for start in range(0, n, size):
        rows = min(size, n - start)
        _, step = decoder._begin(states, rows)
        for _ in range(steps - 1):
            step(torch.full((rows,), decoder._start))


def _agreement(mine: Sequence[str], theirs: Sequence[str]) -> tuple[float, float]:
    """Correlation of the shares of sentences that hold each word, and the largest difference in standard errors."""
    counts = [Counter(word for text in texts for word in {*text.split()}) for texts in (mine, theirs)]
    words = sorted({*counts[0], *counts[1]})
    a, b = (np.array([count[word] / len(mine) for word in words]) for count in counts)
    both = (a + b) / 2
    error = np.sqrt(2 * both * (1 - both) / len(mine)).clip(1 / len(mine))
    return float(np.corrcoef(a, b)[0, 1]), float((abs(a - b) / error).max())


if __name__ == "__main__":
    main()
