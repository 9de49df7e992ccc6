"""Finds the concepts of an explanation in other samples, by its method or by its directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import UsageError
from xcore.base.seeding import seeded
from xcore.base.temporary import temporary_folder
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation, Presence, Ref
from xcore.registry import Registry, load_registry
from xcore.run.live import HelpersInNeed, as_ref, check_read, component, live_task

if TYPE_CHECKING:
    from xcore.inputs.arrays import Data

UNPREPARED = (
    "the explained network had preprocessing of its own, and this module gets pictures in [0, 1] as they are; pass it "
    "as the other was, such as xcore.open(module, preprocess=...)"
)


def apply(
    explanation: Explanation,
    recipe: Mapping[str, Any],
    classifier: Any,
    samples: Data,
    contrast: Data | None,
    generator: Any,
    models: Mapping[str, Any],
    registry: Registry | None,
) -> tuple[Presence, Samples]:
    """Where and how strongly the concepts are in other samples, and these samples (see `Explained.apply`).

    Parameters
    ----------
    recipe
        How the explanation was made (see `xcore.run.live.recipe`).
    """
    from xcore.models.classifiers import as_classifier
    from xcore.models.modules import is_module, outside_inference_mode

    registry = registry or load_registry([file for file in recipe.get("plugins", ()) if Path(file).is_file()])
    if (ref := as_ref(classifier)) is not None:
        classifier = registry.create("classifier", ref)
    model = as_classifier(classifier, recipe.get("classes", ()) if is_module(classifier) else ())
    if explanation.target not in model.classes:
        raise UsageError(
            f"the explanation is of the class {explanation.target!r}, which this network does not have",
            "apply it to the network that was explained, or to another version of it",
        )
    method = _ref(recipe.get("method")) or Ref(explanation.method)
    explainer = registry.create("explainer", method)
    known = {role: ref for role, given in recipe.get("models", {}).items() if (ref := _ref(given)) is not None}
    unasked = registry.fallbacks(registry.roles(method), model.modality)
    task, notes = live_task(
        model,
        samples,
        explanation.target,
        contrast=contrast,
        layer=recipe.get("layer", ""),
        seed=recipe.get("seed", 0),
        generator=component(registry, "generator", generator),
        models=HelpersInNeed(registry, {**unasked, **known, **models}),
        vocabulary=recipe.get("vocabulary", ()),
        renderings=registry.rendering,
    )
    if is_module(classifier) and recipe.get("preprocesses"):
        notes = [*notes, UNPREPARED]
    check_read(model, task.samples)
    with seeded(task.seed), outside_inference_mode(), temporary_folder() as folder:
        if hasattr(explainer, "apply"):
            found: Presence = explainer.apply(explanation, replace(task, workdir=folder))
        else:
            from xcore.models.presence import presence

            found = presence(explanation, model, task.samples)
    return replace(found, notes=(*found.notes, *notes)), task.samples


def _ref(described: Any) -> Ref | None:
    """The reference in a recipe; None where an object was used."""
    if not described or not described.get("text"):
        return None
    return Ref(described["text"], described.get("options") or {})
