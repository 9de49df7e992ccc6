"""The conformance class of generators, part of `xcore.testing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from xcore.base.errors import NotApplicable, UsageError
from xcore.contract.samples import Samples
from xcore.pretrained.drawing import ABILITIES
from xcore.testing.world import global_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcore.contract.protocols import Generator


STRENGTH = 0.7
"""Of the edits."""


class GeneratorTests:
    """What every generator must keep. Subclasses give the fixture ``generator`` (a fresh one, or one that several tests
    share) and may give ``prompts``, of which each is drawn with two seeds.

    What the generator says that it can do is tried, and what it does not say must be refused in one line."""

    @pytest.fixture
    def generator(self) -> Generator:
        raise NotImplementedError("subclasses of GeneratorTests give the fixture `generator`")

    @pytest.fixture
    def prompts(self) -> tuple[str, ...]:
        return ("angry", "calm", "striped")

    @pytest.fixture
    def drawn(self, generator: Generator, prompts: tuple[str, ...]) -> Samples:
        return generator.generate([*prompts, *prompts], range(2 * len(prompts)))

    @pytest.fixture
    def pairs(self, generator: Generator, prompts: tuple[str, ...]) -> tuple[Samples, Samples]:
        """Four preferred and four rejected samples of the first prompt, no two of a pair alike."""
        drawn = generator.generate([prompts[0]] * 40, range(40))
        differ = [i for i in range(20) if drawn.take([i]).digest != drawn.take([i + 20]).digest]
        if drawn.modality == "text":
            differ = [i for i in differ if drawn.texts[i] and drawn.texts[i + 20]]
        assert len(differ) >= 4, "the generator draws the same whatever the seed"
        return drawn.take(differ[:4]), drawn.take([i + 20 for i in differ[:4]])

    def test_it_says_what_it_can_do_and_refuses_the_rest(
        self, generator: Generator, pairs: tuple[Samples, Samples]
    ) -> None:
        assert isinstance(generator.can, frozenset)
        assert generator.can <= set(ABILITIES), f"known abilities: {', '.join(ABILITIES)}"
        calls: dict[str, Callable[[], Any]] = {
            "adapt": lambda: generator.adapt(None, *pairs, seed=0, options={}),
            "edit": lambda: generator.edit(pairs[0], [""] * 4, range(4), strength=STRENGTH),  # type: ignore[attr-defined]
        }
        for ability in sorted(set(calls) - generator.can):
            if hasattr(generator, ability):
                with pytest.raises(NotApplicable) as caught:
                    calls[ability]()
                assert caught.value.hint
                assert "\n" not in str(caught.value)

    def test_samples_are_well_formed(self, generator: Generator, drawn: Samples, prompts: tuple[str, ...]) -> None:
        assert drawn.modality == generator.modality
        assert len(drawn) == len(set(drawn.ids)) == 2 * len(prompts)
        assert tuple(drawn.meta["prompt"]) == prompts + prompts
        assert tuple(drawn.meta["seed"]) == tuple(range(2 * len(prompts)))
        if drawn.modality == "image":
            assert drawn.images.dtype == torch.float32
            assert 0 <= float(drawn.images.min()) <= float(drawn.images.max()) <= 1
        else:
            assert all(isinstance(text, str) and text == text.strip() for text in drawn.texts)

    def test_a_sample_does_not_depend_on_its_batch(
        self, generator: Generator, drawn: Samples, prompts: tuple[str, ...]
    ) -> None:
        wanted = list(zip([*prompts, *prompts], range(2 * len(prompts)), strict=True))
        back = generator.generate([p for p, _ in wanted[::-1]], [s for _, s in wanted[::-1]])
        assert back.take(range(len(wanted))[::-1]).digest == drawn.digest
        assert back.ids[::-1] == drawn.ids
        for i, (prompt, seed) in enumerate(wanted):
            assert generator.generate([prompt], [seed]).digest == drawn.take([i]).digest

    def test_adapters_are_values_and_leave_the_base(
        self, generator: Generator, drawn: Samples, prompts: tuple[str, ...], pairs: tuple[Samples, Samples]
    ) -> None:
        _needs(generator, "adapt")
        options = {"steps": 2}
        one, figures = generator.adapt(None, *pairs, seed=0, options=options)
        assert all(np.isfinite(v) for v in figures.values())
        kept = {name: tensor.clone() for name, tensor in one.state.items()}
        tuned = generator.generate(prompts, range(len(prompts)), one)
        two, _ = generator.adapt(one, *pairs, seed=0, options=options)
        again, _ = generator.adapt(None, *pairs, seed=0, options=options)
        assert one.digest == again.digest != two.digest
        assert all(torch.equal(one.state[name], tensor) for name, tensor in kept.items())
        assert generator.generate(prompts, range(len(prompts)), one).digest == tuned.digest
        base = generator.generate([*prompts, *prompts], range(2 * len(prompts)))
        assert base.digest == drawn.digest
        assert base.ids == drawn.ids
        assert set(base.ids).isdisjoint(tuned.ids)

    def test_random_state_is_left_as_found(
        self, generator: Generator, prompts: tuple[str, ...], pairs: tuple[Samples, Samples]
    ) -> None:
        before, adapter = global_state(), None
        if "adapt" in generator.can:
            adapter, _ = generator.adapt(None, *pairs, seed=0, options={"steps": 1})
        drawn = generator.generate(prompts, range(len(prompts)), adapter)
        if "edit" in generator.can:
            _edit(generator, drawn, prompts, adapter=adapter)
        assert global_state() == before

    def test_edited_samples_are_well_formed(
        self, generator: Generator, drawn: Samples, prompts: tuple[str, ...]
    ) -> None:
        _needs(generator, "edit")
        given = drawn.take(range(len(prompts)))
        edited = _edit(generator, given, prompts)
        assert edited.modality == generator.modality
        assert len(edited) == len(set(edited.ids)) == len(prompts)
        assert set(edited.ids).isdisjoint(given.ids)
        assert edited.meta["prompt"] == prompts
        assert edited.meta["seed"] == tuple(range(len(prompts)))
        assert edited.meta["edited"] == given.ids
        assert edited.images.shape == given.images.shape
        assert 0 <= float(edited.images.min()) <= float(edited.images.max()) <= 1
        assert edited.digest != given.digest
        smaller = Samples("image", given.images[..., 1:, 3:], given.ids)
        assert _edit(generator, smaller, prompts).images.shape == smaller.images.shape
        ids = [edited.ids, _edit(generator, given, prompts, strength=1).ids, _edit(generator, given, prompts[::-1]).ids]
        assert len({i for each in ids for i in each}) >= 3 * len(prompts) - 1, "ids say what was edited by what"

    def test_an_edit_does_not_depend_on_its_batch(
        self, generator: Generator, drawn: Samples, prompts: tuple[str, ...]
    ) -> None:
        _needs(generator, "edit")
        n, (height, width) = len(prompts), drawn.images.shape[-2:]
        given, masks = drawn.take(range(n)), torch.zeros(n, height, width)
        masks[:, : height // 2] = 1
        for where in (None, masks):
            edited = _edit(generator, given, prompts, masks=where)
            for i in range(n):
                own = None if where is None else where[i : i + 1]
                alone = generator.edit(  # type: ignore[attr-defined]
                    given.take([i]), [prompts[i]], [i], strength=STRENGTH, masks=own
                )
                assert alone.digest == edited.take([i]).digest
                assert alone.ids == edited.ids[i : i + 1]

    def test_edits_that_do_not_fit_are_refused(
        self, generator: Generator, drawn: Samples, prompts: tuple[str, ...]
    ) -> None:
        _needs(generator, "edit")
        given = drawn.take(range(len(prompts)))
        masks = torch.ones(len(prompts), *given.images.shape[-2:])
        wrong: list[dict[str, Any]] = [
            *({"strength": strength} for strength in (0, -0.1, 1.1, float("nan"))),
            {"masks": masks[1:]},
            {"masks": masks[:, 1:]},
            {"negatives": ["one too many", *prompts]},
        ]
        for more in wrong:
            with pytest.raises(UsageError):
                _edit(generator, given, prompts, **more)
        for few in (given.take([0]), given.take([])):
            with pytest.raises(UsageError):
                _edit(generator, few, prompts)

    def test_prompts_and_seeds_must_pair_up(self, generator: Generator) -> None:
        with pytest.raises(UsageError):
            generator.generate(["one", "two"], [0])
        with pytest.raises(UsageError):
            generator.generate([], [])


def _needs(generator: Generator, ability: str) -> None:
    if ability not in generator.can:
        pytest.skip(f"this generator does not say that it can {ability}")


def _edit(generator: Generator, given: Samples, prompts: tuple[str, ...], **more: Any) -> Samples:
    """Edit each sample towards one of the prompts."""
    edited: Samples = generator.edit(  # type: ignore[attr-defined]
        given, prompts, range(len(prompts)), **{"strength": STRENGTH, **more}
    )
    return edited
