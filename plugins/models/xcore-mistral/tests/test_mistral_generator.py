"""Asking and sampling: seeds, batches, prompt formats, models that answer with no list, directories that hold none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from xcore_mistral.ask import Asker
from xcore_mistral.generator import MistralGenerator, from_model
from xcore_mistral.load import quiet
from xcore_mistral.options import AdaptOptions, Options
from xcore_mistral.sample import sample

from xcore.contract import UsageError, validate
from xcore.testing import GeneratorTests, OptionsTests

SYNONYMS = {
    "bland": ["dull", "flat", "boring", "lackluster"],
    "great": ["superb", "terrific", "wonderful", "excellent"],
    "customer": ["client", "buyer", "purchaser", "consumer"],
}
OPTIONS = Options(batch_size=4)
PROMPTS = ["bland", "great", "bland", "customer", "a bland dish", "great", "bland"]


@pytest.fixture(scope="module")
def generator(directory: Path) -> MistralGenerator:
    return from_model(OPTIONS, str(directory))


class TestConformance(GeneratorTests):
    @pytest.fixture
    def generator(self, directory: Path) -> MistralGenerator:
        return from_model(OPTIONS, str(directory))

    @pytest.fixture
    def prompts(self) -> tuple[str, ...]:
        return ("bland", "a bland dish", "customer")


class TestOptions(OptionsTests):
    @pytest.fixture(params=[Options, AdaptOptions])
    def options_model(self, request: pytest.FixtureRequest) -> type[Any]:
        return request.param  # type: ignore[no-any-return]


def test_a_trained_model_lists_its_synonyms(generator: MistralGenerator) -> None:
    s = generator.generate(["great"] * 12, range(12))
    assert s.modality == "text"
    assert len(set(s.texts)) > 1
    said = [w for words in s.meta["words"] for w in words]
    assert np.mean([w in SYNONYMS["great"] for w in said]) > 0.8
    assert "great" not in said
    assert s.texts == tuple(", ".join(words) for words in s.meta["words"])
    assert all(len(words) == len(set(words)) <= 6 for words in s.meta["words"])


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_the_batch_size_changes_no_text(directory: Path, generator: MistralGenerator, batch: int) -> None:
    other = from_model(Options(batch_size=batch), str(directory)).generate(PROMPTS, range(7))
    assert other.meta["answer"] == generator.generate(PROMPTS, range(7)).meta["answer"]


def test_sampling_is_that_of_the_probabilities(generator: MistralGenerator) -> None:
    """First tokens of many samples against the model's own softmax over the whole prompt."""
    prompt, n = generator.asker.prompt("customer"), 2000
    with torch.no_grad():
        p = torch.softmax(generator.model(torch.tensor([prompt])).logits[0, -1].double(), -1).numpy()
    draws = torch.rand(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def first(top_p: float) -> list[int]:
        said = sample(generator.model, [prompt] * n, draws, stops=frozenset(), temperature=1.0, top_p=top_p, batch=n)
        return [token for (token,) in said]

    counts = np.bincount(first(1.0), minlength=len(p))
    assert np.abs(counts / n - p).max() < 4 * np.sqrt(0.25 / n)
    order = np.argsort(-p)
    size = int(np.searchsorted(np.cumsum(p[order]), 0.5)) + 1
    assert set(first(0.5)) == set(order[:size].tolist())


def test_greedy_answers_are_those_of_transformers(directory: Path) -> None:
    """At a temperature near 0 the answer is that of `generate` without sampling: the cache, the ends and the format."""
    g = from_model(Options(temperature=1e-6, batch_size=3, examples=()), str(directory))
    for word in SYNONYMS:
        ours = g.generate([word], [0]).meta["answer"][0]
        prompt = g.asker.prompt(word)
        with quiet():
            out = g.model.generate(
                torch.tensor([prompt]),
                max_new_tokens=20,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=[*g.asker.stops],
            )
        assert ours == g.asker.text(out[0, len(prompt) :].tolist())


def test_the_chat_template_is_the_prompt(generator: MistralGenerator) -> None:
    asker = generator.asker
    text = asker.tokenizer.decode(asker.prompt("bland"))
    shot = asker.options.examples[0][1]
    if asker.chat:
        assert text.startswith("<s>[INST] Give synonyms of the word angry.")
        assert f"{shot}</s>[INST] Give synonyms of the word bland." in text
        assert text.endswith("[/INST]")
    else:
        assert text.startswith("<s>Give synonyms of the word angry.")
        assert text.endswith(f"\n{shot}\n{asker.question('bland')}\n")
    written = asker.completion("bland", "dull, flat")
    assert written[-1] in asker.stops
    assert asker.text(written) == "dull, flat"
    assert [t in asker.stops for t in written].count(True) == 1
    assert len(asker.completion("bland", "dull")) < len(written)


def test_examples_may_be_left_out(directory: Path) -> None:
    g = from_model(Options(examples=()), str(directory))
    assert "angry" not in g.asker.tokenizer.decode(g.asker.prompt("bland"))
    assert len(g.generate(["bland"], [0])) == 1


def test_a_tokenizer_that_closes_its_texts_does_not_close_the_prompt(generator: MistralGenerator) -> None:
    plain = generator.asker.tokenizer

    class Closing:
        chat_template = None
        get_vocab = plain.get_vocab

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            ids = plain(text, add_special_tokens=add_special_tokens)["input_ids"]
            return {"input_ids": [*ids, 2] if add_special_tokens else ids}

    prompt = Asker(Closing(), [2], Options()).prompt("bland")
    assert 2 not in prompt
    assert plain.decode(prompt).endswith("bland. Answer with the comma-separated words only.\n")


# --- models that do not answer as they are asked --------------------------------------------------------------------


class Scripted:
    """A model that always writes the same text: with certainty, and for ever if it has no end."""

    def __init__(self, real: Any, prompt_length: int, tokens: list[int]) -> None:
        self.device, self.config, self.real = real.device, real.config, real
        self.n, self.tokens, self.calls = prompt_length, tokens, 0

    def forward(self, input_ids: torch.Tensor) -> None: ...

    def __call__(self, input_ids: torch.Tensor, use_cache: bool, past_key_values: Any = None) -> Any:
        out = self.real(input_ids=input_ids, use_cache=use_cache, past_key_values=past_key_values)
        self.calls += 1
        place = out.past_key_values.get_seq_length() - self.n
        out.logits[:] = -1e9
        out.logits[:, -1, self.tokens[place % len(self.tokens)]] = 0
        return SimpleNamespace(logits=out.logits, past_key_values=out.past_key_values)


def scripted(directory: Path, text: str, *, end: bool, word: str = "bland") -> MistralGenerator:
    g = from_model(Options(batch_size=2, max_new_tokens=40), str(directory))
    tokens = list(g.asker.tokenizer(text, add_special_tokens=False)["input_ids"])
    g.model = Scripted(g.model, len(g.asker.prompt(word)), [*tokens, 2] if end else tokens)
    return g


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("I am sorry, I do not know any synonyms of this word.", True),
        ("bland bland ", False),
        ("Give synonyms of the word bland. Answer with the comma-separated words only. ", False),
        ("irate, furious, enraged, mad, outraged, cross", True),
        ("...", False),
        ("", True),
    ],
)
def test_no_list_is_an_empty_text_after_the_tries(untrained: Path, text: str, end: bool) -> None:
    g = scripted(untrained, text, end=end)
    s = g.generate(["bland"] * 2, [0, 1])
    assert s.texts == ("", "")
    assert s.meta["words"] == ((), ())
    assert len(s.meta["answer"]) == 2
    assert g.model.calls <= g.options.tries * g.options.max_new_tokens


def test_an_answer_that_is_cut_loses_its_last_word(untrained: Path) -> None:
    g = scripted(untrained, "dull, flat, boring, ", end=False)
    words = g.generate(["bland"], [0]).meta["words"][0]
    assert words == ("dull", "flat", "boring")


def test_only_so_many_words_are_kept(untrained: Path) -> None:
    g = scripted(untrained, "dull, flat, boring, grey", end=True)
    g.asker.options = g.options.model_copy(update={"words": 2})
    assert g.generate(["bland"], [0]).texts == ("dull, flat",)


def test_a_prompt_that_is_too_long_gets_no_list_and_is_counted(untrained: Path) -> None:
    g = scripted(untrained, "dull, flat", end=True)
    long = "word " * 600
    assert g.notes == ()
    drawn = g.generate(["bland", long, long], [0, 1, 2])
    assert drawn.texts == ("dull, flat", "", "")
    assert g.notes[0].startswith("1 prompt(s) got no list, because the question about them is longer than the ")
    assert g.notes[0].endswith("such as 'word word word word word word word word ...'")


def test_requests_that_cannot_be_right(generator: MistralGenerator) -> None:
    with pytest.raises(UsageError, match="0 prompts and 0 seeds"):
        generator.generate([], [])
    with pytest.raises(UsageError, match="empty prompt"):
        generator.generate(["bland", "  "], [0, 1])
    with pytest.raises(UsageError, match=r"'word word.*tokens .*, but mistral:.* reads 512"):
        generator.generate(["word " * 600], [0])
    with pytest.raises(UsageError, match=r"must contain \{word\}"):
        validate(Options, {"question": "Synonyms?"}, "generator")
