"""``blip:MODEL`` says what an image shows, ``blip-vqa:MODEL`` answers questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore import device
from xcore.errors import UsageError
from xcore.hub import model_directory, read_json
from xcore.nucleus import nucleus, pick
from xcore.pretrained import load_model, load_tokenizer
from xcore.samples import Samples
from xcore_vision.processor import Processor

if TYPE_CHECKING:
    from xcore_vision.options import BlipOptions, CaptionOptions


def captioner(options: CaptionOptions, argument: str) -> Captioner:
    """``blip:MODEL``; raises as `opened` does."""
    return Captioner(f"blip:{argument}", *opened(options, argument, "BlipForConditionalGeneration"), options)


def answerer(options: BlipOptions, argument: str) -> Answerer:
    """``blip-vqa:MODEL``; raises as `opened` does."""
    return Answerer(f"blip-vqa:{argument}", *opened(options, argument, "BlipForQuestionAnswering"), options)


def opened(options: BlipOptions, argument: str, kind: str) -> tuple[Any, Any, Processor]:
    """Model, tokenizer and processor of a directory that `save_pretrained` wrote, or of the hub.

    Parameters
    ----------
    options
        Where it runs, and how many images at a time.
    argument
        The directory or hub id.
    kind
        Its class in transformers.

    Raises
    ------
    MissingError
        There is no such model, or it has no tokenizer.
    UsageError
        The directory is damaged or holds another kind of model.
    """
    folder = model_directory(argument)
    if (found := read_json(folder / "config.json").get("model_type")) != "blip":
        raise UsageError(f"{str(folder)!r} holds a model of type {found!r}, not blip")
    model, tokens = load(folder, kind, options.device)
    return model, tokens, Processor.of(folder, int(model.config.vision_config.image_size), options.batch_size)


def load(folder: Path, kind: str, where: str | None = None) -> tuple[Any, Any]:
    """Model, by its class in transformers, and tokenizer of a directory; raises as `opened` does."""
    import transformers

    model = load_model(getattr(transformers, kind), folder, kind).to(where or device.current())
    return model, load_tokenizer(folder)


class Blip:
    """A BLIP model in memory: one that was opened, or one in training.

    Parameters
    ----------
    name
        What results call it.
    model, tokens
        Of transformers. The model stays as it is: on its device, in its mode.
    processor
        Prepares the images.
    options
        How long its texts may be.

    References
    ----------
    Li et al.: BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
    Generation, ICML 2022.
    """

    def __init__(self, name: str, model: Any, tokens: Any, processor: Processor, options: BlipOptions) -> None:
        self.name = name
        self._model, self._tokens, self._processor = model, tokens, processor
        self._longest = options.max_tokens
        text = model.config.text_config
        self._start, self._end, self._pad = int(text.bos_token_id), int(text.sep_token_id), int(text.pad_token_id)
        self._room = int(text.max_position_embeddings)

    def _looked_at(self, images: Tensor) -> list[Tensor]:
        """Encoder states (b, T, d), batch by batch."""
        batches = self._processor.batches(images, self._model.device)
        return [self._model.vision_model(pixel_values=x).last_hidden_state for x in batches]

    def _written(self, start: Sequence[int], states: Tensor, **how: Any) -> list[str]:
        """One text for each row of states (n, T, d); `start` are the tokens that all begin with."""
        ids = torch.tensor([start] * len(states), device=states.device)
        out = self._model.text_decoder.generate(
            input_ids=ids,
            encoder_hidden_states=states,
            max_length=min(len(start) + self._longest, self._room),
            do_sample=False,
            eos_token_id=self._end,
            pad_token_id=self._pad,
            **how,
        )
        texts = self._tokens.batch_decode(out, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        return [text.strip() for text in texts]


class Answerer(Blip):
    """Role ``vqa``: a `BlipForQuestionAnswering`; an answer is made of the likeliest tokens, one after another."""

    @torch.no_grad()
    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
        """One answer an image, to its question; an image that is asked several things is looked at once."""
        if len(questions) != len(images):
            raise UsageError(f"{len(questions)} questions about {len(images)} images")
        if not len(images):
            return []
        rows: dict[bytes, int] = {}
        shown = [rows.setdefault(image.cpu().numpy().tobytes(), len(rows)) for image in images.images]
        first = [shown.index(i) for i in range(len(rows))]
        states = torch.cat(self._looked_at(images.images[first]))
        answers = [""] * len(images)
        for question in dict.fromkeys(questions):
            # Questions go one by one, so that none is padded: BLIP's decoder would read the padding.
            ids = self._tokens(question, truncation=True, max_length=self._room)["input_ids"]
            rows_of = [i for i, q in enumerate(questions) if q == question]
            for at in range(0, len(rows_of), self._processor.batch):
                some = rows_of[at : at + self._processor.batch]
                asked = torch.tensor([ids] * len(some), device=states.device)
                read = self._model.text_encoder(
                    input_ids=asked, encoder_hidden_states=states[[shown[i] for i in some]]
                ).last_hidden_state
                for i, text in zip(some, self._written([self._start], read), strict=True):
                    answers[i] = text
        return answers


class Captioner(Blip):
    """Role ``captioner``: a `BlipForConditionalGeneration`."""

    def __init__(self, name: str, model: Any, tokens: Any, processor: Processor, options: CaptionOptions) -> None:
        super().__init__(name, model, tokens, processor, options)
        self._given = [self._start, *self._tokens(options.prompt, add_special_tokens=False)["input_ids"]]
        self._top_p = options.top_p

    @torch.no_grad()
    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]:
        """One sentence an image, drawn with its seed alone, whatever else is in the batch."""
        if len(seeds) != len(images):
            raise UsageError(f"{len(seeds)} seeds for {len(images)} images")
        said: list[str] = []
        for states in self._looked_at(images.images):
            drawn = Nucleus(seeds[len(said) : len(said) + len(states)], self._top_p, self._room)
            said += self._written(self._given, states, logits_processor=[drawn])
        return said


class Nucleus:
    """A logits processor of transformers that draws each row's next token with random numbers of the row's own.

    Only the drawn token keeps a finite score, so greedy decoding takes it and no global random state is used.

    Parameters
    ----------
    seeds
        One a row.
    top_p
        Tokens are drawn from the likeliest ones that together have this probability; 0 = the likeliest one.
    longest
        Tokens that a text may have.
    """

    def __init__(self, seeds: Sequence[int], top_p: float, longest: int) -> None:
        self._luck = torch.stack([torch.rand(longest, generator=torch.Generator().manual_seed(s)) for s in seeds])
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, V) of which one a row is left."""
        u = self._luck[:, input_ids.shape[1]].to(scores.device)
        drawn = pick(*nucleus(scores.softmax(1), self._top_p), u)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn[:, None], 0.0)
