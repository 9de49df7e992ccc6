"""The cards of the commands. This module imports nothing heavy."""

from __future__ import annotations

from xcore.contract import Register, hookimpl


@hookimpl
def register_commands(register: Register) -> None:
    """Register the commands; each is a function of `xcore` in Python, too."""
    register(
        "shift",
        "xcore_acting.shift:app",
        summary="compare two versions of a classifier, concept by concept",
        call="xcore_acting.shift:shift",
        modalities=("image", "text"),
    )
    register(
        "finetune",
        "xcore_acting.finetune:app",
        summary="fine-tune a classifier on drawn, masked or augmented images of a class",
        call="xcore_acting.finetune:finetune",
        modalities=("image", "text"),
    )
    register(
        "ask",
        "xcore_acting.ask:app",
        summary="ask whether a classifier uses concepts that you name, and whether pairs differ",
        call="xcore_acting.ask:ask",
        modalities=("image", "text"),
    )
    register(
        "failures",
        "xcore_acting.failures:app",
        summary="name the combinations of tags under which a classifier fails most",
        call="xcore_acting.failures:failures",
        modalities=("image", "text"),
    )
    register(
        "trajectory",
        "xcore_acting.trajectory:app",
        summary="follow what prompts draw while a generator is tuned to them, and how that is classified",
        call="xcore_acting.trajectory:trajectory",
        modalities=("image", "text"),
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    """Register what opens the classifiers that `xcore finetune` wrote."""
    register(
        "tuned",
        "xcore_acting.finetune_tuned:tuned",
        summary="a classifier that `xcore finetune` wrote; the argument is its --out folder",
        fingerprint="xcore_acting.finetune_tuned:fingerprint",
        argument="DIR",
        modalities=("image", "text"),
    )
