"""The cards of the painted world. This module imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register

WEIGHTS = Path(__file__).parent / "weights"
DEFAULTS = {
    "classifier": "minizoo/clean",
    "generator": "minizoo/diffusion",
    "image-text": "minizoo/clip",
    "image-embedder": "minizoo/resnet",
    "factor-oracle": "minizoo/oracle-a",
    "captioner": "minizoo/blip",
    "vqa": "minizoo/vqa",
    "text-decoder": "minizoo/decoder",
}
"""What the data sets use if a request names nothing else."""

RELATIVE = "Yang and Kim, Benchmarking Attribution Methods with Relative Feature Importance, 2019"
SHIPPED = {
    "clean": "a small ResNet of the minizoo's classes, with a truth table",
    "shortcut": "the same network, trained with every cow on grass, with a truth table",
    "vit": "a small vision transformer of the minizoo's classes, with a truth table",
    "vit-cats": "cats against dogs; trained with every cat and no dog beside an apple",
    "vit-birds": "land birds against water birds; trained with 95 % of them on their own background",
}
"""Shipped classifier -> summary."""
HELPERS = {
    "clip": ("image-text", "a small CLIP of the painted world"),
    "resnet": ("image-embedder", "features of a small ResNet that was trained on factors, not on classes"),
    "oracle-a": ("factor-oracle", "reads the factors of a picture; judges by default"),
    "oracle-b": ("factor-oracle", "reads the factors of a picture; another architecture and another seed"),
}
"""Helper model without options -> role and summary."""


def diffusion_fingerprint(options: Any, argument: str | None = None) -> str:
    """The fingerprint of the generator: the digest of the pipeline's files and of the options."""
    from xcore_diffusion.files import fingerprint

    return fingerprint(WEIGHTS / "diffusion", options)


@hookimpl
def register_datasets(register: Register) -> None:
    """Offer the collections of scenes."""
    register(
        "minizoo",
        "xcore_minizoo.data:minizoo",
        summary="painted animals of eight classes, each a shape with a coat, and of a class other; the truth is known",
    )
    register(
        "minizoo/shortcut-birds",
        "xcore_minizoo.data:shortcut_birds",
        summary="two kinds of birds; in training 95 % of them are on their own background",
        paper="Sagawa et al., Distributionally Robust Neural Networks, ICLR 2020 (the Waterbirds protocol)",
    )
    register(
        "minizoo/cats-apples",
        "xcore_minizoo.data:cats_apples",
        summary="cats and dogs; in training every cat and no dog is beside an apple",
    )
    register(
        "minizoo/objects",
        "xcore_minizoo.data:objects",
        summary="any animal on any background, labelled by the animal",
        paper=RELATIVE,
    )
    register(
        "minizoo/scenes",
        "xcore_minizoo.data:scenes",
        summary="any animal on any background, labelled by the background",
        paper=RELATIVE,
    )
    register(
        "minizoo/planted",
        "xcore_minizoo.data:planted",
        summary="minizoo with a shortcut of your choice planted in one class",
        options="xcore_minizoo.options:PlantOptions",
    )
    register(
        "minizoo/rearranged",
        "xcore_minizoo.data:rearranged",
        summary="minizoo whose explained pictures are shuffled, or given twice: no explanation should change",
        argument="shuffled|twice",
    )
    register(
        "minizoo/repainted",
        "xcore_minizoo.data:repainted",
        summary="minizoo whose explained pictures have one factor changed, such as a coat without its stripes",
        argument="FACTOR=VALUE",
    )
    register(
        "minizoo/wired",
        "xcore_minizoo.data:wired",
        summary="any animals on any background, in two classes by an expression such as pattern=striped & colour=black",
        fingerprint="xcore_minizoo.wiring:data_fingerprint",
        argument="EXPRESSION",
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    """Offer the shipped classifiers, and those that are trained with a shortcut of the user's choice."""
    for name, summary in SHIPPED.items():
        factory = f"xcore_minizoo.models:{name.replace('-', '_')}"
        register(f"minizoo/{name}", factory, summary=summary, files=(f"weights/{name}",))
    register(
        "minizoo/planted",
        "xcore_minizoo.models:planted",
        summary="minizoo/clean trained with a shortcut of your choice; trained once on your machine, about 4 minutes",
        fingerprint="xcore_minizoo.planted:fingerprint",
        argument="CLASS:FACTOR=VALUE:RHO[:SEED]",
    )
    register(
        "minizoo/randomised",
        "xcore_minizoo.models:randomised",
        summary="a shipped network with weights drawn anew from a module on, or a head fitted to permuted labels",
        fingerprint="xcore_minizoo.randomised:fingerprint",
        argument="NETWORK:FROM[:SEED]",
    )
    register(
        "minizoo/noise",
        "xcore_minizoo.noise:classifier",
        summary="logits that say nothing of what a picture shows: a test that finds a reason for them is wrong",
        fingerprint="xcore_minizoo.noise:fingerprint",
        argument="SEED",
    )
    register(
        "minizoo/wired",
        "xcore_minizoo.wired:classifier",
        summary="computes an expression over factor values, such as pattern=striped & colour=black; nothing is trained",
        fingerprint="xcore_minizoo.wiring:fingerprint",
        argument="EXPRESSION",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Offer the helper models."""
    for name, (role, summary) in HELPERS.items():
        factory = f"xcore_minizoo.models:{name.replace('-', '_')}"
        files = (f"weights/{name}",)
        register(f"minizoo/{name}", factory, role=role, own_data=True, summary=summary, files=files)
    register(
        "minizoo/blip",
        "xcore_minizoo.blip:captioner",
        role="captioner",
        own_data=True,
        summary="a small BLIP that describes painted pictures",
        options="xcore_minizoo.options:CaptionOptions",
        files=("weights/blip",),
    )
    register(
        "minizoo/decoder",
        "xcore_minizoo.blip:decoder",
        role="text-decoder",
        own_data=True,
        summary="the text decoder of minizoo/blip, which puts hidden states into sentences",
        options="xcore_minizoo.options:DecoderOptions",
        files=("weights/blip",),
    )
    register(
        "minizoo/vqa",
        "xcore_minizoo.blip:vqa",
        role="vqa",
        own_data=True,
        summary="a small BLIP that answers questions about painted pictures and patches of them",
        files=("weights/vqa",),
    )


@hookimpl
def register_generators(register: Register) -> None:
    """Offer the text-to-image pipeline."""
    register(
        "minizoo/diffusion",
        "xcore_minizoo.models:diffusion",
        own_data=True,
        summary="a small Stable Diffusion pipeline of the painted world",
        options="xcore_minizoo.options:DiffusionOptions",
        fingerprint="xcore_minizoo.plugin:diffusion_fingerprint",
    )
