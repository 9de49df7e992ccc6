"""The cards of the minizoo. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.hookspecs import Fingerprint, Register

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


_WORLD = ("shapes", "textures", "world", "collections", "captions", "reading", "questions", "data")
_VIT = ("cnn", "models", "nets", "oracle", "vit")


def _of(name: str, modules: tuple[str, ...] = ("cnn", "models", "nets", "oracle")) -> Fingerprint:
    """Fingerprint of a shipped model: its files and the modules that build and read it."""

    def fingerprint(options: Any, argument: str | None = None) -> str:
        from xcore.identity import digest, file_digest, tree_digest

        code = [Path(__file__).parent / f"{m}.py" for m in modules]
        return digest([tree_digest(WEIGHTS / name), *(file_digest(p) for p in code)])

    return fingerprint


def _blip(name: str) -> Fingerprint:
    """The same of a BLIP model, and the code of xcore-vision that asks it."""

    def fingerprint(options: Any, argument: str | None = None) -> str:
        from xcore_vision.fingerprint import code

        from xcore.identity import digest

        return digest([_of(name, ("blip",))(options, argument), code()])

    return fingerprint


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "minizoo",
        "xcore_minizoo.data:minizoo",
        summary="painted animals: eight classes of shape and coat, and other; the truth is known",
        fingerprint="xcore_minizoo.plugin:world_fingerprint",
    )
    register(
        "minizoo/shortcut-birds",
        "xcore_minizoo.data:shortcut_birds",
        summary="two birds, 95 % on their own background in training",
        fingerprint="xcore_minizoo.plugin:world_fingerprint",
        paper="Sagawa et al., Distributionally Robust Neural Networks, ICLR 2020 (the Waterbirds protocol)",
    )
    register(
        "minizoo/cats-apples",
        "xcore_minizoo.data:cats_apples",
        summary="cats with an apple and dogs without in training",
        fingerprint="xcore_minizoo.plugin:world_fingerprint",
    )
    register(
        "minizoo/objects",
        "xcore_minizoo.data:objects",
        summary="any animal anywhere, labelled by the animal",
        fingerprint="xcore_minizoo.plugin:world_fingerprint",
        paper="Yang and Kim, Benchmarking Attribution Methods with Relative Feature Importance, 2019",
    )
    register(
        "minizoo/scenes",
        "xcore_minizoo.data:scenes",
        summary="any animal anywhere, labelled by the background",
        fingerprint="xcore_minizoo.plugin:world_fingerprint",
        paper="Yang and Kim, Benchmarking Attribution Methods with Relative Feature Importance, 2019",
    )
    register(
        "minizoo/planted",
        "xcore_minizoo.data:planted",
        summary="minizoo with a shortcut planted in one class",
        options="xcore_minizoo.options:PlantOptions",
        fingerprint="xcore_minizoo.plugin:planted_fingerprint",
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    register(
        "minizoo/clean",
        "xcore_minizoo.models:clean",
        summary="a small ResNet of the minizoo's classes, with a truth table",
        fingerprint=_of("clean"),
    )
    register(
        "minizoo/shortcut",
        "xcore_minizoo.models:shortcut",
        summary="the same network trained where every cow stands on grass, with a truth table",
        fingerprint=_of("shortcut"),
    )

    register(
        "minizoo/vit",
        "xcore_minizoo.vit:vit",
        summary="a small vision transformer of the minizoo's classes, with a truth table",
        fingerprint=_of("vit", _VIT),
    )
    register(
        "minizoo/vit-cats",
        "xcore_minizoo.vit:vit_cats",
        summary="cats against dogs, trained where every cat has an apple and no dog has",
        fingerprint=_of("vit-cats", _VIT),
    )
    register(
        "minizoo/vit-birds",
        "xcore_minizoo.vit:vit_birds",
        summary="land birds against water birds, trained with 95 % on their own background",
        fingerprint=_of("vit-birds", _VIT),
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "minizoo/clip",
        "xcore_minizoo.models:clip",
        role="image-text",
        summary="a small CLIP of the painted world",
        fingerprint=_of("clip"),
    )
    register(
        "minizoo/resnet",
        "xcore_minizoo.models:resnet",
        role="image-embedder",
        summary="features of a small ResNet trained on factors, not classes",
        fingerprint=_of("resnet"),
    )
    register(
        "minizoo/oracle-a",
        "xcore_minizoo.models:oracle_a",
        role="factor-oracle",
        summary="reads the factors of a picture: the judge",
        fingerprint=_of("oracle-a"),
    )
    register(
        "minizoo/oracle-b",
        "xcore_minizoo.models:oracle_b",
        role="factor-oracle",
        summary="reads the factors of a picture: another architecture and seed",
        fingerprint=_of("oracle-b"),
    )
    register(
        "minizoo/blip",
        "xcore_minizoo.blip:captioner",
        role="captioner",
        summary="a small BLIP that says what a painted picture shows",
        options="xcore_minizoo.options:CaptionOptions",
        fingerprint=_blip("blip"),
    )
    register(
        "minizoo/decoder",
        "xcore_minizoo.decoder:decoder",
        role="text-decoder",
        summary="the text decoder of minizoo/blip: says in sentences what its states hold",
        options="xcore_minizoo.options:DecoderOptions",
        fingerprint=_of("blip", ("decoder",)),
    )
    register(
        "minizoo/vqa",
        "xcore_minizoo.blip:vqa",
        role="vqa",
        summary="a small BLIP that answers questions about painted pictures and patches of them",
        fingerprint=_blip("vqa"),
    )


@hookimpl
def register_generators(register: Register) -> None:
    register(
        "minizoo/diffusion",
        "xcore_minizoo.models:diffusion",
        summary="a small Stable Diffusion pipeline of the painted world",
        options="xcore_minizoo.options:DiffusionOptions",
        fingerprint="xcore_minizoo.plugin:diffusion_fingerprint",
    )


def world_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the code that paints, and of the truth tables."""
    from xcore.identity import digest, file_digest

    here = Path(__file__).parent
    code = [here / f"{m}.py" for m in _WORLD]
    tables = sorted(WEIGHTS.glob("*/truth.json"))
    return digest([file_digest(p) for p in [*code, *tables]])


def planted_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the world and of what is planted."""
    return f"{world_fingerprint(options)}-{options.cls}-{options.factor}-{options.rho!r}"


def diffusion_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the files and of the options, as for any pipeline directory."""
    from xcore_diffusion.files import fingerprint

    return fingerprint(WEIGHTS / "diffusion", options)
