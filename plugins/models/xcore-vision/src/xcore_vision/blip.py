"""``blip:MODEL`` captions images, and ``blip-vqa:MODEL`` answers questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore.contract import Samples, UsageError
from xcore.models import device
from xcore.pretrained.hub import model_directory, read_json
from xcore.pretrained.loading import load_model, load_tokenizer
from xcore.pretrained.nucleus import nucleus, pick
from xcore_vision.processor import Processor

if TYPE_CHECKING:
    from xcore_vision.options import BlipOptions, CaptionOptions


def captioner(options: CaptionOptions, argument: str) -> Captioner:
    """``blip:MODEL``: a captioner; raises as `open_blip` does."""
    return Captioner(f"blip:{argument}", *open_blip(options, argument, "BlipForConditionalGeneration"), options)


def answerer(options: BlipOptions, argument: str) -> Answerer:
    """``blip-vqa:MODEL``: a model that answers questions; raises as `open_blip` does."""
    return Answerer(f"blip-vqa:{argument}", *open_blip(options, argument, "BlipForQuestionAnswering"), options)


def open_blip(options: BlipOptions, argument: str, kind: str) -> tuple[Any, Any, Processor]:
    """Load model, tokenizer and processor from a directory that `save_pretrained` wrote, or from the Hub.

    Parameters
    ----------
    options
        Device and batch size.
    argument
        The directory or Hub id.
    kind
        The class of the model in transformers.

    Raises
    ------
    MissingError
        There is no such model, or it has no tokenizer.
    UsageError
        The directory is damaged or holds another kind of model.
    """
    folder = model_directory(argument)
    if (found := read_json(folder / "config.json").get("model_type")) != "blip":
        raise UsageError(f"{str(folder)!r} holds a model of type {found!r}, not blip", "name a BLIP model")
    model, tokens = load(folder, kind, options.device)
    return model, tokens, Processor.of(folder, int(model.config.vision_config.image_size), options.batch_size)


def load(folder: Path, kind: str, where: str | None = None) -> tuple[Any, Any]:
    """Load the model, by its class in transformers, and the tokenizer of a directory; raises as `open_blip` does."""
    import transformers

    model = load_model(getattr(transformers, kind), folder, kind).to(where or device.current())
    return model, load_tokenizer(folder)


class Blip:
    """A BLIP model in memory: one that was loaded, or one that is being trained.

    Parameters
    ----------
    name
        How results call it.
    model, tokens
        Model and tokenizer of transformers. The model stays on its device and in its mode.
    processor
        Prepares the images.
    options
        The most tokens of a text.

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

    def _encoded(self, images: Tensor) -> list[Tensor]:
        """Encoder states (b, T, d) of the images, batch by batch."""
        batches = self._processor.batches(images, self._model.device)
        return [self._model.vision_model(pixel_values=x).last_hidden_state for x in batches]

    def _generated(self, start: Sequence[int], states: Tensor, **how: Any) -> list[str]:
        """Generate one text for each row of states (n, T, d); all texts begin with the tokens `start`."""
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
    """Role ``vqa``: a `BlipForQuestionAnswering`, whose answers are decoded greedily."""

    @torch.no_grad()
    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
        """Answer one question for each image; an image with several questions is encoded once."""
        if len(questions) != len(images):
            raise UsageError(
                f"{len(questions)} questions about {len(images)} images", "give one question for each image"
            )
        if not len(images):
            return []
        rows: dict[bytes, int] = {}
        shown = [rows.setdefault(image.cpu().numpy().tobytes(), len(rows)) for image in images.images]
        first = [shown.index(i) for i in range(len(rows))]
        states = torch.cat(self._encoded(images.images[first]))
        answers = [""] * len(images)
        for question in dict.fromkeys(questions):
            # One question at a time, so that none is padded: BLIP's decoder would read the padding.
            ids = self._tokens(question, truncation=True, max_length=self._room)["input_ids"]
            rows_of = [i for i, q in enumerate(questions) if q == question]
            for at in range(0, len(rows_of), self._processor.batch):
                some = rows_of[at : at + self._processor.batch]
                asked = torch.tensor([ids] * len(some), device=states.device)
                read = self._model.text_encoder(
                    input_ids=asked, encoder_hidden_states=states[[shown[i] for i in some]]
                ).last_hidden_state
                for i, text in zip(some, self._generated([self._start], read), strict=True):
                    answers[i] = text
        return answers


class Captioner(Blip):
    """Role ``captioner``: a `BlipForConditionalGeneration`, whose captions are sampled."""

    def __init__(self, name: str, model: Any, tokens: Any, processor: Processor, options: CaptionOptions) -> None:
        super().__init__(name, model, tokens, processor, options)
        self._opening = [self._start, *self._tokens(options.prompt, add_special_tokens=False)["input_ids"]]
        self._top_p = options.top_p

    @torch.no_grad()
    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]:
        """Sample one caption for each image; it depends on the image and the seed alone, not on the batch."""
        if len(seeds) != len(images):
            raise UsageError(f"{len(seeds)} seeds for {len(images)} images", "give one seed for each image")
        captions: list[str] = []
        for states in self._encoded(images.images):
            drawn = Nucleus(seeds[len(captions) : len(captions) + len(states)], self._top_p, self._room)
            captions += self._generated(self._opening, states, logits_processor=[drawn])
        return captions


class Nucleus:
    """A logits processor of transformers that samples the next token of each row with random numbers of its own.

    Only the sampled token keeps a finite score. Greedy decoding then takes it, and no global random state is used.

    Parameters
    ----------
    seeds
        One seed for each row.
    top_p
        Tokens are sampled from the likeliest ones that together have this probability; 0 means the likeliest one.
    longest
        Most tokens of a text.
    """

    def __init__(self, seeds: Sequence[int], top_p: float, longest: int) -> None:
        self._random = torch.stack([torch.rand(longest, generator=torch.Generator().manual_seed(s)) for s in seeds])
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (n, V) in which one token of each row is left."""
        u = self._random[:, input_ids.shape[1]].to(scores.device)
        drawn = pick(*nucleus(scores.softmax(1), self._top_p), u)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn[:, None], 0.0)
