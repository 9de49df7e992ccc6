"""Pools of samples: what is taken is what was given, bit for bit, and pictures from files take a byte a value."""

from __future__ import annotations

import pytest
import torch

import xcore.contract.samples as samples_module
from xcore.base.octets import as_floats, as_octets
from xcore.contract import Samples, UsageError
from xcore.run.sample_pool import SamplePool


def from_files(n: int, seed: int) -> Samples:
    """Pictures whose values are whole 255ths."""
    octets = torch.randint(0, 256, (n, 3, 5, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Samples("image", octets.float().div(255), tuple(f"{seed}/{i}" for i in range(n)), torch.arange(n))


def drawn(n: int, seed: int) -> Samples:
    """Pictures of any values."""
    images = torch.rand(n, 3, 5, 4, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)), torch.arange(n))


@pytest.mark.parametrize("makers", [(from_files, from_files), (drawn, drawn), (from_files, drawn)])
def test_what_is_taken_is_what_was_given(makers):
    parts = [make(4, seed) for seed, make in enumerate(makers)]
    pool, joined = SamplePool.joined(parts), Samples.concat(parts)
    for rows in ([6, 0, 3], range(8)):
        taken, wanted = pool.take(rows), joined.take(rows)
        assert torch.equal(taken.images.view(torch.int32), wanted.images.view(torch.int32))
        assert taken.images.dtype == torch.float32
        assert (taken.ids, taken.digests) == (wanted.ids, wanted.digests)
        assert torch.equal(taken.labels, wanted.labels)
    assert pool.part([5, 1]).all().ids == joined.take([5, 1]).ids


def test_texts_are_kept_as_they_are():
    parts = [Samples("text", ("a", "b"), ("1", "2")), Samples("text", ("c",), ("3",))]
    assert SamplePool.joined(parts).take([2, 0]).texts == ("c", "a")


def test_pictures_from_files_are_held_once_in_8_bits():
    pool = SamplePool.joined([from_files(4, 0), from_files(4, 1)])
    halves = [pool.part(range(4)), pool.part(range(4, 8))]
    assert pool._kept.images.dtype == torch.uint8
    assert {half._kept.images.data_ptr() for half in halves} == {pool._kept.images.data_ptr()}


def test_no_sample_is_hashed_when_it_is_taken(monkeypatch):
    pool = SamplePool.joined([from_files(4, 0), from_files(4, 1)])
    monkeypatch.setattr(samples_module, "_digest", lambda *given: pytest.fail("hashed again"))
    assert len(pool.take([0, 5]).digests) == 2


def test_pictures_that_were_changed_after_recasting_get_other_digests():
    known = from_files(2, 0)
    first = known.digests
    changed = known.recast(1 - known.images)
    assert changed.digests != first


def test_what_a_caller_changes_does_not_change_the_pool():
    given = drawn(3, 0)
    pool, wanted = SamplePool.joined([given]), given.images.clone()
    given.images.zero_()
    pool.take([0]).images.zero_()
    assert torch.equal(pool.all().images, wanted)


def test_further_data_is_kept_of_a_pool_of_one_part():
    given = Samples("image", torch.rand(2, 3, 4, 4), ("a", "b"), meta={"prompt": ("one", "two")})
    assert SamplePool.of(given).take([1]).meta["prompt"] == ("two",)


def test_nothing_cannot_be_joined():
    with pytest.raises(UsageError):
        SamplePool.joined([])


def test_every_whole_255th_comes_back_and_nothing_else_is_put_into_8_bits():
    levels = torch.arange(256).float().div(255).view(1, -1)
    assert torch.equal(as_floats(as_octets(levels)).view(torch.int32), levels.view(torch.int32))
    for other in (levels + 1e-7, -levels, torch.tensor([[float("nan")]]), torch.tensor([[-0.0]]), levels.double()):
        assert as_octets(other) is None
