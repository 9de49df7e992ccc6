"""The whole method in a made world: a network that reads a colour, a generator whose prompts have learnable ones."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_rlpo.options import Options
from xcore_rlpo.plugin import uses
from xcore_rlpo.rlpo import Rlpo
from xcore_rlpo.testing import COLOURS, Colours, Painter, Reader

from xcore.contract import Budget, Explanation, MissingError, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts

SIDE = 8
ONE_ADAPTER: dict[str, Any] = {"rank": "tcav", "adapters": "one", "reward": "ts"}
FAST: dict[str, Any] = {"n": 5, "negatives": 6, "gradient_steps": 1, "shown": 4, "rank_sets": 2}


def task(tmp_path: Path, target: int = 0, seed: int = 0, net: int | None = None, **kw: Any) -> Task:
    painter = Painter()
    rng = torch.Generator().manual_seed(5)
    images = torch.rand(20, 3, SIDE, SIDE, generator=rng) * 0.5
    images[:, target, :, 2:6] += 0.4
    samples = Samples("image", images, tuple(f"class/{i}" for i in range(20)))
    random_sets = RandomSets(
        None,  # type: ignore[arg-type]
        "",
        "train",
        seed=0,
        generator=Painter(),
        vocabulary=tuple(COLOURS),
    )
    made = Task(
        TorchClassifier(Reader(net), ["a red class", "a leafy class"], input_size=SIDE),
        "mix",
        target,
        samples,
        random_sets,
        data=None,  # type: ignore[arg-type]
        seed=seed,
        vocabulary=tuple(COLOURS),
        generator=painter,
        model=lambda role: Colours(),
        artifact=Artifacts(tmp_path / f"artifacts-{target}-{seed}-{net}").get,
        workdir=tmp_path,
    )
    return replace(made, **kw)


def run(made: Task, **options: Any) -> Explanation:
    return Rlpo(Options(**{**FAST, **options})).explain(made)


def plain(e: Explanation) -> Any:
    concepts = [
        (c.name, c.importance, dict(c.evidence), c.samples.digest if c.samples else "", c.directions["mix"].tolist())
        for c in e.concepts
    ]
    return json.loads(json.dumps([concepts, e.trace, e.notes], allow_nan=False))


def test_the_planted_prompt_comes_first_and_is_the_greedy_action(tmp_path: Path) -> None:
    got = run(task(tmp_path), steps=24, reward="ts")
    assert got.concepts[0].name == "red"
    assert got.concepts[0].importance > got.concepts[1].importance
    assert got.concepts[0].importance > 0
    q = {c.name: c.evidence["q_value"] for c in got.concepts}
    assert max(q, key=q.__getitem__) == "red"
    importances = [c.importance for c in got.concepts]
    assert importances == sorted(importances, reverse=True)
    assert {c.name for c in got.concepts} == set(COLOURS)
    assert (got.method, got.target) == ("rlpo", "a red class")


def test_the_other_class_asks_for_the_other_colour(tmp_path: Path) -> None:
    got = run(task(tmp_path, target=1), steps=0)
    assert got.concepts[0].name == "green"
    assert got.concepts[-1].evidence["effect"] < 0 < got.concepts[0].evidence["effect"]


def test_preference_tuning_raises_the_effect_of_a_vague_prompt(tmp_path: Path) -> None:
    how: dict[str, Any] = {"prompts": ["gray"], "search": "brute", "steps": 25, "patience": 0, "eta": 1.0}
    on = run(task(tmp_path), **how, adapt={"lr": 1.0})
    off = run(task(tmp_path), **how, update=False, reward="ts")
    assert on.concepts[0].importance > off.concepts[0].importance + 0.1
    assert [row["prompt"] for row in on.trace] == [row["prompt"] for row in off.trace]
    assert sum(row["updated"] for row in on.trace) > 5
    classify = task(tmp_path).classifier.logits
    before, after = (classify(e.concepts[0].samples)[:, 0].mean() for e in (off, on))
    assert after > before + 0.5, "the pictures moved towards the class"


def test_networks_with_random_weights_do_not_care(tmp_path: Path) -> None:
    effects = [
        c.importance
        for net in range(20)
        for c in run(task(tmp_path, net=net), steps=0, rank_sets=1).concepts
        if c.name == "red"
    ]
    assert abs(np.mean(effects)) < 2.5 * np.std(effects, ddof=1) / 20**0.5
    assert 4 <= sum(e > 0 for e in effects) <= 16


def test_what_a_concept_carries(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, steps=12)
    for i, c in enumerate(got.concepts):
        assert c.words == (c.name,)
        assert c.render.partition("+")[0] == "generated:painter"
        assert ("+" in c.render) == (c.evidence["updates"] > 0)
        assert c.samples.images.shape == (4, 3, SIDE, SIDE)
        assert c.samples.meta == {}
        assert (c.source == -1).all()
        assert c.directions["mix"].shape == (4 * SIDE * SIDE,)
        assert c.directions["mix"].norm().item() == pytest.approx(1, abs=1e-5)
        assert (c.maps is not None) == (i < 3)
        assert set(c.evidence) >= {"effect", "ts", "count", "q_value", "rank_prior", "prior", "effect_sd"}
        assert c.evidence["effect"] == c.importance
    first = got.concepts[0].maps
    assert first.shape == (20, SIDE, SIDE)
    assert (first >= 0).all()
    assert first[:, :, 3:5].mean() > 3 * first[:, :, :2].mean(), "the class images are red in the middle"
    assert sum(c.evidence["count"] for c in got.concepts) == len(got.trace)


def test_a_localiser_may_place_the_concepts(tmp_path: Path) -> None:
    class Brightest:
        def locate(self, images: Samples, examples: Samples) -> Tensor:
            assert len(examples) == FAST["shown"]
            return (images.images.mean(1) > examples.images.mean()).float()

    models = {"image-text": Colours(), "localiser": Brightest()}
    got = run(task(tmp_path, model=models.__getitem__), steps=0, places="localiser", maps=2)
    for c in got.concepts[:2]:
        assert torch.equal(c.maps, Brightest().locate(task(tmp_path).samples, c.samples))
    assert got.concepts[2].maps is None
    assert uses(Options(places="localiser")) == ("image-text", "text-embedder", "vqa?", "localiser")
    assert "localiser" not in uses(Options(places="localiser", maps=0))


def test_no_sample_serves_two_purposes(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, steps=6, search="brute", patience=0)
    drawn = made.generator.drawn
    assert {row["rule"] for row in got.trace} == {"max_below_eta", "max at eta"}
    followed = 3 * len(json.loads(got.files["trajectory.json"].read_text())["snapshots"]) if got.files else 0
    end = len(drawn) - 70 - followed
    steps, ranked, presented = drawn[:end], drawn[end : end + 50], drawn[end + 50 : end + 70]
    updates = sum(row["updated"] for row in got.trace)
    judged_at_the_end = updates - sum(
        row["prompt"] == "red" and row["step"] == 1 for row in got.trace if row["updated"]
    )
    assert len({s for _, s, _ in steps}) == 60 + 10 * judged_at_the_end, "every step draws new noise"
    assert all(n <= 2 for n in Counter(s for _, s, _ in steps).values()), "and is judged on new noise, by both adapters"
    ranking, shown = ({s for _, s, _ in part} for part in (ranked, presented))
    assert len(ranking) == 10, "all actions are ranked on the same noise"
    assert len(shown) == 4
    assert not ranking & shown
    assert not (ranking | shown) & {s for _, s, _ in steps}
    assert got.cost.generated == len(drawn)
    assert got.cost.shared_seconds > 0


def test_trace_is_complete_json(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, steps=10, folds=2, reward="ts")
    drawn = 0
    for t, row in enumerate(json.loads(json.dumps(got.trace, allow_nan=False))):
        assert row["step"] == t + 1
        assert row["prompt"] in COLOURS
        assert len(row["ts"]) == len(row["effect"]) == len(row["cav_accuracy"]) == 2
        assert set(row) >= {"action", "preferred", "decided_by", "updated", "rule", "reward", "epsilon", "q", "adapter"}
        assert ("update_margin" in row) == row["updated"]
        assert row["reward"] == pytest.approx(sum(row["effect"]) / 2)
        drawn += 10 if row["images"] == drawn + 10 else 20  # those of before are drawn where an update is judged
        assert row["images"] == drawn
        assert not row["updated"] or {"kept", "why", "gain"} <= set(row)
        assert row["best_effect"] == pytest.approx(max(sum(r["effect"]) / 2 for r in got.trace[: t + 1]))


def test_trajectory_and_adapter(tmp_path: Path) -> None:
    from PIL import Image
    from safetensors.torch import load_file

    got = run(task(tmp_path), steps=25, search="random", update_rule="always", patience=0, adapters="one")
    assert set(got.files) == {"trajectory.json", "trajectory.png", "adapter.safetensors"}
    about = json.loads(got.files["trajectory.json"].read_text())
    assert [s["step"] for s in about["snapshots"]] == [0, 10, 20, 25]
    assert about["snapshots"][0]["adapter"] is None
    updates = {c.name: c.evidence["updates"] for c in got.concepts}
    assert updates[about["prompt"]] == max(updates.values())
    assert all(p in ("a red class", "a leafy class") for s in about["snapshots"] for p in s["predictions"])
    with Image.open(got.files["trajectory.png"]) as strip:
        assert strip.width > 4 * 96
    assert set(load_file(got.files["adapter.safetensors"])) <= set(COLOURS)
    assert all(path.parent == tmp_path for path in got.files.values())


def test_without_updates_there_is_nothing_to_follow(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, steps=8, update=False, reward="ts")
    assert got.files == {}
    assert made.generator.adapted == 0
    assert {row["rule"] for row in got.trace} == {"off"}


def test_above_eta_nothing_is_learned_and_the_run_ends(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, steps=50, eta=0.0, search="brute")
    assert made.generator.adapted == 0
    assert len(got.trace) == len(COLOURS), "each was tried once, and all are at the ceiling"
    assert any("no prompt had anything left to gain" in note for note in got.notes)
    assert any("(ANC) 1.00, inverse coefficient of variation (ICV) undefined" in note for note in got.notes)
    still: dict[str, Any] = {"steps": 30, "update": False, "reward": "ts", "search": "brute"}
    assert len(run(task(tmp_path), **still, patience=12).trace) == 12
    assert len(run(task(tmp_path), **still, patience=0).trace) == 30
    nothing_to_gain = run(task(tmp_path), **{**still, "reward": "gain"})
    assert nothing_to_gain.trace == ()
    assert nothing_to_gain.notes[0].startswith("no search: the generator draws the concepts as it is")


def test_parity_preset_runs(tmp_path: Path) -> None:
    made = task(tmp_path)
    made = replace(
        made,
        random_set=lambda n, i, render, purpose="negative": Painter().generate(
            ["gray"] * n, range(90 + n * i, 90 + n * i + n)
        ),
    )
    got = run(made, **{"preset": "parity", "n": 5, "negatives": 1, "steps": 12, "learning_starts": 4, "length": 4})
    assert {row["rule"] for row in got.trace} <= {"best_so_far", "both above eta", "below best"}
    episode: list[int] = []
    for row in got.trace:
        episode.append(row["action"])
        picks = episode.count(row["action"])
        assert row["alpha"] == pytest.approx(1 if min(row["ts"]) > 0.5 else 2 * picks / 12)
        assert row["reward"] == pytest.approx(50 * row["alpha"] * sum(row["ts"]))
        if not row["updated"] or len(episode) == 4:
            episode = []
    plain(got)


def test_parity_is_what_it_was(tmp_path: Path, as_before: Callable[[str, Explanation], None]) -> None:
    made = replace(
        task(tmp_path),
        random_set=lambda n, i, render, purpose="negative": Painter().generate(
            ["gray"] * n, range(90 + n * i, 90 + n * i + n)
        ),
    )
    few: dict[str, Any] = {"n": 5, "negatives": 1, "steps": 14, "learning_starts": 4, "length": 4}
    as_before("parity", run(made, preset="parity", **few))


def test_the_algorithm_with_one_adapter_is_what_it_was(
    tmp_path: Path, as_before: Callable[[str, Explanation], None]
) -> None:
    as_before("pictures", run(task(tmp_path), steps=16, eta=1.0, adapt={"lr": 0.5}, **ONE_ADAPTER))


def test_ranking_alone_draws_no_step(tmp_path: Path) -> None:
    made = task(tmp_path)
    got = run(made, rank="prior", steps=0)
    assert got.trace == ()
    assert [c.evidence["rank_prior"] for c in got.concepts] == [1, 2, 3, 4, 5]
    assert got.importance_is.startswith("mean probability by the embedding")
    assert got.concepts[0].importance == got.concepts[0].evidence["prior"]


def test_same_seed_same_result_and_the_world_as_it_was(tmp_path: Path) -> None:
    tasks = [task(tmp_path, seed=seed) for seed in (4, 4, 5)]  # a new network draws its weights
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first, again, other = (plain(run(made, steps=10)) for made in tasks)
    assert first == again
    assert first != other
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_budget_caps_the_steps(tmp_path: Path) -> None:
    reported: list[tuple[int, int, str]] = []
    made = task(tmp_path, budget=Budget(steps=4), progress=lambda s, t, note="": reported.append((s, t, note)))
    got = run(made, steps=100, patience=0)
    assert len(got.trace) == 4
    assert [s for s, *_ in reported] == [1, 2, 3, 4, 4, 5, 6]
    assert {t for _, t, _ in reported} == {6}
    with pytest.raises(UsageError, match="learning_starts"):
        run(replace(made, budget=Budget(steps=4)), steps=100, learning_starts=4)


def test_prompts_need_no_image_text_model(tmp_path: Path) -> None:
    made = replace(task(tmp_path), model=lambda role: pytest.fail(f"{role} was asked for"))
    got = run(made, prompts=["gray", "red"], steps=6)
    assert "prior" not in got.concepts[0].evidence
    assert "q_value" in got.concepts[0].evidence


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    made = task(tmp_path)
    with pytest.raises(MissingError, match="generator"):
        run(replace(made, generator=None))
    blind = FunctionClassifier(lambda x: x.mean((2, 3))[:, :2], ["a", "b"])
    with pytest.raises(NotApplicable, match=r"gradients.*\(explain it by surrogate"):
        run(replace(made, classifier=blind))
    made.generator.modality = "text"
    with pytest.raises(NotApplicable, match=r"draws text.*\(name a generator of images with --generator REF"):
        run(made)


def in_context(tmp_path: Path, others: int = 60, **more: Any) -> Task:
    """The task with pictures of many colours as another class, and a model that reads which colour is where."""
    rng = torch.Generator().manual_seed(11)
    tint = torch.rand(others, 3, 1, 1, generator=rng) * 0.8 + 0.1
    contrast = Samples("image", tint.expand(-1, -1, SIDE, SIDE).clone(), tuple(f"other/{i}" for i in range(others)))
    made = task(tmp_path, roles=("image-text",), **more)
    return replace(made, data=TrainingData(LiveData(made.samples, "a red class", contrast, tuple(COLOURS))))


def test_evidence_in_context_ranks_and_only_what_is_worth_it_is_tuned(tmp_path: Path) -> None:
    from xcore.pretrained.adapters import load_adapter

    made = in_context(tmp_path)
    got = run(made, steps=12, update_rule="always", adapt={"lr": 0.5}, tune=2, maps=1, keep="all")
    assert got.notes[3].startswith("rank=auto chose rank=context: a model of the role image-text reads which phrase")
    assert got.importance_is.startswith("effect on the margin of the class in samples of all classes")
    first, *rest = got.concepts
    assert first.name == "red"
    assert first.evidence["mark"] == 1
    assert first.evidence["effect"] == first.importance > 0 > rest[-1].importance
    assert first.evidence["p_holm"] < 0.05
    searched = {row["phrase"] for row in got.trace}
    assert searched == {c.name for c in got.concepts[:2] if c.importance > 0}
    scored = [c.name for c in got.concepts if "tcav_effect" in c.evidence]
    assert scored == [c.name for c in got.concepts[:2]], "TCAV figures are given for the first ones alone"
    for n, c in enumerate(got.concepts, 1):
        assert c.samples is not None
        assert c.directions["mix"].norm().item() == pytest.approx(1, abs=1e-5)
        assert ("+" in c.render) == (f"adapter-{n}.safetensors" in got.files) == (c.name in searched)
        if c.name in searched:
            adapter = load_adapter(got.files[f"adapter-{n}.safetensors"])
            assert c.render == f"generated:painter+{adapter.digest}"
            assert set(adapter.state) == {c.name}, "updates on one prompt do not change another"
    assert first.evidence["updates"] == sum(row["updated"] for row in got.trace if row["phrase"] == "red") > 0


def test_gain_is_paid_for_what_the_last_update_of_the_prompt_added(tmp_path: Path) -> None:
    got = run(
        task(tmp_path), steps=20, update_rule="always", search="brute", prompts=["gray", "red"], adapt={"lr": 0.5}
    )
    paid = [row["reward"] for row in got.trace]
    assert paid[:2] == [0, 0]
    gains = [row["gain"] for row in got.trace[:-2]]
    assert paid[2:] == gains, "each prompt is drawn again two steps later; without a reader no rise is taken back"
    assert min(gains) < 0 < max(gains)


def test_auto_says_why_other_evidence_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_scenes(*given: Any, **options: Any) -> None:
        raise NotApplicable("there are no scenes")

    monkeypatch.setattr("xcore_evidence.factorial.factorial", no_scenes)
    blind = run(task(tmp_path), steps=0)
    assert "rank=auto chose rank=tcav: no model of the role image-text" in " ".join(blind.notes)
    few = in_context(tmp_path, others=3)
    own = few.samples.take(range(6))
    other = few.data.samples("contrast", "train", 3, 0)
    few = replace(few, samples=own, data=TrainingData(LiveData(own, "a red class", other, ())))
    noted = " ".join(run(few, steps=0).notes)
    assert "rank=auto chose rank=tcav: evidence in context cannot be had (9 samples are too few for 5 phrases)" in noted
    assert "(there are no scenes)" in noted
    with pytest.raises(NotApplicable, match="samples"):
        run(few, steps=0, rank="context")


def test_drawings_that_do_not_depend_on_the_class_are_drawn_once(tmp_path: Path) -> None:
    kept = Artifacts(tmp_path / "kept").get
    one = in_context(tmp_path, artifact=kept)
    two = replace(in_context(tmp_path, target=1, artifact=kept), data=one.data)
    first = run(one, update=False)
    drawn = len(one.generator.drawn)
    assert drawn > 0
    second = run(two, update=False)
    assert two.generator.drawn == [], "all of it was there"
    by_name = {c.name: c for c in second.concepts}
    for c in first.concepts:
        assert torch.equal(c.samples.images, by_name[c.name].samples.images)
    assert first.cost.generated == second.cost.generated


class Editor(Painter):
    """A painter that mixes a picture with a field of the prompt's colour."""

    can = frozenset({"adapt", "edit"})
    edits = 0

    def edit(self, samples: Samples, prompts: Sequence[str], seeds: Sequence[int], **given: Any) -> Samples:
        self.edits += len(prompts)
        drawn, strength = self.generate(prompts, seeds), given["strength"]
        mixed = (1 - strength) * samples.images + strength * drawn.images
        return Samples("image", mixed, drawn.ids)


def test_edits_of_the_class_rank_by_what_they_show(tmp_path: Path) -> None:
    made = replace(in_context(tmp_path), generator=Editor(side=SIDE))
    others = made.data.samples("contrast", "train", 40, 0)
    made = replace(made, random_set=lambda n, index, *rest: others.take(slice(n)))
    got = run(made, steps=0, rank="edited")
    assert made.generator is not None
    assert made.generator.edits == 400
    assert got.importance_is.startswith("effect on the margin of the class in pictures of it that are edited")
    assert (got.concepts[0].name, got.concepts[0].evidence["mark"]) == ("red", 1)
    assert got.cost.generated >= 400
    with pytest.raises(NotApplicable, match="can edit"):
        run(in_context(tmp_path), steps=0, rank="edited")


def test_a_generator_that_cannot_adapt_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    made = task(tmp_path)
    made.generator.can = frozenset()
    with pytest.raises(NotApplicable, match=r"rlpo needs a generator that can be adapted.*--set rlpo.update=false"):
        run(made)
    assert made.generator.drawn == []
    assert run(made, update=False).concepts[0].name == "red"


def test_searches_keep_to_their_budgets_of_images_and_updates(tmp_path: Path) -> None:
    for search in ("dqn", "greedy", "evolve", "random", "brute"):
        spent: dict[str, Any] = {"images": 125, "updates": 3, "patience": 0, "update_rule": "always"}
        got = run(task(tmp_path), search=search, vocabulary="", **spent)
        assert got.trace[-1]["images"] <= 125, search
        assert all("kept" in row for row in got.trace if row["updated"]), search
        assert sum(row["updated"] for row in got.trace) == 3, search
        assert "updates spent" in {row["rule"] for row in got.trace}
