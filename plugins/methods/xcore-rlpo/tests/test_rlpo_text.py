"""RLPO on texts: their words are the seeds, lists of words are the concepts; prompts without words are dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_rlpo.lists import share_near
from xcore_rlpo.options import Options
from xcore_rlpo.rlpo import Rlpo
from xcore_rlpo.rules import NO_WORDS

from xcore import highlight
from xcore.contract import Adapter, Explanation, MissingError, Modality, NotApplicable, Samples, Task, XcoreError
from xcore.models.classifiers import TorchClassifier
from xcore.run.live import LiveData, words_of
from xcore.run.random_sets import RandomSets

GROUPS = (("superb", "great", "fine"), ("awful", "poor", "bad"), ("film", "movie", "picture"), ("monday", "friday"))
PULL = {"superb": 1.0, "great": 1.2, "fine": 0.8, "awful": -1.0, "poor": -0.9, "bad": -1.1}
WORDS = tuple(w for group in GROUPS for w in group)
TEXTS = ("a superb film", "the movie on monday", "a great picture", "superb friday", "an awful but great film")
ENGLISH = (*WORDS, *(f"{a}{b}" for a in "bcdfgh" for b in ("an", "en", "in", "on", "un")))


class Bag(torch.nn.Module):
    """Logit of "yes": a saturating sum of what the words pull."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(len(ENGLISH), 6)
        self.out = torch.nn.Linear(6, 2)
        pull = torch.tensor([PULL.get(w, 0.0) for w in ENGLISH])
        with torch.no_grad():
            self.hidden.weight.copy_(0.05 * torch.randn(6, len(ENGLISH), generator=torch.Generator().manual_seed(0)))
            self.hidden.weight[0] = pull
            self.hidden.bias.zero_()
            self.out.bias.zero_()
            self.out.weight.copy_(torch.tensor([[-1.0] + [0.0] * 5, [1.0] + [0.0] * 5]))

    def forward(self, counts: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(counts)))


def count(texts: Sequence[str]) -> Tensor:
    split = [text.replace(",", "").split() for text in texts]
    return torch.tensor([[words.count(w) for w in ENGLISH] for words in split]).float()


class Speaker:
    """Says two or three words of the asked word's group (random words to unknown ones); nothing to `mute` words.

    With `silent`, an adapted speaker says nothing any more; with `stutter`, it says nothing to odd seeds.
    """

    modality: Modality = "text"
    fingerprint = "speaker"
    can = frozenset({"adapt"})

    def __init__(self, mute: Sequence[str] = (), silent: bool = False, stutter: bool = False) -> None:
        self.mute, self.silent, self.stutter = mute, silent, stutter

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        lists: list[tuple[str, ...]] = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            pool = next((g for g in GROUPS if prompt in g), ENGLISH[len(WORDS) :])
            rng = torch.Generator().manual_seed(seed % 2**40)
            order = torch.randperm(len(pool), generator=rng)[: 2 + seed % 2].tolist()
            quiet = prompt in self.mute or (self.silent and adapter is not None) or (self.stutter and seed % 2)
            lists.append(() if quiet else tuple(pool[i] for i in order))
        ids = tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True))
        meta = {"prompt": tuple(prompts), "words": tuple(lists), "answer": ("I do not know.",) * len(lists)}
        return Samples("text", tuple(", ".join(words) for words in lists), ids, meta=meta)

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        assert len(preferred) == len(rejected) >= 2
        assert all(preferred.texts)
        assert all(rejected.texts)
        return Adapter({"x": torch.zeros(1)}, {}, f"after {adapter.digest if adapter else 'nothing'}"), {"margin": 0.0}


class Counts:
    """A text embedder that counts words."""

    name = "counts"

    def embed(self, samples: Samples) -> Tensor:
        return count(samples.texts) + 0.01


COUNTS = Counts()


class Groups:
    """A text embedder in whose embedding the words of a group are alike."""

    name = "groups"

    def embed(self, samples: Samples) -> Tensor:
        rows = count(samples.texts)
        of_groups = torch.stack([rows[:, [ENGLISH.index(w) for w in group]].sum(1) for group in GROUPS], 1)
        return torch.cat([of_groups, 0.2 * rows], 1) + 0.01


def explain(
    tmp_path: Path, speaker: Speaker, texts: Sequence[str] = TEXTS, embedder: Any = COUNTS, **options: Any
) -> Explanation:
    samples = Samples("text", tuple(texts), tuple(f"t/{i}" for i in range(len(texts))))
    data = LiveData(samples, "yes", None, ENGLISH)
    task = Task(
        classifier=TorchClassifier(Bag(), ("no", "yes"), preprocess=count, modality="text", default_layer="hidden"),
        layer="hidden",
        target=1,
        samples=samples,
        random_set=RandomSets(data, "yes", "train", seed=0, generator=Speaker(), vocabulary=ENGLISH, pool_size=40),
        data=data,
        seed=0,
        vocabulary=words_of(samples),
        generator=speaker,
        model=lambda role: {"text-embedder": embedder}[role],
        roles=("text-embedder",) if embedder else (),
        workdir=tmp_path,
    )
    return Rlpo(Options(**{"steps": 6, "n": 6, "negatives": 8, "shown": 4, "search": "random", **options})).explain(
        task
    )


def test_words_of_the_texts_become_concepts_and_the_planted_ones_lead(tmp_path: Path) -> None:
    found = explain(tmp_path, Speaker())
    names = [c.name for c in found.concepts]
    assert set(names) == {w for text in TEXTS for w in text.split()} - {"a", "an", "the", "on", "but"}
    assert set(names[:2]) == {"superb", "great"}
    assert names[-1] == "awful"
    first, last = found.concepts[0], found.concepts[-1]
    assert first.importance > 0.3 > -0.3 > last.importance
    assert set(first.words) == {"superb", "great", "fine"}
    assert first.words[0] == first.name
    assert first.samples is not None
    assert first.samples.modality == "text"
    assert first.maps is None
    assert first.render == "generated:speaker"
    assert first.local is not None
    assert first.local.shape == (len(TEXTS),)
    assert float(first.local.mean()) == pytest.approx(first.importance, abs=0.1)


def test_one_adapter_for_all_lists_gives_what_it_gave(
    tmp_path: Path, as_before: Callable[[str, Explanation], None]
) -> None:
    as_before("texts", explain(tmp_path, Speaker(), rank="tcav", adapters="one", reward="ts"))


@pytest.mark.parametrize("options", [{}, {"prompts": ("great", "boring")}])
def test_a_grid_of_patches_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match=r"rlpo.grid=3 cuts images into patches, but these samples are texts"):
        explain(tmp_path, Speaker(), grid=3, **options)


def test_words_without_an_answer_are_left_out_with_a_note(tmp_path: Path) -> None:
    found = explain(tmp_path, Speaker(mute=("film", "monday")))
    assert not {"film", "monday"} & {c.name for c in found.concepts}
    assert any("2 seed words (film, monday) left out: the generator gives no words" in note for note in found.notes)


def test_a_generator_without_any_answer_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        MissingError, match=r"no list of words for any of the 8 seed words; its answer to .* begins 'I do not know.'"
    ):
        explain(tmp_path, Speaker(mute=WORDS))


def test_answers_that_are_missing_now_and_then_are_dropped_in_pairs(tmp_path: Path) -> None:
    found = explain(tmp_path, Speaker(stutter=True))  # Speaker.adapt asserts that pairs are whole
    assert {c.name for c in found.concepts[:2]} == {"superb", "great"}
    assert all(text for c in found.concepts if c.samples for text in c.samples.texts)


def test_a_generator_that_its_updates_silence_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(XcoreError, match=r"after 1 update the generator gives fewer than two lists of words for every"):
        explain(tmp_path, Speaker(silent=True), update_rule="always", steps=3, adapters="one")


def test_the_error_about_a_generator_that_seldom_answers_does_not_blame_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker()
    first = speaker.generate(WORDS * 2, range(2 * len(WORDS)))
    answers = iter([first.take([i // 2 + i % 2 * len(WORDS) for i in range(len(first))])])
    mute = Speaker(mute=WORDS)
    monkeypatch.setattr(speaker, "generate", lambda *given: next(answers, None) or mute.generate(*given))
    with pytest.raises(XcoreError, match=r"without any update .*\(it seldom answers with a list"):
        explain(tmp_path, speaker, steps=3)


def test_a_step_without_words_pays_nothing_and_is_marked_in_the_trace(tmp_path: Path) -> None:
    calls: list[str] = []
    speaker = Speaker()
    generate = speaker.generate

    def once(prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        drawn = generate(prompts, seeds, adapter)
        calls.append(prompts[0])
        if len(calls) != 3:  # the second step: after the words that are asked first, and the first step
            return drawn
        return Samples("text", ("",) * len(drawn), drawn.ids, meta={**drawn.meta, "words": ((),) * len(drawn)})

    speaker.generate = once  # type: ignore[method-assign]
    found = explain(tmp_path, speaker, update=False, reward="ts")
    assert [row["rule"] == NO_WORDS for row in found.trace] == [False, True, False, False, False, False]
    assert found.trace[1]["reward"] == 0.0
    assert not found.trace[1]["updated"]


def test_one_text_is_explained_with_a_note_of_what_it_cannot_tell(tmp_path: Path) -> None:
    found = explain(tmp_path, Speaker(), ["a superb film on monday"])
    assert found.concepts[0].name == "superb"
    assert {c.name for c in found.concepts} == {"superb", "film", "monday"}
    assert all(c.local is not None and c.local.shape == (1,) for c in found.concepts)
    assert found.notes[0].startswith("one text is explained: for it each CAV has a TS of 0 or 1")


def test_lists_that_are_no_synonyms_are_flagged_in_evidence_note_and_page(tmp_path: Path) -> None:
    speaker = Speaker()
    generate = speaker.generate

    def wrong_for_film(prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        return replace(generate(["unheard" if p == "film" else p for p in prompts], seeds, adapter))

    speaker.generate = wrong_for_film  # type: ignore[method-assign]
    found = explain(tmp_path, speaker, embedder=Groups(), update=False, dedup=1.0)
    by_name = {c.name: c for c in found.concepts}
    assert by_name["superb"].evidence["near_words"] == 1
    assert by_name["film"].evidence["near_words"] == 0
    assert {name for name, c in by_name.items() if c.evidence["weak_list"]} == {"film"}
    assert any(note.startswith("1 of 8 lists are weak: by the text embedding") for note in found.notes)
    lines = {one.name: one.line for one in highlight(found, Samples("text", TEXTS, tuple(map(str, range(5))))).concepts}
    assert lines["film"].endswith(" [weak list]")
    assert not lines["superb"].endswith("]")


def test_lists_are_not_checked_without_an_embedder_and_a_note_says_so(tmp_path: Path) -> None:
    prompts = ("superb", "film")
    found = explain(tmp_path, Speaker(), embedder=None, prompts=prompts, state="activations")
    assert "weak_list" not in found.concepts[0].evidence
    assert any("was not checked: no text embedder is named" in note for note in found.notes)


def test_words_are_near_by_their_rank_among_random_words_whatever_the_scale() -> None:
    random = ENGLISH[len(WORDS) :]
    lists = [("great", "fine"), ("film", "monday"), ("great", random[0]), ()]
    seeds = ("superb", "superb", "superb", "superb")
    for scale in (1.0, 100.0):
        found = share_near(lambda x, by=scale: by * Groups().embed(x), seeds, lists, random)
        assert found == [1.0, 0.0, 0.5, 0.0]
