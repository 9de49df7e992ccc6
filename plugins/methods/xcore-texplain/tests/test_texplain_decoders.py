"""The decoders: loss, padding, sampling, limits, speed, and what is refused."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from xcore_texplain.blip import BlipDecoder, blip_decoder
from xcore_texplain.decoders import PrefixDecoder, prefix_decoder, tokens_that_begin_words
from xcore_texplain.options import DecoderOptions
from xcore_texplain.plugin import decoder_fingerprint
from xcore_texplain.testing import save_blip, save_causal, word_tokenizer

from xcore.contract import UsageError
from xcore.testing import OptionsTests, global_state

VOCABULARY = [f"{a}{b}" for a in "bdfgklm" for b in ("a", "e", "i", "o", "u", "y")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("decoders")
    return {"blip": save_blip(root / "blip", VOCABULARY), "prefix": save_causal(root / "prefix", VOCABULARY, width=24)}


@pytest.fixture(params=["blip", "prefix"])
def make(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    kind = {"blip": BlipDecoder, "prefix": PrefixDecoder}[request.param]
    return lambda **options: kind(folders[request.param], DecoderOptions(**options))


def states(n: int = 2, tokens: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, tokens, 24, generator=torch.Generator().manual_seed(seed))


def test_padding_does_not_count(make: Any) -> None:
    decoder, z = make(), states(3)
    texts = ["ba be", "da de di do du dy", "fa"]
    together = decoder.loss(z, texts)
    alone = torch.cat([decoder.loss(z[i : i + 1], [text]) for i, text in enumerate(texts)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_loss_is_the_mean_cross_entropy_of_the_models_own_logits(folders: dict[str, Path]) -> None:
    from transformers import BlipForConditionalGeneration

    decoder, z = BlipDecoder(folders["blip"]), states(1)
    own: Any = BlipForConditionalGeneration.from_pretrained(folders["blip"]).eval().text_decoder
    ids = torch.tensor([[1, *word_tokenizer(VOCABULARY)("ba gu my", add_special_tokens=False)["input_ids"], 3]])
    with torch.no_grad():
        logits = own(input_ids=ids, encoder_hidden_states=z).logits
    expected = F.cross_entropy(logits[0, :-1], ids[0, 1:])
    torch.testing.assert_close(decoder.loss(z, ["ba gu my"])[0], expected, rtol=1e-5, atol=1e-5)


def test_sampling_follows_the_models_own_probabilities(folders: dict[str, Path]) -> None:
    """Greedy choice, with cached keys and values, equals that of the whole sentence read at once without a cache."""
    decoder, z = BlipDecoder(folders["blip"], DecoderOptions(top_p=1e-6, min_words=4, max_words=6)), states(1)
    (sentences,) = decoder.sample(z, 3, 0)
    assert len(set(sentences)) == 1  # greedy
    ids = [1, *decoder._ids([sentences[0]])[0]]
    with torch.no_grad():
        logits = decoder._logits(z, torch.tensor([ids]))[0]
    logits[:, decoder._rules.banned] = -torch.inf
    logits[:4, decoder._end] = -torch.inf
    chosen = logits.argmax(-1).tolist()
    assert chosen[: len(ids) - 1] == ids[1:]


def test_many_rows_at_once_are_described_as_one_by_one(make: Any) -> None:
    decoder, z = make(batch=10, min_words=2, max_words=6), states(5)
    alone = [decoder.sample(row[None], 4, seed)[0] for row, seed in zip(z, (7, 8, 9, 7, 8), strict=True)]
    assert decoder.sample_each(z, 4, [7, 8, 9, 7, 8]) == alone
    assert alone[0] != alone[1]
    many = decoder.sample_each(z[:1], 25, [7])  # more than a batch of one row
    assert many[0][:4] == alone[0]
    assert len(many[0]) == 25
    with pytest.raises(UsageError, match="5 rows of states but 1 seeds"):
        decoder.sample_each(z, 4, [7])


def test_the_loss_of_a_word_is_what_it_adds_to_the_text_before_it(make: Any) -> None:
    """Summed over all words and the end it is the loss of the whole text."""
    decoder, text = make(), "ba gu my"
    z = states(1).expand(3, -1, -1)
    words = decoder.word_loss(z, [text] * 3, [(0, 2), (3, 5), (6, 8)])
    whole = decoder.loss(states(1), [text])[0] * 4  # the mean over three words and the end
    end = -decoder._logits(states(1), torch.tensor([[*decoder._opening, *decoder._ids([text])[0]]])).log_softmax(-1)
    torch.testing.assert_close(words.sum() + end[0, -1, decoder._end], whole, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_states_and_no_weight(make: Any) -> None:
    decoder, z = make(), states().requires_grad_()
    before = {k: v.clone() for k, v in decoder.model.state_dict().items()}
    decoder.loss(z, ["ba be", "da"]).sum().backward()
    assert z.grad is not None
    assert float(z.grad.abs().sum()) > 0
    assert all(p.grad is None for p in decoder.model.parameters())
    assert not decoder.model.training
    assert all(torch.equal(before[k], v) for k, v in decoder.model.state_dict().items())


def test_sentences_keep_their_limits(make: Any) -> None:
    decoder = make(min_words=5, max_words=8)
    lengths = {len(s.split()) for row in decoder.sample(states(), 40, 0) for s in row}
    assert lengths <= {5, 6, 7, 8}
    assert len(lengths) > 1
    assert {len(s.split()) for s in make(min_words=8, max_words=8).sample(states(1), 10, 0)[0]} == {8}


def test_a_row_depends_on_its_states_and_the_seed_alone(make: Any) -> None:
    decoder, z, before = make(max_words=6), states(3), global_state()
    together = decoder.sample(z, 12, 7)
    assert [decoder.sample(row[None], 12, 7)[0] for row in z] == together
    assert decoder.sample(z[:1], 5, 7)[0] == together[0][:5]
    assert decoder.sample(z, 12, 8) != together
    assert global_state() == before


def test_batches_of_sentences_change_nothing(make: Any) -> None:
    assert make(max_words=6, batch=4).sample(states(1), 11, 1) == make(max_words=6).sample(states(1), 11, 1)


def test_a_prompt_is_read_and_not_written(make: Any) -> None:
    plain, prompted = make(max_words=5), make(max_words=5, prompt="ba be bi")
    z = states(1)
    assert prompted.sample(z, 5, 0) != plain.sample(z, 5, 0)
    assert all(1 <= len(s.split()) <= 5 for s in prompted.sample(z, 5, 0)[0] if s)
    # p(end | prompt, text) is part of both; the prompt's own tokens are part of neither
    both = plain.loss(z, ["ba be bi da de"]) * 6
    prefix = both - prompted.loss(z, ["da de"]) * 3
    longer = plain.loss(z, ["ba be bi fa"]) * 5 - prompted.loss(z, ["fa"]) * 2
    torch.testing.assert_close(prefix, longer, rtol=1e-4, atol=1e-4)


def test_the_card_says_how_long_sentences_are(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    assert BlipDecoder(folders["blip"]).words == (0, 30)
    shutil.copytree(folders["blip"], tmp_path / "card")
    (tmp_path / "card" / "card.json").write_text(json.dumps({"words": [20, 30]}))
    assert BlipDecoder(tmp_path / "card").words == (20, 30)
    assert BlipDecoder(tmp_path / "card", DecoderOptions(max_words=10)).words == (10, 10)
    assert BlipDecoder(tmp_path / "card", DecoderOptions(min_words=5)).words == (5, 30)


def test_a_thousand_sentences_in_seconds(tmp_path: Path) -> None:
    decoder = BlipDecoder(
        save_blip(tmp_path, VOCABULARY, width=128, states=128, layers=4), DecoderOptions(min_words=20, max_words=30)
    )
    z = torch.randn(1, 65, 128)
    begun = time.process_time()  # of all threads: other programs do not count
    (sentences,) = decoder.sample(z, 1000, 0)
    assert time.process_time() - begun < 20
    assert len(sentences) == 1000


def test_tokens_that_begin_words_are_known_by_their_marks() -> None:
    class Pieces:
        def __init__(self, *pieces: str) -> None:
            self.pieces = list(pieces)

        def __len__(self) -> int:
            return len(self.pieces)

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [self.pieces[i] for i in ids]

    assert tokens_that_begin_words(Pieces("cat", "##s", ",", "12"), 5)[0].tolist() == [True, False, False, False, False]
    starts, first_starts = tokens_that_begin_words(Pieces("Ġcat", "s", "Ġ", "Ċ", "Ġ,"), 5)
    assert starts.tolist() == [True, False, False, False, False]
    assert first_starts.tolist() == [True, True, False, False, False]


def test_models_and_states_that_do_not_fit_are_refused_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'gpt2', which has no text decoder with cross-attention") as failed:
        blip_decoder(None, str(folders["prefix"]))
    assert "\n" not in str(failed.value)
    encoder = save_blip(tmp_path / "encoder", VOCABULARY, decoder=False)
    with pytest.raises(UsageError, match="no cross-attention"):
        blip_decoder(None, str(encoder))
    with pytest.raises(UsageError, match="causal language model"):
        prefix_decoder(None, str(folders["blip"]))
    with pytest.raises(UsageError, match=r"reads states of shape \(n, T, 24\), got \(1, 5, 7\)"):
        BlipDecoder(folders["blip"]).loss(torch.zeros(1, 5, 7), ["ba"])
    with pytest.raises(UsageError, match="room for"):
        BlipDecoder(folders["blip"], DecoderOptions(min_words=60, max_words=60))
    with pytest.raises(UsageError, match="room for"):
        PrefixDecoder(folders["prefix"], DecoderOptions()).sample(torch.zeros(1, 70, 24), 1, 0)


def test_notes_name_unknown_words_and_texts_that_are_cut(make: Any) -> None:
    decoder = make()
    assert decoder.remarks(["ba be", "Bi, bu"], 5) == []
    notes = decoder.remarks(["ba gnu", "gnu okapi ba ba be"], 5)
    assert notes == [f"42.9% of the words of the captions are unknown to {decoder.name}: gnu, okapi"]
    (cut,) = decoder.remarks(["ba " * 90, "ba"], 5)
    assert re.fullmatch(
        rf"1 of 2 captions are longer than the \d+ tokens that {decoder.name} takes; they were cut", cut
    )


def test_fingerprints_tell_files_and_options_apart(folders: dict[str, Path]) -> None:
    name = str(folders["blip"])
    one = decoder_fingerprint(DecoderOptions(), name)
    assert one == decoder_fingerprint(DecoderOptions(device="cpu"), name)
    assert one != decoder_fingerprint(DecoderOptions(top_p=0.5), name)
    assert one != decoder_fingerprint(DecoderOptions(), str(folders["prefix"]))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return DecoderOptions
