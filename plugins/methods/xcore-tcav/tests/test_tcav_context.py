"""TCAV in context: phrases that are more or less present in ordinary samples, with a reader that sees them exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from xcore_evidence.observed import PENALTY
from xcore_evidence.readings import pool_of, presence
from xcore_evidence.ridge import fit
from xcore_tcav.cav_files import apply
from xcore_tcav.context import scores_in_context
from xcore_tcav.layer_scores import open_scorer
from xcore_tcav.options import TcavOptions
from xcore_tcav.plugin import uses

from xcore.contract import Explanation, MissingError, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import TorchClassifier

Explain = Callable[..., Explanation]
PHRASES = ("up", "down", "beside", "nothing")
"""Phrase i is how bright pixel i is. `beside` mostly comes with `up`, and the class does not respond to it."""


def scenes(n: int, seed: int) -> Samples:
    rng = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.02 * torch.randn(n, 3, 4, 4, generator=rng)
    lifts = 0.2 * torch.randn(n, 4, generator=rng)
    lifts[:, 2] = 0.8 * lifts[:, 0] + 0.6 * lifts[:, 2]
    x[:, 0, 0] += lifts
    return Samples("image", x.clamp(0, 1), tuple(f"{seed}/{i}" for i in range(n)))


class Scenes:
    """A data set of two classes that show the phrases alike."""

    modality = "image"
    classes = ("yes", "no")

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        return scenes(min(n, 200 if split == "train" else 0), 2 + self.classes.index(cls))


class Reader:
    """Reads the first four pixels, and how bright the rest is, which makes the vectors alike in length."""

    def embed_images(self, samples: Samples) -> Tensor:
        seen = samples.images[:, 0, 0] - 0.5
        return torch.cat([seen, torch.full((len(seen), 1), 3.0)], 1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(5)[[PHRASES.index(text) for text in texts]]


class Bent(nn.Module):
    """The logit of `yes` rises with pixel 0 and falls with pixel 1; the slopes differ from picture to picture."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        a = 4 * (self.seen(x) - 0.5)
        y = torch.tanh(a[:, 0]) - torch.tanh(a[:, 1])
        return torch.stack((y, -y), 1)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    def model(role: str) -> Any:
        assert role == "image-text"
        return Reader()

    return Task(
        TorchClassifier(Bent(), ["yes", "no"], input_size=4),
        "seen",
        0,
        scenes(24, 1),
        lambda *asked: pytest.fail("no random set is needed"),  # type: ignore[arg-type]
        Scenes(),  # type: ignore[arg-type]
        seed=0,
        vocabulary=PHRASES,
        model=model,
        roles=("image-text",),
        workdir=tmp_path,
    )


def test_phrases_are_ranked_marked_and_shown(task: Task, explain: Explain) -> None:
    got = explain(task, source="context", shown=6)
    assert (got.concepts[0].name, got.concepts[-1].name) == ("up", "down")
    marks = {c.name: c.evidence["mark"] for c in got.concepts}
    assert (marks["up"], marks["nothing"], marks["down"]) == (1, 0, -1)
    up = got.concepts[0]
    beside = next(c for c in got.concepts if c.name == "beside")
    assert beside.importance < 0.8 * up.importance, "the ridge shares an effect, but by less than the correlation"
    assert up.importance == pytest.approx(up.evidence["effect"], abs=1e-5) == pytest.approx(float(up.local.mean()))
    assert up.evidence["lo"] < up.evidence["effect"] < up.evidence["hi"]
    assert up.evidence["ts"] == 1
    assert float(up.directions["seen"].norm()) == pytest.approx(1, abs=1e-5)
    assert int(up.directions["seen"].argmax()) == 0
    shown = up.samples
    assert len(shown) == 6
    assert {name.partition("/")[0] for name in shown.ids} == {"3"}, "samples of other classes"
    assert float(shown.images[:, 0, 0, 0].min()) > 0.75
    assert any(note.startswith("of 4 phrases") and "1 lower it" in note for note in got.notes)
    assert set(got.files) == {"bars.png", "cavs.safetensors", "cavs.json"}
    found = apply(task.workdir, task.classifier, task.samples)["seen"]
    torch.testing.assert_close(found.mean(0), torch.tensor([c.importance for c in got.concepts]), atol=1e-5, rtol=1e-4)


def test_the_sensitivity_is_the_coefficient_of_the_activations_along_the_gradient(task: Task) -> None:
    """V g, computed from the CAVs themselves, beside the regression that gives its standard errors."""
    scorer, pool = open_scorer(task, "seen", TcavOptions()), pool_of(task, 400, 300)
    read = presence(task, pool.samples, PHRASES)
    found = scores_in_context(scorer, PHRASES, pool, read, 0.05, 0)
    g = scorer.gradients.mean(0)
    direct = (found.cavs * found.lengths[:, None].float()) @ g
    torch.testing.assert_close(torch.tensor([e.effect for e in found.evidence.estimates]), direct, atol=1e-5, rtol=1e-3)
    alone = fit(read, scorer.activations(pool.samples).double() @ g.double(), penalty=PENALTY)
    assert [e.error for e in found.evidence.estimates] == pytest.approx(alone.errors.tolist())


def test_permuted_presence_is_seldom_marked(task: Task) -> None:
    scorer, pool = open_scorer(task, "seen", TcavOptions()), pool_of(task, 400, 300)
    read = presence(task, pool.samples, PHRASES)
    p = []
    for seed in range(60):
        order = torch.randperm(len(read), generator=torch.Generator().manual_seed(seed))
        made = scores_in_context(scorer, PHRASES, pool, read[order], 0.05, 0).evidence.estimates
        p += [x for e in made for x in (e.p, e.p_against)]
    share = sum(x <= 0.05 for x in p) / len(p)
    assert share <= 0.05 + 2 * (0.05 * 0.95 / len(p)) ** 0.5


def test_several_layers_and_chosen_phrases(task: Task, explain: Explain) -> None:
    class Twice(Bent):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            a = 4 * (self.again(self.seen(x)) - 0.5)
            y = torch.tanh(a[:, 0]) - torch.tanh(a[:, 1])
            return torch.stack((y, -y), 1)

    both = replace(task, classifier=TorchClassifier(Twice(), ["yes", "no"], input_size=4))
    got = explain(both, source="context", layers="seen,again", concepts="down,up")
    assert [c.name for c in got.concepts] == ["up", "down"]
    assert got.concepts[0].evidence["effect@seen"] == pytest.approx(got.concepts[0].evidence["effect@again"], rel=1e-3)
    assert set(got.files) == {"bars.png", "bars-2.png", "cavs.safetensors", "cavs.json"}
    assert got.importance_is.endswith("mean over seen, again")


def test_what_context_cannot_do_is_one_line(task: Task, explain: Explain) -> None:
    with pytest.raises(UsageError, match="already learned beside all others"):
        explain(task, source="context", against="up")
    with pytest.raises(MissingError, match=r"tcav\.concepts=a,b,c"):
        explain(replace(task, vocabulary=("yes stripes",)), source="context")
    few = Scenes()
    few.samples = lambda cls, split, n, seed: scenes(6, 4)  # type: ignore[method-assign]
    with pytest.raises(NotApplicable, match="too few for 4 phrases in context"):
        explain(replace(task, data=few), source="context")
    assert uses(TcavOptions(source="context")) == ("image-text",)
