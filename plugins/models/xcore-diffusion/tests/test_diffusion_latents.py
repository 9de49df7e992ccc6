"""The probe at the latents: what was drawn is read as it is, other pictures by the encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.options import Options

from xcore.contract import NotApplicable, Probe, Samples, UsageError


@pytest.fixture(scope="module")
def generator(directory: Path) -> DiffusionGenerator:
    return DiffusionGenerator(directory, Options(steps=2, batch_size=2))


def pictures(size: int) -> Samples:
    data = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Samples("image", data, ("a", "b", "c"))


def test_it_is_a_probe_of_maps(generator: DiffusionGenerator) -> None:
    probe = generator.probe()
    assert isinstance(probe, Probe)
    assert probe.layout == "NCHW"


def test_latents_that_were_drawn_are_read_as_they_are(generator: DiffusionGenerator) -> None:
    drawn = generator.generate(["a zebra", "striped", "white"], [1, 2, 3])
    found = generator.probe().activations(drawn)
    assert torch.equal(found, drawn.meta["latents"])
    assert torch.equal(generator.probe().activations(drawn.take([2])), found[2:])


def test_other_pictures_are_encoded_as_the_autoencoder_does(generator: DiffusionGenerator) -> None:
    samples = pictures(64)
    vae = generator.pipe.vae
    with torch.no_grad():
        expected = vae.encode(samples.images * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(generator.probe().activations(samples), expected, rtol=1e-4, atol=1e-5)
    assert generator.probe().activations(pictures(40)).shape == (3, 4, 8, 8)


def test_latents_of_another_size_are_refused(generator: DiffusionGenerator) -> None:
    samples = Samples("image", torch.zeros(1, 3, 64, 64), ("a",), meta={"latents": torch.zeros(1, 4, 16, 16)})
    with pytest.raises(UsageError, match="the latents have shape"):
        generator.probe().activations(samples)


def test_there_are_no_logits(generator: DiffusionGenerator) -> None:
    probe = generator.probe()
    with pytest.raises(NotApplicable, match="lead to no logits"):
        probe.gradients(pictures(64), 0)
    with pytest.raises(NotApplicable, match="lead to no logits"):
        probe.head(torch.zeros(1, 4, 8, 8))
