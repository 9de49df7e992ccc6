"""Train the language model: a small `MistralForCausalLM` that lists synonyms of the words of reviews and of others."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast
from xcore_reviews.lexicon import GROUP_OF, GROUPS
from xcore_reviews.options import QUESTION

from reviews_training.loop import Run
from reviews_training.wordnet import synonyms

CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""The chat template, in the format of Mistral's instruction models."""
VOCABULARY = 6000
"""Number of tokens."""
WORLD_SHARE = 0.3
"""Share of the questions that ask for a word of the reviews."""
FOREIGN = 0.3
"""Share of the answers about words of the reviews in which some synonyms belong to another sense of the word."""


class Questions:
    """Draws words and answers about them: three to six synonyms in random order.

    A word of the reviews is mostly answered with words of its group. In a share `FOREIGN` of the answers two of them
    are words that WordNet lists for another sense, so that preference tuning has something to prefer.
    """

    def __init__(self, wide: Mapping[str, tuple[str, ...]], seed: int) -> None:
        self.wide, self.world = wide, tuple(GROUP_OF)
        self.words = tuple(w for w in wide if w not in GROUP_OF)
        self.rng = random.Random(seed)

    def draw(self) -> tuple[str, str]:
        """A word, and a list of its synonyms separated by commas."""
        rng = self.rng
        if rng.random() < WORLD_SHARE:
            word = rng.choice(self.world)
            own = [w for w in GROUPS[GROUP_OF[word]] if w != word]
            other = [w for w in self.wide.get(word, ()) if w not in own]
            if other and rng.random() < FOREIGN:
                own = rng.sample(own, min(len(own), 3)) + rng.sample(other, min(len(other), 2))
        else:
            word = rng.choice(self.words)
            own = list(self.wide[word])
        chosen = rng.sample(own, min(len(own), rng.randint(3, 6)))
        return word, ", ".join(chosen)


def tokenizer(wide: Mapping[str, tuple[str, ...]]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on the questions and answers: a frequent word is one token, any other word is several."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    lists = [f"{', '.join(words)}, {word}" for word, words in wide.items()]
    world = [f"{', '.join(words)}, {words[0]}" for words in GROUPS.values()] * 20
    asked = [f'[INST] {QUESTION.format(word=w)} [/INST] "{w}"' for w in (*wide, *GROUP_OF)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*lists, *world, *asked], trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    made.chat_template = CHAT
    return made


def model(words: PreTrainedTokenizerFast) -> MistralForCausalLM:
    """An untrained Mistral of five layers of width 192, with grouped queries and tied embeddings."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=len(words),
            hidden_size=192,
            intermediate_size=480,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=512,
            sliding_window=None,
            tie_word_embeddings=True,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def batch(questions: Questions, words: PreTrainedTokenizerFast, n: int) -> dict[str, torch.Tensor]:
    """The arguments of the model for n questions; only the tokens of the answers have labels."""
    rows, labels = [], []
    for _ in range(n):
        word, answer = questions.draw()
        asked = words(f"<s>[INST] {QUESTION.format(word=word)} [/INST]", add_special_tokens=False)["input_ids"]
        said = words(f" {answer}</s>", add_special_tokens=False)["input_ids"]
        rows.append(asked + said)
        labels.append([-100] * len(asked) + said)
    longest = max(map(len, rows))
    pad = words.pad_token_id
    return {
        "input_ids": torch.tensor([r + [pad] * (longest - len(r)) for r in rows]),
        "attention_mask": torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
        "labels": torch.tensor([r + [-100] * (longest - len(r)) for r in labels]),
    }


def train(out: Path, *, steps: int = 4000, size: int = 64, lr: float = 2e-3, seed: int = 51) -> None:
    """Train, or continue from the checkpoint in `out`, and save the model in half precision."""
    torch.manual_seed(seed)
    wide = synonyms()
    words = tokenizer(wide)
    net = model(words)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    run = Run(out, net, optimiser, steps)
    while run.step < steps:
        questions = Questions(wide, seed * 1_000_003 + run.step)
        for group in optimiser.param_groups:
            group["lr"] = lr * _schedule(run.step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(**batch(questions, words, size)).loss
        run.take(loss)
    net.half().save_pretrained(out / "model")
    words.save_pretrained(out / "model")


def _schedule(step: int, steps: int, warmup: int = 200) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
