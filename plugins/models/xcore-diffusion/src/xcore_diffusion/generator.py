"""The generator: a Stable Diffusion pipeline that draws and edits reproducibly and can be adapted by preference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Adapter, Modality, Samples, UsageError, validate
from xcore.pretrained.drawing import check_edit, check_seeds, drawn_ids, edited_ids, paired_prompts
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
    can = frozenset({"adapt", "edit"})

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

    def edit(
        self,
        samples: Samples,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        strength: float,
        masks: Tensor | None = None,
        negatives: Sequence[str] | None = None,
        adapter: Adapter | None = None,
    ) -> Samples:
        """Change pictures towards prompts, and away from negative prompts.

        A picture is encoded (the mode of the encoder), gets the noise of its seed for the last ``strength`` of the
        denoising steps, and these steps are taken (img2img; Meng et al., SDEdit, ICLR 2022). With a mask, the latents
        outside it are put back at every step, with the noise of that step (inpainting). The weights are those that
        draw: nothing is loaded again.

        Parameters
        ----------
        samples
            n pictures. Those of another size than the generator's are resized to it, whatever their shape, and the
            edited ones are brought back to the size that they had.
        prompts, seeds
            n each: what a picture is changed towards ("" = towards nothing in particular), and the seed of its noise.
        strength
            The share of the denoising steps that are taken, in (0, 1]; it is rounded down to whole steps. With less
            than one step the result is what `roundtrip` gives.
        masks
            (n, H, W) of the size of the pictures; parts of .5 and more are changed. A cell of the latents (8 x 8 pixels
            of the generator's size) is changed where the mask touches it, and since the decoder looks beyond a cell,
            the picture may change a little beyond the mask, too. None = all is changed.
        negatives
            n prompts that the pictures are changed away from, by the guidance; "" for none.
        adapter
            The state of the LoRA; None = the base model.

        Returns
        -------
        Images (n, 3, H, W) in [0, 1] without labels; `meta` holds "prompt", "negative", "seed" and "edited", the ids of
        the given pictures (tuples), "strength", and "latents" (n, C, h, w).

        Raises
        ------
        UsageError
            The arguments do not fit one another, or there are negative prompts, and the guidance is off.
        """
        check_edit(self.name, samples, prompts, seeds, strength=strength, masks=masks, negatives=negatives)
        away = tuple(negatives) if negatives is not None else ("",) * len(samples)
        if any(away) and self.options.guidance <= 1:
            raise UsageError(
                f"{self.name} cannot edit away from a prompt: its guidance of {self.options.guidance:g} is off",
                "set a guidance above 1, or give no negative prompts",
            )
        self._put(adapter)
        size, given = self.options.batch_size, self._encode_all(samples)
        latents = given
        if int(self.options.steps * strength):
            change = partial(self._change, strength=float(strength))
            noise = torch.stack([self._noise(seed) for seed in seeds])
            embedded = (torch.stack([self._embed(prompt) for prompt in texts]) for texts in (prompts, away))
            where = () if masks is None else (self._cells(masks),)
            latents = self._batched(change, size, given, noise, *embedded, *where)
        shape = tuple(samples.images.shape[-2:])
        images = self._batched(lambda x: _resized(self._decode(x), shape), size, latents)
        ids = edited_ids(
            self.fingerprint,
            adapter,
            samples,
            prompts,
            seeds,
            strength=strength,
            masks=masks,
            negatives=negatives,
        )
        meta = {
            "prompt": tuple(prompts),
            "negative": away,
            "seed": tuple(int(s) for s in seeds),
            "edited": samples.ids,
            "strength": float(strength),
            "latents": latents,
        }
        return Samples("image", images, ids, meta=meta)

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
            full = [_contiguous(torch.cat([r, r[:1].expand(size - n, *r.shape[1:])])).to(self._device) for r in rows]
            with torch.no_grad():
                out.append(function(*full)[:n].float().cpu())
        return torch.cat(out)

    def _denoise(self, noise: Tensor, context: Tensor) -> Tensor:
        dtype, o = self.pipe.unet.dtype, self.options
        context, empty = context.to(dtype), self._embed("").to(context).expand_as(context).to(dtype)
        unguided = o.unguided * self.pipe.scheduler.order if o.guidance > 1 else 0

        def guide(pipe: Any, step: int, t: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            if step + 1 == unguided:  # the next step is the first one with guidance
                pipe._guidance_scale = o.guidance
                return {"prompt_embeds": torch.cat([empty, context])}
            return {}

        result: Tensor = self.pipe(
            prompt_embeds=context,
            negative_prompt_embeds=empty,
            latents=noise.to(dtype),
            height=self.height,
            width=self.width,
            num_inference_steps=o.steps,
            guidance_scale=1.0 if unguided else o.guidance,
            callback_on_step_end=guide,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
            output_type="latent",
            return_dict=False,
        )[0]
        return result

    def _change(
        self,
        given: Tensor,
        noise: Tensor,
        context: Tensor,
        away: Tensor,
        cells: Tensor | None = None,
        *,
        strength: float,
    ) -> Tensor:
        """The latents of edited pictures: the last denoising steps, from the given latents with noise.

        The same as the pipelines of diffusers for img2img and inpainting, which know latents of 4 channels only.
        """
        scheduler, unet, o = self.pipe.scheduler, self.pipe.unet, self.options
        scheduler.set_timesteps(o.steps, device=self._device)
        first = (o.steps - int(o.steps * strength)) * scheduler.order
        steps = scheduler.timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        given, noise = given.to(unet.dtype), noise.to(unet.dtype)
        context, both = context.to(unet.dtype), torch.cat([away, context]).to(unet.dtype)
        x = scheduler.add_noise(given, noise, steps[:1].repeat(len(given)))
        for i, t in enumerate(steps):
            guided = o.guidance > 1 and first + i >= o.unguided * scheduler.order
            inputs = scheduler.scale_model_input(torch.cat([x, x]) if guided else x, t)
            predicted = unet(inputs, t, encoder_hidden_states=both if guided else context, return_dict=False)[0]
            if guided:
                without, with_prompt = predicted.chunk(2)
                predicted = without + o.guidance * (with_prompt - without)
            x = scheduler.step(predicted, t, x, return_dict=False)[0]
            if cells is not None:
                later = steps[i + 1 : i + 2]
                kept = scheduler.add_noise(given, noise, later) if len(later) else given
                x = torch.where(cells.bool(), x, kept)
        result: Tensor = x
        return result

    def _cells(self, masks: Tensor) -> Tensor:
        """Masks (n, 1, h, w) of the latents: 1 in every cell that the mask touches, 0 elsewhere."""
        return F.adaptive_max_pool2d((masks[:, None].float() >= 0.5).float(), self.latent_shape[1:])

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        images: Tensor = vae.decode(latents.to(vae.dtype) / float(vae.config.scaling_factor), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def _encode(self, images: Tensor) -> Tensor:
        vae = self.pipe.vae
        mode: Tensor = vae.encode((images * 2 - 1).to(vae.dtype)).latent_dist.mode()
        return mode * float(vae.config.scaling_factor)

    def _encode_all(self, samples: Samples) -> Tensor:
        images = _resized(samples.images, (self.height, self.width))
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


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Images (n, 3, H, W) brought to a height and width; those that have them are given back as they are."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _contiguous(rows: Tensor) -> Tensor:
    """The rows in one order of their numbers in memory, on which the choice of kernels depends."""
    return rows.clone(memory_format=torch.contiguous_format)
