"""A small world of texts in one plugin file: reviews whose class is the sum of known word weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xcore import hookimpl

WEIGHTS = {"good": 2.0, "great": 1.5, "lovely": 1.0, "bad": -2.0, "awful": -1.5, "dull": -1.0}
NEUTRAL = ("film", "plot", "actor", "music", "story", "evening")
WORDS = (*WEIGHTS, *NEUTRAL)
CLASSES = ("negative", "positive")
SYNONYMS = {"good": ("great", "lovely"), "bad": ("awful", "dull"), "film": ("story", "plot"), "plot": ("story",)}


def make_net(options: object) -> object:
    import torch

    from xcore.inputs.words import words
    from xcore.models.classifiers import TorchClassifier

    class Bag(torch.nn.Module):
        """The class logit is half the sum of the weights of the words, for unknown words and no words 0."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding.from_pretrained(
                torch.cat([torch.zeros(2, len(WORDS)), torch.eye(len(WORDS))]), freeze=False
            )
            self.bag = torch.nn.Identity()
            self.head = torch.nn.Linear(len(WORDS), 2, bias=False)
            weights = torch.tensor([WEIGHTS.get(w, 0.0) for w in WORDS])
            self.head.weight = torch.nn.Parameter(torch.stack([-weights / 2, weights / 2]))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.bag(self.embedding(ids).sum(1)))

    def numbers(texts: Sequence[str]) -> torch.Tensor:
        rows = [[WORDS.index(w) + 2 if w in WORDS else 1 for w in words(text)] for text in texts]
        wide = max(1, *map(len, rows)) if rows else 1
        return torch.tensor([row + [0] * (wide - len(row)) for row in rows])

    return TorchClassifier(Bag(), CLASSES, preprocess=numbers, modality="text", default_layer="bag")


def make_data(options: object) -> object:
    import numpy as np
    import torch

    from xcore.contract import Samples, Truth

    class Data:
        modality = "text"
        classes = CLASSES
        concepts = ("praise", "scorn")
        vocabulary = WORDS
        defaults: Mapping[str, str] = {"classifier": "bag", "text-embedder": "letters", "generator": "thesaurus"}
        skipped: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()

        def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
            rng = np.random.default_rng([seed, {"train": 0, "explain": 1, "heldout": 2}[split]])
            labels = [i % 2 if cls is None else CLASSES.index(cls) for i in range(n)]
            signed = [[w for w, x in WEIGHTS.items() if (x > 0) == bool(label)] for label in labels]
            rows = [(*rng.choice(own, 2, replace=False), *rng.choice(NEUTRAL, 3, replace=False)) for own in signed]
            texts = tuple(f"The {c} was {a}, and {b} the {d}: a {e}." for a, b, c, d, e in rows)
            ids = tuple(f"{split}/{cls}/{seed}/{i}" for i in range(n))
            return Samples("text", texts, ids, torch.tensor(labels))

        def concept(self, name: str, n: int, seed: int) -> Samples:
            rng = np.random.default_rng([seed, 9])
            own = [w for w, x in WEIGHTS.items() if (x > 0) == (name == "praise")]
            texts = tuple(f"{a} {b}" for a, b in zip(rng.choice(own, n), rng.choice(NEUTRAL, n), strict=True))
            return Samples("text", texts, tuple(f"{name}/{i}" for i in range(n)))

        def truth(self, classifier: str) -> Truth:
            effects = {f"word={w}": (x, x - 0.1, x + 0.1) for w, x in WEIGHTS.items()}
            return Truth(
                {"positive": effects, "negative": {v: (-x, -hi, -lo) for v, (x, lo, hi) in effects.items()}},
                {"positive": 3.0, "negative": 3.0},
                {w: frozenset({f"word={w}"}) for w in WEIGHTS},
            )

    return Data()


class Planted:
    """Words with their true weights, two unknown ones, one of them with a synonym; sizes as the class has them."""

    def __init__(self, options: object) -> None:
        pass

    def explain(self, task: object) -> object:
        import torch

        from xcore.contract import Concept, Explanation, Samples
        from xcore.inputs.words import words

        sign = 1 if task.target else -1
        concepts = []
        for i, name in enumerate(sorted((*WEIGHTS, "film", "plot"), key=lambda w: -sign * WEIGHTS.get(w, 0.0))):
            own_words = ("film", "great", "movie") if name == "film" else (name,)
            local = torch.tensor([float(words(t).count(name)) for t in task.samples.texts])
            weight = sign * WEIGHTS.get(name, 0.0)
            samples = Samples("text", (name, f"{name} {name}"), (f"{i}/0", f"{i}/1"))
            concepts.append(Concept(name, weight, samples, own_words, local=local * weight))
        return Explanation("planted", task.target_name, "weight of the word", tuple(concepts))


def make_letters(options: object) -> object:
    import torch

    class Letters:
        name = "letters"

        def embed(self, samples: object) -> torch.Tensor:
            return torch.tensor([[float(t.lower().count(chr(97 + i))) for i in range(26)] for t in samples.texts])

    return Letters()


def make_thesaurus(options: object) -> object:
    import numpy as np

    from xcore.contract import NotApplicable, Samples

    class Thesaurus:
        modality = "text"
        fingerprint = "thesaurus"
        can = frozenset[str]()

        def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: object = None) -> Samples:
            lists = []
            for prompt, seed in zip(prompts, seeds, strict=True):
                rng, own = np.random.default_rng(seed), SYNONYMS.get(prompt, ())
                lists.append(tuple(own[i] for i in rng.permutation(len(own))[: 1 + int(rng.integers(2))]))
            ids = tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True))
            meta = {"prompt": tuple(prompts), "seed": tuple(seeds), "words": tuple(lists)}
            return replace(Samples("text", tuple(", ".join(own) for own in lists), ids), meta=meta)

        def adapt(self, *args: object, **more: object) -> object:
            raise NotApplicable("this generator cannot be adapted", "draw with it as it is")

    return Thesaurus()


@hookimpl
def register_datasets(register: object) -> None:
    register("tiny-reviews", make_data, summary="reviews of known words", modalities=("text",))


@hookimpl
def register_classifiers(register: object) -> None:
    register("bag", make_net, summary="the sum of word weights", modalities=("text",))


@hookimpl
def register_explainers(register: object) -> None:
    register("planted", Planted, summary="the true weights", modalities=("text",))


@hookimpl
def register_models(register: object) -> None:
    register("letters", make_letters, summary="counts of letters", role="text-embedder")


@hookimpl
def register_generators(register: object) -> None:
    register("thesaurus", make_thesaurus, summary="synonyms by a dictionary", modalities=("text",))
