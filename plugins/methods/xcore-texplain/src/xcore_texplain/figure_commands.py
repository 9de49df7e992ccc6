"""The commands `xcore texplain classes`, `versions` and `latents`. Light at import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xcore.session import Json, names, publish, subject, takes

Lexicon = Annotated[
    str, typer.Option(metavar="FILE", help="JSON file: class -> words that are of it, red in the clouds; * = of all.")
]
Captions = Annotated[
    str, typer.Option(metavar="REF", help="Data set whose captions the translator learns from; default: the same.")
]
Translator = Annotated[
    str, typer.Option(metavar="DIR", help="Folder that `train` wrote; default: a translator is trained and kept.")
]
Sentences = Annotated[int | None, typer.Option(min=1, help="Sentences about each image; default: 100.")]
SplitFlag = Annotated[
    str, typer.Option(metavar="SPLIT", help="Which images are described: train, explain or heldout (test).")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""

    @app.command()
    @takes(subject)
    def classes(
        about: dict[str, Any],
        superclasses: Annotated[
            str,
            typer.Option(
                metavar="FILE|COLUMN", help="JSON file: super-class -> its classes; or a column of the metadata."
            ),
        ] = "",
        split: SplitFlag = "explain",
        lexicon: Lexicon = "",
        captions: Captions = "",
        translator: Translator = "",
        sentences: Sentences = None,
        words: Annotated[int, typer.Option(min=1, help="Words of each class in the table.")] = 12,
        as_json: Json = False,
    ) -> None:
        """Draw the word clouds of classes or super-classes side by side.

        The words about each are compared with those about images of all. The table and the picture are written to --out
        (default: classes). --samples is the number of images of each.

        Example: xcore texplain classes --data folder:photos --classifier timm:vit_base_patch16_384
        --superclasses nine.json --translator translator
        --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base
        """
        from xcore_texplain.superclasses import ClassesOptions, found_classes

        out = Path(about["out"] or "classes")
        _given(about, translator, sentences)
        publish(
            [found_classes(about, ClassesOptions(superclasses, split, lexicon, captions, words), out)], out, as_json
        )

    @app.command()
    @takes(subject)
    def versions(
        about: dict[str, Any],
        split: SplitFlag = "explain",
        group: Annotated[
            str, typer.Option(metavar="NAME", help="Only the images of this group; default: all of them.")
        ] = "",
        lexicon: Lexicon = "",
        captions: Captions = "",
        translator: Translator = "",
        sentences: Sentences = None,
        as_json: Json = False,
    ) -> None:
        """Compare images with and without their background, by masks.

        For the whole images, only the foreground, only the background, and the foreground before the background of
        another class: the ten likeliest predictions of the classifier, and the words about the features. Table and
        pictures are written to --out (default: versions).

        Example: xcore texplain versions --data folder:photos --classifier timm:vit_base_patch16_384 --class zebra
        --translator translator --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base
        """
        from xcore_texplain.versions import VersionsOptions, found_versions

        out = Path(about["out"] or "versions")
        _given(about, translator, sentences)
        publish(found_versions(about, VersionsOptions(split, group, lexicon, captions), out), out, as_json)

    @app.command()
    @takes(subject)
    def latents(
        about: dict[str, Any],
        categories: Annotated[
            str, typer.Option(metavar="A,B", help="What is drawn; default: the classes of --class, or all.")
        ] = "",
        drawings: Annotated[int, typer.Option(min=1, help="Images of each category.")] = 30,
        captions_each: Annotated[int, typer.Option(min=1, help="Captions of each image.")] = 10,
        captions: Captions = "",
        translator: Translator = "",
        sentences: Sentences = None,
        as_json: Json = False,
    ) -> None:
        """Compare words about a generator's latents with a captioner's words.

        The generator draws each category, the translator's words are about the latents, and the captioner's about the
        images that they become. Both are compared for the same category and for others. Table and picture are written
        to --out (default: latents).

        Example: xcore texplain latents --generator diffusion:DIR --categories kitchen,bathroom,bus
        --translator latents-translator --model captioner=blip:Salesforce/blip-image-captioning-base
        --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base
        """
        from xcore_texplain.latents import LatentsOptions, found_latents

        out = Path(about["out"] or "latents")
        _given(about, translator, sentences)
        options = LatentsOptions(tuple(names(categories)), drawings, captions_each, captions)
        publish([found_latents(about, options, out)], out, as_json)


def _given(about: dict[str, Any], translator: str, sentences: int | None) -> None:
    """Add the options of texplain that the flags gave."""
    given = about["set"].setdefault("texplain", {})
    given |= {"translator": translator} if translator else {}
    given |= {"sentences": sentences} if sentences else {}
