"""A plugin as authors wrote it for version 1 of the hooks. It is never edited: plugins like it must load for good."""

from xcore import hookimpl


def uses(options):
    return ("vqa?",)


@hookimpl
def register_explainers(register):
    register(
        "old",
        "old.method:Old",
        summary="a method",
        options="old.options:Options",
        files=("weights",),
        fingerprint="old.plugin:fingerprint",
        needs=("gradients", "activations", "generator", "concepts", "vocabulary"),
        uses=("segmenter", "vqa?", "generator", "palette"),
        modalities=("image", "text"),
        paper="Old et al., 2026",
        api=1,
    )
    register("old-by-options", lambda options: None, summary="", uses="old.plugin:uses", needs=["activations"])


@hookimpl
def register_generators(register):
    register("old", "old.draw:Draw", summary="a generator", own_data=True, argument="DIR")


@hookimpl
def register_classifiers(register):
    register("old/net", "old.net:Net", summary="a classifier", argument="[ID]", claims="old.plugin:claims")


@hookimpl
def register_metrics(register):
    register(
        "Old-1", "old.judge:Judge", summary="a metric", across=("seed", "classifier"), caveat="is old", column=False,
        details=("a", "b"),
    )  # fmt: skip


@hookimpl
def register_datasets(register):
    register("old", "old.data:Data", summary="a data set", fingerprint=lambda options, argument: "1")


@hookimpl
def register_models(register):
    register("old", "old.see:See", role="palette", default=True, own_data=False, summary="a model")
    register("old-two", "old.see:See", role=("vqa", "captioner"), summary="a model of two roles")


@hookimpl
def register_renderings(register):
    register("old", "old.render:make", summary="a rendering")


@hookimpl
def register_engines(register):
    register("old", "old.engine:Engine", summary="an engine")


@hookimpl
def register_trackers(register):
    register("old", "old.track:Tracker", summary="a tracker")


@hookimpl
def register_commands(register):
    register("old", "old.commands:app", summary="a command", call="old.commands:old")
