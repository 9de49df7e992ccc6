"""The BLIP models of the painted world: a captioner, visual question answering, and the decoder that TExplain reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore_vision.blip import Answerer, Captioner, load
from xcore_vision.options import BlipOptions
from xcore_vision.processor import Processor

from xcore_minizoo.models import shipped
from xcore_minizoo.options import DecoderOptions

if TYPE_CHECKING:
    from xcore_texplain.blip import BlipDecoder

    from xcore_minizoo.options import CaptionOptions

ANSWERS = BlipOptions(batch_size=64, max_tokens=11)
"""Options of visual question answering; no answer about the painted world is longer than 11 tokens."""


def captions_of(name: str, model: Any, tokens: Any, options: CaptionOptions) -> Captioner:
    """A captioner of pictures of any size over a model that is loaded already, shipped or in training."""
    return Captioner(name, model, tokens, _processor(options.batch_size), options)


def answers_of(name: str, model: Any, tokens: Any) -> Answerer:
    """Visual question answering over a model that is loaded already, shipped or in training."""
    return Answerer(name, model, tokens, _processor(ANSWERS.batch_size), ANSWERS)


def captioner(options: CaptionOptions) -> Captioner:
    """The captioner `minizoo/blip`."""
    return captions_of("minizoo/blip", *load(shipped("blip"), "BlipForConditionalGeneration", options.device), options)


def vqa(options: None = None) -> Answerer:
    """Visual question answering by `minizoo/vqa`."""
    return answers_of("minizoo/vqa", *load(shipped("vqa"), "BlipForQuestionAnswering"))


def decoder(options: DecoderOptions | None = None) -> BlipDecoder:
    """The text decoder `minizoo/decoder`: the decoder of the captioner, as a frozen language model for TExplain."""
    from xcore_texplain.blip import BlipDecoder

    return BlipDecoder(shipped("blip"), options or DecoderOptions(), "minizoo/decoder")


def _processor(batch: int) -> Processor:
    """Pictures of other sizes are resized bilinearly, as pieces of pictures were in training."""
    return Processor([0.5] * 3, [0.5] * 3, 64, batch, "bilinear")
