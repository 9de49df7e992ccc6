"""Train the text embedder: a small BERT in whose embedding synonyms and paraphrases are close."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from xcore_reviews.data import written
from xcore_reviews.lexicon import GROUP_OF, GROUPS

from reviews_training.loop import Run
from reviews_training.textcnn import known_words
from reviews_training.vectors import vectors
from reviews_training.wordnet import synonyms

WIDTH, TEMPERATURE = 96, 0.07


def tokenizer(known: list[str]) -> PreTrainedTokenizerFast:
    """The tokenizer: a token for each word in lower case; white space and punctuation end a word."""
    plain = ["<pad>", "<unk>", *known]
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(plain)}, unk_token="<unk>"))
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("removed")])
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", model_max_length=128)


class Pairs:
    """Draws two texts that mean the same: a word and some of its synonyms, or a review and its paraphrase."""

    def __init__(self, wide: Mapping[str, tuple[str, ...]], seed: int) -> None:
        self.wide, self.words, self.rng, self.seed = wide, (*wide, *GROUP_OF), random.Random(seed), seed

    def draw(self, index: int) -> tuple[str, str]:
        rng = self.rng
        if rng.random() < 0.5:
            made = written(rng.choice((-1, 0, 1)), "train", index, self.seed)
            other = made
            for position in made.slots:
                slot = other.parts[position]
                assert not isinstance(slot, str)
                other = other.swapped(position, rng.choice(GROUPS[GROUP_OF[slot.word]]))
            return str(made), str(other)
        word = rng.choice(tuple(GROUP_OF)) if rng.random() < 0.4 else rng.choice(self.words)
        near = [*GROUPS[GROUP_OF[word]]] if word in GROUP_OF else list(self.wide[word])
        near = [w for w in near if w != word]
        return word, ", ".join(rng.sample(near, min(len(near), rng.randint(1, 5))))


def embed(net: BertModel, words: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """The mean of the last hidden state over the words of each text, (n, width)."""
    inputs = words(texts, padding=True, truncation=True, return_tensors="pt")
    mask = inputs["attention_mask"]
    hidden: Tensor = net(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    mean: Tensor = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return mean


def train(out: Path, *, steps: int = 700, size: int = 96, lr: float = 1e-3, seed: int = 71) -> None:
    """Train with InfoNCE, in which the other pairs of the batch are the negatives, and save in half precision."""
    torch.manual_seed(seed)
    wide = synonyms()
    texts = tuple(str(written(s, "train", i, seed)) for s in (-1, 0, 1) for i in range(500))
    known = known_words(wide, texts)
    words = tokenizer(known)
    net = BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=192,
            max_position_embeddings=128,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0,
        ),
        add_pooling_layer=False,
    )
    with torch.no_grad():
        net.embeddings.word_embeddings.weight[2:] = vectors(known, wide, WIDTH, seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.0)
    run = Run(out, net, optimiser, steps)
    while run.step < steps:
        pairs = Pairs(wide, seed * 1_000_003 + run.step)
        one, two = zip(*(pairs.draw(i) for i in range(size)), strict=True)
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1, run.step / 50, 0.02 + (steps - run.step) / (0.7 * steps))
        a, b = (normalize(embed(net, words, list(t)), dim=1) for t in (one, two))
        alike = a @ b.T / TEMPERATURE
        own = torch.arange(size)
        run.take((cross_entropy(alike, own) + cross_entropy(alike.T, own)) / 2)
    print(f"{_nearest(net, words, wide):.3f} of 400 words are closest to their own synonyms among those of 400 words")
    net.half().save_pretrained(out / "model")
    words.save_pretrained(out / "model")


def _nearest(net: BertModel, words: PreTrainedTokenizerFast, wide: Mapping[str, tuple[str, ...]]) -> float:
    chosen = np.random.default_rng(0).choice(list(wide), 400, replace=False).tolist()
    with torch.no_grad():
        a = normalize(embed(net, words, chosen), dim=1)
        b = normalize(embed(net, words, [", ".join(wide[w]) for w in chosen]), dim=1)
    return float(((a @ b.T).argmax(1) == torch.arange(400)).float().mean())
