"""The environment of the policy: states are embeddings, actions are seed prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from xcore.samples import Samples
from xcore_rlpo.loop import Outcome

Array = NDArray[np.float32]
Encoder = Callable[[Samples], Tensor]
"""Samples -> (n, d)."""


class Balanced(gymnasium.spaces.Discrete):  # type: ignore[misc]
    """Actions whose random samples go through all of them, in random order, before one comes again."""

    def __init__(self, n: int, seed: int | None = None) -> None:
        self._left: list[int] = []
        super().__init__(n, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> np.int64:
        if mask is not None or probability is not None:
            return np.int64(super().sample(mask, probability))
        if not self._left:
            self._left = self.np_random.permutation(int(self.n)).tolist()
        return np.int64(self._left.pop())

    def seed(self, seed: Any = None) -> Any:
        self._left = []
        return super().seed(seed)


class PromptEnv(gymnasium.Env):  # type: ignore[misc]
    """One episode joins up to `length` seed prompts; it ends early where a step changed nothing.

    The state is the mean unit embedding of the group that was preferred, and of n class samples after a reset.

    Parameters
    ----------
    phrases
        The seed prompts.
    take
        (action, prompt, picks of that action in the episode) -> what became of it.
    encode
        Samples -> (n, d) embeddings.
    start
        (m, d) embeddings of the class samples.
    n
        Samples in a state.
    """

    metadata: dict[str, Any] = {}  # noqa: RUF012 (gymnasium's own annotation)

    def __init__(
        self,
        phrases: Sequence[str],
        take: Callable[[int, str, int], Outcome],
        encode: Encoder,
        start: Tensor,
        *,
        n: int,
        length: int = 1,
        balanced: bool = True,
        seed: int = 0,
    ) -> None:
        self.phrases, self._take, self._encode = tuple(phrases), take, encode
        self._start, self._n, self._length = normalize(start.float(), dim=1), min(n, len(start)), length
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (start.shape[1],), np.float32)
        space = Balanced if balanced else gymnasium.spaces.Discrete
        self.action_space = space(len(self.phrases), seed=seed)
        self.state: Array = np.zeros(start.shape[1], np.float32)
        self._picked: list[int] = []
        super().reset(seed=seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self._picked = []
        rows = self.np_random.choice(len(self._start), self._n, replace=False)
        self.state = _bounded(self._start[rows].mean(0))
        return self.state, {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self._picked.append(int(action))
        prompt = ", ".join(dict.fromkeys(self.phrases[a] for a in self._picked))
        outcome = self._take(int(action), prompt, self._picked.count(int(action)))
        if len(outcome.preferred):  # a generator of text may have had no words
            self.state = _bounded(normalize(self._encode(outcome.preferred).float(), dim=1).mean(0))
        over = len(self._picked) >= self._length or not outcome.updated
        return self.state, float(outcome.reward), over, False, {}

    def home(self) -> Array:
        """(d,) the mean state after a reset."""
        return _bounded(self._start.mean(0))


def _bounded(state: Tensor) -> Array:
    """Rounding may take a component of a unit vector beyond 1."""
    bounded: Array = state.clamp(-1, 1).cpu().numpy()
    return bounded
