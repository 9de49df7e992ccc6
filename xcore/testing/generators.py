"""The conformance class of generators, part of `xcore.testing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from xcore.base.errors import UsageError
from xcore.contract.samples import Samples
from xcore.testing.world import global_state

if TYPE_CHECKING:
    from xcore.contract.protocols import Generator


class GeneratorTests:
    """What every generator must keep. Subclasses give the fixture ``generator`` (a fresh one, or one that several tests
    share) and may give ``prompts``, of which each is drawn with two seeds."""

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
        before = global_state()
        adapter, _ = generator.adapt(None, *pairs, seed=0, options={"steps": 1})
        generator.generate(prompts, range(len(prompts)), adapter)
        assert global_state() == before

    def test_prompts_and_seeds_must_pair_up(self, generator: Generator) -> None:
        with pytest.raises(UsageError):
            generator.generate(["one", "two"], [0])
        with pytest.raises(UsageError):
            generator.generate([], [])
