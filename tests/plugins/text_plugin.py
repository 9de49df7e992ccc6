"""A small world of text in one plugin file: sentences, a classifier that counts words, a method that finds them."""

from __future__ import annotations

from collections.abc import Mapping

from xcore import hookimpl

TEXTS = (
    "A lackluster plot; LACKLUSTER acting.",
    "Tedious [bold]and[/bold] <b>ugly</b> & 'plain' \x1b[31m映画",
    "It is brilliant, not tedious.",
    "Nothing here.",
    "",
)
WEIGHTS = {"lackluster": 2.0, "tedious": 1.0, "brilliant": -1.5}
LISTS = {
    "lackluster": ("lackluster", "bland", "dull", "uninspired", "flat"),
    "tedious": ("tedious", "slow"),
    "brilliant": ("brilliant",),
}


def told(text: str) -> float:
    from xcore.inputs.words import words

    return sum(WEIGHTS.get(word, 0.0) for word in words(text))


def make_data(options: object) -> object:
    from xcore.contract import Samples

    class Data:
        modality = "text"
        classes = ("negative", "positive")
        concepts: tuple[str, ...] = ()
        vocabulary = tuple(WEIGHTS)
        defaults: Mapping[str, str] = {"classifier": "counting"}
        skipped: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()

        def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
            texts = TEXTS[:n]
            return Samples("text", texts, tuple(f"said/{split}/{i}" for i in range(len(texts))))

        def concept(self, name: str, n: int, seed: int) -> Samples:
            raise KeyError(name)

        def truth(self, classifier: str) -> None:
            return None

    return Data()


def make_classifier(options: object) -> object:
    import torch

    from xcore.contract import Samples

    class Counting:
        modality = "text"
        classes = ("negative", "positive")
        can: frozenset[str] = frozenset()
        layers: tuple[str, ...] = ()
        default_layer = ""

        def logits(self, x: Samples) -> torch.Tensor:
            found = torch.tensor([told(text) for text in x.texts])
            return torch.stack([found, -found], 1)

        def open(self, layer: str) -> object:
            raise NotImplementedError

    return Counting()


class Finds:
    """The words that the classifier counts, with the weights that it counts them with."""

    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        import torch

        from xcore.contract import Concept, Explanation, Samples

        concepts = [
            Concept(
                name,
                WEIGHTS[name],
                Samples("text", (", ".join(LISTS[name]),), (f"list/{name}",)),
                words=LISTS[name],
                local=torch.tensor([WEIGHTS[name] * (1 + i) for i in range(len(task.samples))]),
            )
            for name in sorted(WEIGHTS, key=lambda n: -abs(WEIGHTS[n]))
        ]
        return Explanation("finds", task.target_name, "weight", tuple(concepts))


@hookimpl
def register_datasets(register) -> None:
    register("said", make_data, summary="sentences", modalities=("text",))


@hookimpl
def register_classifiers(register) -> None:
    register("counting", make_classifier, summary="counts words", modalities=("text",))


@hookimpl
def register_explainers(register) -> None:
    register("finds", Finds, summary="the words that are counted", modalities=("text",))
