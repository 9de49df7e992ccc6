"""`xcore layers`: the layers of a classifier, and which one each method explains unless the user names another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from xcore.base.errors import NotApplicable, UsageError, XcoreError, unknown
from xcore.cli.listing import print_line
from xcore.contract.types import Ref
from xcore.models.batches import current, give, no_batch_size
from xcore.registry import Registry, load_registry
from xcore.run.data import framed_by
from xcore.run.plan import Settings

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier
    from xcore.contract.samples import Samples

SAMPLES = 16
"""Samples of a data set on which the signs of activations are measured."""


def show_layers(
    ref: str,
    data: str,
    settings: Mapping[str, Mapping[str, Any]],
    files: Sequence[str],
    every: bool,
    as_json: bool,
) -> None:
    """Print the layers of a classifier, in the order in which they finish.

    Parameters
    ----------
    ref
        Reference of the classifier.
    data
        Reference of a data set on which signs are measured; "" = on artificial samples.
    settings
        Name of a component -> option -> value.
    every
        Also print the layers that a skip connection goes around.

    Raises
    ------
    NotApplicable
        The classifier is a black box.
    """
    registry = load_registry(files)
    _refuse_others(registry, settings, ref, data)
    options = Settings(settings, registry)
    source = options.ref("dataset", data) if data else None
    classifier: Classifier = registry.create("classifier", options.ref("classifier", ref))
    if not give(classifier):
        typer.echo(no_batch_size(ref), err=True)
    if not classifier.layers:
        raise NotApplicable(
            f"{ref} is a black box: it has no layers", "explain it with a method that needs none, such as eac"
        )
    samples, drawn_from = _samples(registry, classifier, source)
    rows = _rows(classifier, samples)
    defaults = _defaults(registry, classifier, samples)
    for row in rows:
        row["default_for"] = [method for method, layer in defaults.items() if layer == row["layer"]]
    if as_json:
        for row in rows:
            print_line({**row, "measured_on": drawn_from})
        return
    shown = [row for row in rows if every or row["cut"] is not False or row["default_for"]]
    _print(shown)
    typer.echo(
        f"\nsign: of the activations of {drawn_from}; head: the network above the layer; cut: nothing goes around it"
    )
    if hidden := len(rows) - len(shown):
        typer.echo(f"{hidden} more layers are no cut, because a skip connection goes around them: --every shows them")
    if elsewhere := {m: layer for m, layer in defaults.items() if layer not in {row["layer"] for row in rows}}:
        where = "; ".join(f"{method}: {layer or 'no layer'}" for method, layer in elsewhere.items())
        typer.echo(f"other methods: {where}")


def _refuse_others(registry: Registry, settings: Mapping[str, Any], ref: str, data: str) -> None:
    """Raise `UsageError` for options of a component that the command does not use."""
    used = [registry.find("classifier", ref)[0], *([registry.find("dataset", data)[0]] if data else [])]
    names = {name for card in used for name in (card.name, card.full_name)}
    for name in settings:
        if name not in names:
            raise unknown("component in --set", name, names)


def _samples(registry: Registry, classifier: Classifier, data: Ref | None) -> tuple[Samples, str]:
    """Some samples, and what they are in words."""
    if data is None:
        made = getattr(classifier, "artificial", None)
        if made is None:
            raise UsageError("this classifier needs samples to show its layers", "name a data set with --data REF")
        return made, f"{len(made)} artificial {made.modality}s (name real ones with --data REF)"
    source = framed_by(registry.create("dataset", data), classifier)
    if source.modality != classifier.modality:
        raise UsageError(f"{data} holds {source.modality}s, but the classifier reads {classifier.modality}s")
    drawn = source.samples(None, "train", min(SAMPLES, current() or SAMPLES), 0)  # they pass through in one batch
    if not len(drawn):
        raise UsageError(f"data set {data} has no samples")
    return drawn, f"{len(drawn)} {drawn.modality}s of {data}"


def _rows(classifier: Classifier, samples: Samples) -> list[dict[str, Any]]:
    """What is known of each layer; None where it is not known, as for a classifier that a plugin made by itself."""
    found = classifier.survey(samples) if hasattr(classifier, "survey") else {}
    heads = getattr(classifier, "heads", {})
    rows = []
    for name in classifier.layers:
        if name in found and found[name].layout is not None:
            info = found[name]
            shape, layout, lowest = list((info.shape or ())[1:]), info.layout, info.lowest
            shape = [shape[2], *shape[:2]] if info.last else shape[::-1] if info.first else shape
        else:
            probe = classifier.open(name)
            a = probe.activations(samples)
            shape, layout, lowest = list(a.shape[1:]), probe.layout, float(a.min())
        head = heads.get(name)
        rows.append(
            {
                "layer": name,
                "shape": shape,
                "layout": layout,
                "lowest": lowest,
                "nonnegative": lowest is not None and lowest >= 0,
                "cut": head.alone if head else None,
                "affine": head.affine if head else None,
            }
        )
    return rows


def _defaults(registry: Registry, classifier: Classifier, samples: Samples) -> dict[str, str]:
    """Method -> the layer that it explains by default; "" = it opens no layer."""
    defaults: dict[str, str] = {}
    for card in registry.cards("explainer"):
        if classifier.modality not in card.modalities:
            continue
        try:
            method = registry.create("explainer", Ref(card.full_name))
            own = getattr(method, "default_layer", None)
            if own is not None:
                defaults[card.name] = own(classifier, samples)
            elif {"activations", "gradients"} & set(card.needs):
                defaults[card.name] = classifier.default_layer
        except XcoreError:  # a method that needs options, or that cannot explain this classifier at all
            continue
    return defaults


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line for each layer, in columns."""
    table = [("layer", "shape", "sign", "head", "cut", "default for")]
    for row in rows:
        axes = {"NC": "{}", "NCHW": "{} x {} x {}", "NTC": "{} tokens x {}"}[row["layout"]]
        table.append(
            (
                row["layer"],
                axes.format(*row["shape"]),
                ">= 0" if row["nonnegative"] else "both",
                {True: "affine", False: "not affine", None: "?"}[row["affine"]],
                {True: "yes", False: "no", None: "?"}[row["cut"]],
                ", ".join(row["default_for"]),
            )
        )
    widths = [max(len(line[i]) for line in table) for i in range(6)]
    for line in table:
        typer.echo("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())
