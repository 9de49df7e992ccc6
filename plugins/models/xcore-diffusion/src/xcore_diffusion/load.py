"""Load a StableDiffusionPipeline from a directory part by part: offline, without unpickling and without output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from xcore.contract import UsageError, XcoreError
from xcore.models.device import current
from xcore.pretrained import hub
from xcore_diffusion.files import check
from xcore_diffusion.options import Options

quiet = partial(hub.quiet, "diffusers", "transformers")
"""A context in which the libraries print nothing while they load."""
TOKENIZERS = {"CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}
SCHEDULERS = {
    "dpm": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
DETERMINISTIC = {
    *SCHEDULERS.values(),
    "DEISMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
}


def load(directory: Path, options: Options) -> diffusers.StableDiffusionPipeline:
    """The pipeline in a directory, frozen, in evaluation mode, on the current device, with the sampler of the options.

    Raises
    ------
    MissingError
        There is no such directory, or a part is missing in it.
    UsageError
        It is a pipeline of another kind, or its sampler draws random numbers.
    XcoreError
        A part cannot be loaded, or some of its weights are missing.
    """
    index = check(directory)
    dtype = getattr(torch, options.dtype)
    device = current()
    name = str((index.get("tokenizer") or [None, ""])[1])
    if name not in TOKENIZERS:
        raise UsageError(
            f"the tokenizer {name!r} of {str(directory)!r} is not supported",
            f"supported tokenizers: {', '.join(sorted(TOKENIZERS))}",
        )
    models: dict[str, Any] = {
        "unet": diffusers.UNet2DConditionModel,
        "vae": diffusers.AutoencoderKL,
        "text_encoder": transformers.CLIPTextModel,
    }
    with quiet(), torch.random.fork_rng():
        parts = {part: _whole(directory, part, partial(_weights, cls, dtype)) for part, cls in models.items()}
        parts["tokenizer"] = _whole(
            directory,
            "tokenizer",
            lambda path: getattr(transformers, name).from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            ),
        )
        parts["scheduler"] = _whole(directory, "scheduler", lambda path: _own_scheduler(index, path))
        pipe = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
        pipe.scheduler = _sampler(pipe.scheduler, options.scheduler)
    # A tokenizer that was saved without its limit would pad prompts to 10^30 tokens.
    reads = int(pipe.text_encoder.config.max_position_embeddings)
    pipe.tokenizer.model_max_length = min(pipe.tokenizer.model_max_length, reads)
    for part in models:
        getattr(pipe, part).requires_grad_(False).eval().to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _whole(directory: Path, part: str, make: Callable[[str], Any]) -> Any:
    """Load a part with `make`; any error becomes one line that names the part."""
    try:
        return make(str(directory / part))
    except Exception as error:  # libraries raise OSError, ValueError, SafetensorError, ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise XcoreError(f"cannot load {part}/ of the pipeline {str(directory)!r}: {reason}") from error


def _weights(cls: Any, dtype: torch.dtype, path: str) -> Any:
    model, info = cls.from_pretrained(
        path, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    lacking = sorted(k for k in info["missing_keys"] if not k.endswith("position_ids"))
    if lacking:  # the libraries would fill them with random numbers
        raise ValueError(f"the weights lack {len(lacking)} tensors, e.g. {lacking[0]}")
    return model


def _own_scheduler(index: dict[str, Any], path: str) -> Any:
    name = str((index.get("scheduler") or [None, ""])[1])
    if not name.endswith("Scheduler") or not hasattr(diffusers, name):
        raise ValueError(f"diffusers has no scheduler {name!r}")
    return getattr(diffusers, name).from_pretrained(path, local_files_only=True)


def _sampler(own: Any, name: str) -> Any:
    """A sampler without random numbers, on the noise schedule that the UNet was trained with."""
    if not hasattr(own, "alphas_cumprod"):
        raise UsageError(
            f"{type(own).__name__} has no noise schedule of the DDPM kind",
            "flow matching is not supported; use a Stable Diffusion 1.x or 2.x pipeline",
        )
    if name == "own":
        if type(own).__name__ not in DETERMINISTIC or str(own.config.get("algorithm_type", "")).startswith("sde"):
            raise UsageError(
                f"the pipeline's own {type(own).__name__} draws random numbers at every step",
                f"choose a deterministic one with the option scheduler: {', '.join(SCHEDULERS)}",
            )
        return own
    change: dict[str, Any] = {}
    if name == "dpm":
        change = {"algorithm_type": "dpmsolver++"}
    if name == "ddim":
        change = {"clip_sample": False, "thresholding": False}  # latents are not confined to [-1, 1]
    return getattr(diffusers, SCHEDULERS[name]).from_config(own.config, **change)
