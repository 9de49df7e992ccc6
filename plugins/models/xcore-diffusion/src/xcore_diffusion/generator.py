"""The generator: a Stable Diffusion pipeline that draws reproducibly and can be adapted by preference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Adapter, Modality, Samples, UsageError, validate
from xcore.pretrained.drawing import check_seeds, drawn_ids, paired_prompts
from xcore.pretrained.lora import Lora
from xcore_diffusion import dpo, files
from xcore_diffusion.latents import LatentProbe
from xcore_diffusion.load import load, quiet
from xcore_diffusion.options import AdaptOptions, Options

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
"""The attention projections of the UNet that get a LoRA."""
SHOWN = 60
"""Characters of a long prompt that a note shows."""
PREFIX = "unet."
"""How the names in an adapter begin, so that `load_lora_weights` of diffusers can read its file."""


def from_directory(options: Options | None, argument: str) -> DiffusionGenerator:
    """The generator `diffusion:DIR`."""
    return DiffusionGenerator(Path(argument), options, name=f"diffusion:{argument}")


def from_hub(options: Options | None, argument: str) -> DiffusionGenerator:
    """The generator `hf:ORG/MODEL`."""
    return DiffusionGenerator(files.from_hub(argument), options, name=f"hf:{argument}")


class DiffusionGenerator:
    """A `StableDiffusionPipeline` as a generator (protocol `xcore.contract.Generator`).

    Sample i depends on its prompt, its seed and the adapter only: each seed has a random generator of its own for the
    initial noise, the sampler uses no random numbers, and all batches have the same size (the last one is filled up),
    so that the same kernels run whatever else is drawn.

    Parameters
    ----------
    path
        A directory in the format of diffusers, as `save_pretrained` writes it.
    options
        How images are drawn; None = the defaults.
    name
        The name of the generator in messages.

    Raises
    ------
    MissingError, UsageError, XcoreError
        See `xcore_diffusion.load.load`.
    """

    modality: Modality = "image"

    def __init__(self, path: str | Path, options: Options | None = None, *, name: str = "") -> None:
        self.options = options or Options()
        self.name = name or f"diffusion:{path}"
        self.fingerprint = files.fingerprint(Path(path), self.options)
        self.pipe = load(Path(path), self.options)
        self._device = self.pipe.unet.device
        factor, size = self.pipe.vae_scale_factor, self.pipe.unet.config.sample_size
        own = (size, size) if isinstance(size, int) else tuple(size)
        self.height = self.options.height or own[0] * factor
        self.width = self.options.width or own[1] * factor
        if self.height % math.lcm(8, factor) or self.width % math.lcm(8, factor):
            raise UsageError(
                f"{self.name} cannot draw {self.height} x {self.width} pixels",
                f"height and width must be multiples of {math.lcm(8, factor)}",
            )
        self.latent_shape = (self.pipe.unet.config.in_channels, self.height // factor, self.width // factor)
        self._embedded: dict[str, Tensor] = {}
        self._lora: Lora | None = None

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        """Draw one image per prompt.

        Parameters
        ----------
        prompts, seeds
            n prompts, and n seeds of the initial noise.
        adapter
            The state of the LoRA; None = the base model.

        Returns
        -------
        Images (n, 3, H, W) in [0, 1]; `meta` holds "prompt" and "seed" (tuples) and "latents" (n, C, h, w), the final
        latents, which `adapt` uses.
        """
        check_seeds(self.name, prompts, seeds)
        self._put(adapter)
        size = self.options.batch_size
        noise = torch.stack([self._noise(seed) for seed in seeds])
        context = torch.stack([self._embed(prompt) for prompt in prompts])
        latents = self._batched(self._denoise, size, noise, context)
        images = self._batched(self._decode, size, latents)
        ids = drawn_ids(self.fingerprint, adapter, prompts, seeds)
        meta = {"prompt": tuple(prompts), "seed": tuple(int(s) for s in seeds), "latents": latents}
        return Samples("image", images, ids, meta=meta)

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        """Adapt the LoRA by Diffusion-DPO to prefer `preferred[i]` over `rejected[i]`; the base model is the reference.

        Parameters
        ----------
        adapter
            The adapter to start from, with the state of its optimiser; None = a new LoRA that is drawn from the seed.
        preferred, rejected
            n samples each. The prompts are those in the meta of `preferred`. Latents in the meta are used as they are;
            images are encoded only if there are none.
        seed
            Timesteps and noise depend on it and on the number of steps that the adapter was trained for so far.
        options
            Fields of `AdaptOptions`.

        Returns
        -------
        The new adapter and the figures of the update (see `xcore_diffusion.dpo.update`).
        """
        chosen = validate(AdaptOptions, options, f"adapt of {self.name}")
        prompts = paired_prompts(preferred, rejected)
        scheduler, lora = self.pipe.scheduler, self._lora_layers()
        objective = dpo.Objective(
            scheduler.alphas_cumprod.to(self._device, torch.float32), str(scheduler.config.prediction_type)
        )
        try:
            return dpo.update(
                self.pipe.unet,
                lora,
                objective,
                adapter or lora.initial(seed),
                self._latents(preferred).to(self._device),
                self._latents(rejected).to(self._device),
                torch.stack([self._embed(prompt) for prompt in prompts]).to(self._device),
                seed=seed,
                options=chosen,
                chunk=self.options.pairs_at_once or self.options.batch_size,
            )
        finally:
            lora.switch(False)

    def roundtrip(self, samples: Samples) -> Samples:
        """The images after they were encoded and decoded, at the size that this generator draws.

        Their ids begin with "roundtrip/"; labels and meta are kept, and the latents are added to the meta.
        """
        latents = self._encode_all(samples)
        images = self._batched(self._decode, self.options.batch_size, latents)
        ids = tuple(f"roundtrip/{self.fingerprint}/{i}" for i in samples.ids)
        return Samples("image", images, ids, samples.labels, {**samples.meta, "latents": latents})

    def remarks(self, prompts: Sequence[str]) -> list[str]:
        """A note on the prompts whose end this generator does not read; empty if it reads all of them."""
        limit, known = self.pipe.tokenizer.model_max_length, tuple(dict.fromkeys(prompts))
        counts = [len(self.pipe.tokenizer(prompt, truncation=False, verbose=False)["input_ids"]) for prompt in known]
        longer = [(n, prompt) for n, prompt in zip(counts, known, strict=True) if n > limit]
        if not longer:
            return []
        most, longest = max(longer)
        shown = longest if len(longest) <= SHOWN else f"{longest[:SHOWN]}..."
        return [
            f"{self.name} reads only the first {limit} tokens of a prompt: the end of {len(longer)} of {len(known)} "
            f"prompts is not drawn, of which the longest has {most} tokens ({shown!r})"
        ]

    def probe(self) -> LatentProbe:
        """A probe at the latents of the pipeline: those in the meta of samples, else the mode of the encoder."""
        return LatentProbe(self._latents, self.name)

    # --- the parts of the pipeline, each a function of (batch, ...) on the device ------------------------------------

    def _batched(self, function: Callable[..., Tensor], size: int, *inputs: Tensor) -> Tensor:
        """Apply a function in batches of exactly `size` rows; the last one is filled up with its first row."""
        out = []
        for start in range(0, len(inputs[0]), size):
            rows = [x[start : start + size] for x in inputs]
            n = len(rows[0])
            full = [torch.cat([r, r[:1].expand(size - n, *r.shape[1:])]).to(self._device) for r in rows]
            with torch.no_grad():
                out.append(function(*full)[:n].float().cpu())
        return torch.cat(out)

    def _denoise(self, noise: Tensor, context: Tensor) -> Tensor:
        dtype = self.pipe.unet.dtype
        empty = self._embed("").to(context).expand_as(context)
        result: Tensor = self.pipe(
            prompt_embeds=context.to(dtype),
            negative_prompt_embeds=empty.to(dtype),
            latents=noise.to(dtype),
            height=self.height,
            width=self.width,
            num_inference_steps=self.options.steps,
            guidance_scale=self.options.guidance,
            output_type="latent",
            return_dict=False,
        )[0]
        return result

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        images: Tensor = vae.decode(latents.to(vae.dtype) / float(vae.config.scaling_factor), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def _encode(self, images: Tensor) -> Tensor:
        vae = self.pipe.vae
        mode: Tensor = vae.encode((images * 2 - 1).to(vae.dtype)).latent_dist.mode()
        return mode * float(vae.config.scaling_factor)

    def _encode_all(self, samples: Samples) -> Tensor:
        images = samples.images
        if images.shape[-2:] != (self.height, self.width):
            size = (self.height, self.width)
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        return self._batched(self._encode, self.options.batch_size, images)

    def _latents(self, samples: Samples) -> Tensor:
        latents = samples.meta.get("latents")
        if latents is None:
            return self._encode_all(samples)
        if tuple(latents.shape) != (len(samples), *self.latent_shape):
            raise UsageError(
                f"the latents have shape {tuple(latents.shape)}, but {(len(samples), *self.latent_shape)} is needed",
                f"use samples that {self.name} drew at this size, or samples without latents",
            )
        return torch.as_tensor(latents).float()

    def _noise(self, seed: int) -> Tensor:
        return torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(int(seed)))

    def _embed(self, prompt: str) -> Tensor:
        """The embedding (tokens, d) of a prompt; it is computed once, by itself, and kept on the CPU."""
        if prompt not in self._embedded:
            with torch.no_grad(), quiet():
                self._embedded[prompt] = self.pipe.encode_prompt(prompt, self._device, 1, False)[0][0].float().cpu()
        return self._embedded[prompt]

    def _lora_layers(self) -> Lora:
        if self._lora is None:
            self._lora = Lora(self.pipe.unet, TARGETS, self.options.rank, PREFIX)
        return self._lora

    def _put(self, adapter: Adapter | None) -> None:
        if adapter is not None or self._lora is not None:
            self._lora_layers().put(adapter)
