"""Pools of drawings are kept in parts: what is drawn does not depend on them, and processes share the work."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from xcore.contract import Samples
from xcore.run.drawing import generate_pool, generate_sets
from xcore.run.kept_pools import PART, kept_pool
from xcore.store.run_directory import Artifacts

PHRASES = tuple(f"phrase {i}" for i in range(17))


class Painter:
    """Draws pictures that tell their prompt and seed; ends after so many calls."""

    modality = "image"

    def __init__(self, calls=99):
        self.left, self.drawn = calls, 0

    def generate(self, prompts, seeds, adapter=None):
        if not self.left:
            raise KeyboardInterrupt
        self.left, self.drawn = self.left - 1, self.drawn + len(prompts)
        told = [hash((p, s)) % 1000 / 1000 for p, s in zip(prompts, seeds, strict=True)]
        images = torch.tensor(told)[:, None, None, None].expand(-1, 3, 4, 4)
        return Samples("image", images, tuple(map(str, seeds)))


def pool_of(folder, painter):
    kept = Artifacts(folder)
    return kept_pool(kept.get, kept.busy, dict, lambda: painter, PHRASES, "image")


def test_parts_hold_what_is_drawn_in_one_go(tmp_path):
    pool = pool_of(tmp_path, Painter())
    assert torch.equal(pool(3, 150).images, generate_pool(Painter(), PHRASES, 3, 150).images)
    sets, whole = pool(3, 30, 10), generate_sets(Painter(), PHRASES, 3, 30, 10)
    assert torch.equal(sets.images, whole.images)
    assert sets.meta["prompt"] == whole.meta["prompt"]
    assert len(set(sets.ids)) == len(sets) == 170
    assert torch.equal(pool_of(tmp_path, None)(3, 30, 10).images, sets.images), "nothing is drawn again"


def test_drawing_that_was_ended_goes_on_where_it_was(tmp_path):
    first, second = Painter(calls=2), Painter()
    with pytest.raises(KeyboardInterrupt):
        pool_of(tmp_path, first)(0, 3 * PART)
    assert len(pool_of(tmp_path, second)(0, 3 * PART)) == 3 * PART
    assert (first.drawn, second.drawn) == (2 * PART, PART)


def test_two_that_need_a_pool_at_the_same_time_draw_it_together(tmp_path):
    both = threading.Barrier(2, timeout=20)

    class Waiting(Painter):
        def generate(self, prompts, seeds, adapter=None):
            if not self.drawn:
                both.wait()  # each draws its first part while the other does
            return super().generate(prompts, seeds, adapter)

    painters = Waiting(), Waiting()
    with ThreadPoolExecutor(2) as pool:
        made = [*pool.map(lambda painter: pool_of(tmp_path, painter)(0, 6 * PART), painters)]
    assert torch.equal(made[0].images, made[1].images)
    assert sum(painter.drawn for painter in painters) == 6 * PART, "no part is drawn twice"
