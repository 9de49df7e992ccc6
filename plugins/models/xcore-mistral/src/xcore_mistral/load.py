"""Load a causal language model and its tokenizer: offline, without output, unpickling or code from the directory."""

from __future__ import annotations

import io
from contextlib import ExitStack, redirect_stderr
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import transformers

from xcore.contract import MissingError, UsageError, XcoreError
from xcore.models.device import current
from xcore.pretrained import hub
from xcore_mistral.files import Source
from xcore_mistral.options import Options

quiet = partial(hub.quiet, "transformers")
"""A context in which transformers prints nothing while it loads."""


def load(source: Source, options: Options) -> tuple[Any, Any]:
    """The model, frozen, in evaluation mode and on the current device, and its tokenizer.

    Raises
    ------
    MissingError
        bitsandbytes is needed and not installed.
    UsageError
        A GGUF file, which is quantised already, is to be quantised.
    XcoreError
        The files cannot be loaded, or some of the weights are missing.
    """
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    wanted: dict[str, Any] = {"dtype": getattr(torch, options.dtype), "output_loading_info": True}
    if source.gguf:
        common["gguf_file"] = source.gguf
    else:
        wanted["use_safetensors"] = True
    if options.quantise != "none":
        if source.gguf:
            raise UsageError(
                f"the GGUF file {source.path.name!r} is quantised already", "leave out the option quantise"
            )
        wanted |= {"quantization_config": _bits(options), "device_map": {"": current()}}
    with quiet(), torch.random.fork_rng(), ExitStack() as stack:
        if source.gguf:  # its reader draws a progress bar that no setting turns off
            stack.enter_context(redirect_stderr(io.StringIO()))
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.directory), **common)
            model, info = transformers.AutoModelForCausalLM.from_pretrained(str(source.directory), **common, **wanted)
        except Exception as error:  # libraries raise OSError, ValueError, SafetensorError, ...
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            whole = "the file may be damaged, or its download incomplete" if source.gguf else ""
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
