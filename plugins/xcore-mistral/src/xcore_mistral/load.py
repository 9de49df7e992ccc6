"""Load a causal language model and its tokenizer: quietly, offline, without unpickling or code from the directory."""

from __future__ import annotations

import io
from contextlib import ExitStack, redirect_stderr
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import transformers

from xcore import hub
from xcore.device import current
from xcore.errors import MissingError, UsageError, XcoreError
from xcore_mistral.files import Source
from xcore_mistral.options import Options

quiet = partial(hub.quiet, "transformers")
"""Silence what transformers says while it loads."""


def load(source: Source, options: Options) -> tuple[Any, Any]:
    """(model, tokenizer) of a source: frozen, in evaluation mode, on the current device.

    Raises
    ------
    MissingError
        bitsandbytes is asked for and not installed.
    UsageError
        A GGUF file is to be quantised once more.
    XcoreError
        The files are there but cannot be loaded, or the weights are not all there.
    """
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    wanted: dict[str, Any] = {"dtype": getattr(torch, options.dtype), "output_loading_info": True}
    if source.gguf:
        common["gguf_file"] = source.gguf
    else:
        wanted["use_safetensors"] = True
    if options.quantise != "none":
        if source.gguf:
            raise UsageError(f"{source.path.name!r} is quantised already", "leave out the option quantise")
        wanted |= {"quantization_config": _bits(options), "device_map": {"": current()}}
    with quiet(), torch.random.fork_rng(), ExitStack() as stack:
        if source.gguf:  # its reader draws a bar that no setting turns off
            stack.enter_context(redirect_stderr(io.StringIO()))
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.directory), **common)
            model, info = transformers.AutoModelForCausalLM.from_pretrained(str(source.directory), **common, **wanted)
        except Exception as error:  # libraries raise OSError, ValueError, SafetensorError, ...
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            whole = "is it damaged, or not wholly fetched?" if source.gguf else ""
            raise XcoreError(f"cannot load the language model {str(source.path)!r}: {reason}", whole) from error
    if lacking := sorted(info["missing_keys"]):  # transformers would fill them with random numbers
        raise XcoreError(
            f"cannot load the language model {str(source.path)!r}: its weights lack {len(lacking)} tensors, "
            f"e.g. {lacking[0]}"
        )
    if options.quantise == "none":
        model.to(current())
    return model.requires_grad_(False).eval(), tokenizer


def _bits(options: Options) -> Any:
    if find_spec("bitsandbytes") is None:
        raise MissingError(
            f"quantise={options.quantise} needs the package bitsandbytes", "pip install 'xcore-mistral[quantised]'"
        )
    if options.quantise == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    compute = getattr(torch, options.dtype)
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
