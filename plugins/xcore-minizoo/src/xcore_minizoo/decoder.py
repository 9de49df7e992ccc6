"""The frozen language model of TExplain: the captioner's text decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore_minizoo.options import DecoderOptions
from xcore_minizoo.plugin import WEIGHTS

if TYPE_CHECKING:
    from xcore_texplain.blip import BlipDecoder


def decoder(options: DecoderOptions | None = None) -> BlipDecoder:
    """The text decoder."""
    from xcore_texplain.blip import BlipDecoder

    return BlipDecoder(WEIGHTS / "blip", options or DecoderOptions(), "minizoo/decoder")
