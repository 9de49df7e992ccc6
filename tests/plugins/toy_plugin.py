"""A whole small world in one plugin file: data, classifier, methods that behave and methods that do not, a metric."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from xcore import hookimpl
from xcore.contract import Options

COLOURS = ("red", "green", "blue")


def make_data(options: object) -> object:
    import torch

    from xcore.contract import Samples

    class Data:
        modality = "image"
        classes = COLOURS
        concepts: tuple[str, ...] = ()
        vocabulary = ("red", "green", "blue", "dark")
        defaults: Mapping[str, str] = {"classifier": "toy-net"}
        skipped: tuple[str, ...] = ("toy/broken.png: not an image",)
        notes: tuple[str, ...] = ()

        def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
            n = min(n, 100)  # there are no more
            offset = {"train": 0, "explain": 1, "heldout": 2}[split]
            generator = torch.Generator().manual_seed(1000 * seed + offset)
            names = COLOURS if cls is None else (cls,)
            labels = torch.tensor([COLOURS.index(names[i % len(names)]) for i in range(n)])
            images = torch.rand(n, 3, 16, 16, generator=generator) * 0.5
            images[torch.arange(n), labels] += 0.5
            ids = tuple(f"toy/{split}/{cls}/{seed}/{i}" for i in range(n))
            return Samples("image", images, ids, labels)

        def concept(self, name: str, n: int, seed: int) -> Samples:
            raise KeyError(name)

        def truth(self, classifier: str) -> None:
            return None

    return Data()


def make_data_from_file(options: object) -> object:
    """The same colours, read from a file in a manner of speaking: the card has the file's content as fingerprint."""
    return make_data(options)


def file_fingerprint(options: object, argument: str | None) -> str:
    return Path(os.environ["TOY_FILE"]).read_text()


def make_net(options: object) -> object:
    import torch

    from xcore.models.classifiers import TorchClassifier

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )
    return TorchClassifier(net, COLOURS)


class Crops:
    """One concept a quarter of the image; counts how often it really ran."""

    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        import torch

        from xcore.contract import Concept, Explanation, Samples

        if counter := os.environ.get("TOY_COUNTER"):
            with Path(counter).open("a") as file:
                file.write(f"{task.seed}\n")
        generator = torch.Generator().manual_seed(task.seed)
        concepts = []
        for i in range(3):
            chosen = torch.randint(len(task.samples), (4,), generator=generator)
            images = task.samples.images[chosen]
            samples = Samples("image", images, tuple(f"{task.samples.ids[j]}#{i}" for j in chosen.tolist()))
            maps = torch.ones(len(task.samples), 16, 16)
            concepts.append(Concept(f"part {i}", 1.0 / (i + 1), samples, source=chosen, maps=maps))
            task.progress(i + 1, 3)
        return Explanation("toy", task.target_name, "nothing in particular", tuple(concepts), trace=({"step": 0},))


class Crash(Crops):
    def explain(self, task: object) -> object:
        if task.seed == 1:
            raise ValueError("seed 1 is unlucky\nand this line is not shown")
        return super().explain(task)


class Skip(Crops):
    def explain(self, task: object) -> object:
        from xcore.contract import NotApplicable

        raise NotApplicable("not for this model", "try another")


class Nan(Crops):
    def explain(self, task: object) -> object:
        from dataclasses import replace

        made = super().explain(task)
        return replace(made, concepts=(replace(made.concepts[0], importance=float("nan")),))


class Kill(Crops):
    """Dies like a killed process, the first time."""

    def explain(self, task: object) -> object:
        import signal

        marker = Path(os.environ["TOY_MARKER"])
        if task.seed == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().explain(task)


class Rude(Crops):
    """Draws from the global generators, as libraries do, and prints."""

    def explain(self, task: object) -> object:
        import random
        from dataclasses import replace

        import numpy as np
        import torch

        print("noise on stdout")
        made = super().explain(task)
        draw = random.random() + float(np.random.rand()) + float(torch.rand(1))
        return replace(made, concepts=(replace(made.concepts[0], importance=draw),))


class ToyOptions(Options):
    k: int = 1


class Tuned(Crops):
    """Takes an option, by which it makes something that its cells share."""

    def __init__(self, options: object) -> None:
        self.k = options.k

    def explain(self, task: object) -> object:
        def make(folder: Path) -> None:
            (folder / "shared.txt").write_text("x" * 1000)

        task.artifact("tuning", {"k": self.k}, make)
        return super().explain(task)


class Shade:
    """Takes an option, which changes nothing."""

    direction = "none"
    needs = frozenset({"samples"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        return [Score("shade", None, 0.5)]


class Judged(Shade):
    """Asks a helper model."""

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        return [Score("judged", None, runs[0].task.model("judge"))]


class Singles(Shade):
    """Keeps its single observations."""

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        about = {"spread": 0.5, "over": "pairs", "n": 2, "samples": (0.25, 0.75), "details": {"chance": 0.1}}
        return [Score("singles", 0, 0.5, **about)]


class Brightness:
    direction = "higher"
    needs = frozenset({"samples:image"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        if os.environ.get("TOY_METRIC_FAILS"):
            raise ValueError("the metric is unwell")
        concepts = runs[0].explanation.concepts
        return [
            Score("brightness", i, float(c.samples.images.mean()), n=len(c.samples)) for i, c in enumerate(concepts)
        ]


class Spread:
    """Over seeds: the range of the first concept's brightness."""

    direction = "lower"
    needs = frozenset({"samples"})

    def __init__(self, options: object) -> None:
        pass

    def score(self, runs: object) -> list[object]:
        from xcore.contract import Score

        values = [float(r.explanation.concepts[0].samples.images.mean()) for r in runs]
        return [Score("spread", None, max(values) - min(values), n=len(values))]


class Backwards:
    """An engine that runs the last cell first."""

    def __init__(self, options: object) -> None:
        pass

    def run(self, cells: object, work: object) -> object:
        for cell in reversed(list(cells)):
            yield work(cell)


@hookimpl
def register_engines(register: object) -> None:
    register("backwards", Backwards, summary="the last cell first")


@hookimpl
def register_datasets(register: object) -> None:
    register("toy", make_data, summary="three colours")
    register("toy-file", make_data_from_file, summary="three colours of a file", fingerprint=file_fingerprint)


@hookimpl
def register_models(register: object) -> None:
    register("strict", lambda options: 1.0, summary="a judge", role="judge")
    register("mild", lambda options: 0.5, summary="another judge", role="judge")


@hookimpl
def register_classifiers(register: object) -> None:
    register("toy-net", make_net, summary="a net that was never trained")


@hookimpl
def register_explainers(register: object) -> None:
    for name, method in (
        ("toy", Crops),
        ("crash", Crash),
        ("skip", Skip),
        ("nan", Nan),
        ("kill", Kill),
        ("rude", Rude),
    ):
        register(name, method, summary=f"{name}: a method for tests")
    register("tuned", Tuned, summary="a method with an option", options="xcore_file_toy_plugin:ToyOptions")
    register("asks", Crops, summary="a method that asks a model if there is one", uses=("judge?",))
    register("reader", Crops, summary="a method for texts", modalities=("text",))


@hookimpl
def register_metrics(register: object) -> None:
    register("brightness", Brightness, summary="mean brightness")
    register("shade", Shade, summary="a metric with an option", options="xcore_file_toy_plugin:ToyOptions")
    register("singles", Singles, summary="keeps its observations")
    register("judged", Judged, summary="what a model says", uses=("judge",))
    register("spread", Spread, summary="range over seeds", across=("seed",))
