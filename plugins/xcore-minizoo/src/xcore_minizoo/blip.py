"""The shipped BLIP models as components of xcore: a captioner, and answers to questions about pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcore_vision.blip import Answerer, Captioner, load
from xcore_vision.options import BlipOptions
from xcore_vision.processor import Processor

from xcore_minizoo.models import _folder

if TYPE_CHECKING:
    from xcore_minizoo.options import CaptionOptions

ASKED = BlipOptions(batch_size=64, max_tokens=11)
"""No answer of the painted world is longer."""


def telling(name: str, model: Any, tokens: Any, options: CaptionOptions) -> Captioner:
    """A captioner of pictures of any size, shipped or in training."""
    return Captioner(name, model, tokens, _processor(options.batch_size), options)


def asked(name: str, model: Any, tokens: Any) -> Answerer:
    """Answers about pictures of any size by a model, shipped or in training."""
    return Answerer(name, model, tokens, _processor(ASKED.batch_size), ASKED)


def captioner(options: CaptionOptions) -> Captioner:
    """The captioner."""
    return telling("minizoo/blip", *load(_folder("blip"), "BlipForConditionalGeneration", options.device), options)


def vqa(options: None = None) -> Answerer:
    """Visual question answering."""
    return asked("minizoo/vqa", *load(_folder("vqa"), "BlipForQuestionAnswering"))


def _processor(batch: int) -> Processor:
    """Pieces of pictures were enlarged bilinearly in training."""
    return Processor([0.5] * 3, [0.5] * 3, 64, batch, "bilinear")
