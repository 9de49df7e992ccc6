"""The shipped BLIP models as components of xcore: a captioner, and answers to questions about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore.types import Samples
from xcore_minizoo.models import _folder, _scaled

if TYPE_CHECKING:
    from xcore_minizoo.options import CaptionOptions

_BATCH = 64
LONGEST = 40
"""Tokens of a sentence, with its start and its end."""
_SHORT = 12
"""The same of an answer."""


class Nucleus:
    """A logits processor that draws every row's next token with random numbers of the row's own.

    It leaves finite only the token that was drawn from the smallest set of most likely tokens whose mass is at least
    `top_p`, so that greedy decoding takes it and no global random state is used.

    Parameters
    ----------
    seeds
        One a row.
    top_p
        From 0 (the most likely token always) to 1 (no token is left out).
    """

    def __init__(self, seeds: Sequence[int], top_p: float) -> None:
        draws = [torch.rand(LONGEST, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self._draws = torch.stack(draws)
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, words) in which all but one of each row are -inf."""
        probs, order = scores.softmax(1).sort(dim=1, descending=True, stable=True)
        before = probs.cumsum(1) - probs
        kept = probs * ((before < self._top_p) | (before == 0))
        mass = kept.cumsum(1)
        at = (mass < self._draws[:, input_ids.shape[1], None] * mass[:, -1:]).sum(1, keepdim=True)
        drawn = order.gather(1, at.clamp(max=scores.shape[1] - 1))
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def load(directory: Path, kind: str) -> tuple[Any, Any]:
    """A BLIP model of a directory, by the name of its class in transformers, and its tokenizer."""
    import transformers
    from xcore_diffusion.load import quiet

    with quiet():
        model = getattr(transformers, kind).from_pretrained(directory, local_files_only=True)
        tokens = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return model.float().eval().requires_grad_(False), tokens


class Captioner:
    """Role captioner: the transformers BlipForConditionalGeneration in a directory.

    Parameters
    ----------
    prompt
        What a caption begins with; "" gives sentences of 20 to 30 words, "a picture of" short ones.
    top_p
        Mass of the most likely words among which the next one is drawn.
    """

    def __init__(self, name: str, model: Any, tokens: Any, prompt: str = "", top_p: float = 0.9) -> None:
        self.name = name
        self._model, self._tokens, self._prompt, self._top_p = model, tokens, prompt, top_p

    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]:
        """One sentence an image, drawn with its seed."""
        return self.say(images.images, seeds)

    @torch.no_grad()
    def say(self, images: Tensor, seeds: Sequence[int]) -> list[str]:
        """Sentences of images (n, 3, H, W) in [0, 1]."""
        start = torch.tensor([self._tokens(self._prompt)["input_ids"]])
        said: list[str] = []
        for at in range(0, len(images), _BATCH):
            x = _scaled(images[at : at + _BATCH])
            ids = self._model.generate(
                pixel_values=x,
                input_ids=start.expand(len(x), -1).clone(),
                logits_processor=[Nucleus(seeds[at : at + len(x)], self._top_p)],
                max_length=LONGEST,
                do_sample=False,
            )
            said += self._tokens.batch_decode(ids, skip_special_tokens=True)
        return [text.replace(" ,", ",") for text in said]


class Answerer:
    """Role vqa: the transformers BlipForQuestionAnswering in a directory; answers are the most likely words."""

    def __init__(self, name: str, model: Any, tokens: Any) -> None:
        self.name = name
        self._model, self._tokens = model, tokens

    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
        """One answer an image, to its question."""
        return self.reply(images.images, questions)

    @torch.no_grad()
    def reply(self, images: Tensor, questions: Sequence[str]) -> list[str]:
        """Answers about images (n, 3, H, W) in [0, 1]; a picture that is asked several times is looked at once."""
        rows: dict[bytes, int] = {}
        shown = [rows.setdefault(image.numpy().tobytes(), len(rows)) for image in images]
        first = [shown.index(i) for i in range(len(rows))]
        parts = (_scaled(images[first[at : at + _BATCH]]) for at in range(0, len(first), _BATCH))
        states = torch.cat([self._model.vision_model(pixel_values=x).last_hidden_state for x in parts])
        said = [""] * len(images)
        for question in dict.fromkeys(questions):
            asked = [i for i, q in enumerate(questions) if q == question]
            for at in range(0, len(asked), _BATCH):
                some = asked[at : at + _BATCH]
                for i, text in zip(some, self._say(states[[shown[i] for i in some]], question), strict=True):
                    said[i] = text
        return said

    def _say(self, states: Tensor, question: str) -> list[str]:
        """Answers to one question, so that none is padded: BLIP's decoder would read the padding."""
        ids = torch.tensor([self._tokens(question, truncation=True)["input_ids"]]).expand(len(states), -1)
        read = self._model.text_encoder(input_ids=ids, encoder_hidden_states=states)[0]
        start = torch.full((len(states), 1), self._tokens.bos_token_id)
        said = self._model.text_decoder.generate(
            input_ids=start, encoder_hidden_states=read, max_length=_SHORT, do_sample=False,
            eos_token_id=self._tokens.eos_token_id, pad_token_id=self._tokens.pad_token_id,
        )  # fmt: skip
        texts: list[str] = self._tokens.batch_decode(said, skip_special_tokens=True)
        return texts


def captioner(options: CaptionOptions) -> Captioner:
    """The captioner."""
    model, tokens = load(_folder("blip"), "BlipForConditionalGeneration")
    return Captioner("minizoo/blip", model, tokens, options.prompt, options.top_p)


def vqa(options: None = None) -> Answerer:
    """Visual question answering."""
    model, tokens = load(_folder("vqa"), "BlipForQuestionAnswering")
    return Answerer("minizoo/vqa", model, tokens)
