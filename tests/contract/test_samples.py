"""What `Samples` refuses, and what tells samples apart."""

from __future__ import annotations

import pytest
import torch

from xcore.contract import Samples, UsageError
from xcore.contract import samples as module


def texts(*data):
    return Samples("text", data, tuple(map(str, range(len(data)))))


def test_texts_are_strings_of_characters():
    with pytest.raises(UsageError, match="text 1 is of type int"):
        texts("a", 5)
    with pytest.raises(UsageError, match="text 0 holds lone surrogates"):
        texts("\ud83d")
    assert texts("", "😀", "\0").texts == ("", "😀", "\0")


def test_no_character_makes_two_texts_one():
    assert len({texts("a\0b").digest, texts("a", "b").digest, texts("ab").digest, texts("a\0", "b").digest}) == 4


def images(n: int = 4) -> Samples:
    return Samples("image", torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n)), tuple("abcdef"[:n]))


@pytest.mark.parametrize("made", [images(), texts("a", "b", "c", "d")], ids=["images", "texts"])
def test_each_sample_has_the_digest_that_it_has_alone(made):
    alone = tuple(made.take([i]).digest for i in range(4))
    assert made.digests == alone
    assert made.take([2, 0, 2]).digests == (alone[2], alone[0], alone[2])
    assert Samples.concat([made.take([3]), made]).digests == (alone[3], *alone)
    assert len({*alone}) == 4


def test_what_is_taken_of_hashed_samples_is_not_hashed_again(monkeypatch):
    pool, hashed = images(), []
    own = pool.digests
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda modality, data: hashed.append(len(data)) or digest(modality, data))
    assert Samples.concat([pool.take([1, 3]), pool.take([2])]).digests == (own[1], own[3], own[2])
    assert pool.take([1]).digest == own[1]
    assert not hashed
    other = images(3)
    assert Samples.concat([pool, other]).digests == (*own, *other.digests)
    assert hashed == [1] * 6, "only the others"


def test_an_image_that_was_changed_in_place_has_another_digest():
    pool = images()
    before = pool.digests
    taken = pool.take([0, 1])
    taken.images.numpy()[1, 0, 0, 0] = 2.0  # which no version counter sees
    assert taken.digests[0] == before[0]
    assert taken.digests[1] not in before
    assert pool.digests == before
    pool.images[2] *= 0.5
    assert pool.take([2, 3]).digests[0] != before[2]
    assert pool.take([2, 3]).digests[1] == before[3]


def test_images_of_one_number_each_have_digests():
    grey = Samples("image", torch.tensor([0.1, 0.2]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8), ("a", "b"))
    copied = Samples("image", grey.images.contiguous(), ("a", "b"))
    assert grey.digests == copied.digests
    assert grey.take([1]).digest == copied.digests[1]
