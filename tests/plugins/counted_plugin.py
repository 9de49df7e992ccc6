"""A small world whose network and data set count what they are asked for (see `tests/shared/counted_world.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from xcore import hookimpl

CLASSES = ("bars", "dots", "plain", "grid")
CONCEPTS = ("lines", "spots", "mist")


class Data:
    """40 pictures of each class in each split."""

    modality = "image"
    classes = CLASSES
    concepts = CONCEPTS
    vocabulary = CONCEPTS
    defaults: Mapping[str, str] = {"classifier": "counted-net"}
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def samples(self, cls: str, split: str, n: int, seed: int) -> object:
        from counted_world import GIVEN, pictures

        n = min(n, 40)
        GIVEN[split] += n
        return pictures(cls, n, 10 * seed + ("train", "explain", "heldout").index(split))

    def concept(self, name: str, n: int, seed: int) -> object:
        from counted_world import GIVEN, pictures

        GIVEN["concept"] += n
        return pictures(name, n, 10 * seed)

    def truth(self, classifier: str) -> None:
        return None


def make_net(options: object) -> object:
    from counted_world import WATCHED, Passes
    from small_networks import net

    from xcore.models.classifiers import TorchClassifier

    module = net(outputs=len(CLASSES))
    WATCHED.append(Passes(module.f1[0], module.fc))
    return TorchClassifier(module, CLASSES, input_size=32)


@hookimpl
def register_datasets(register: object) -> None:
    register("counted", lambda options: Data(), summary="bars, dots and others")


@hookimpl
def register_classifiers(register: object) -> None:
    register("counted-net", make_net, summary="a net that counts")
