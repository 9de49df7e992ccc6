"""Who picks the actions: a DQN, chance, or each in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xcore.errors import UsageError
from xcore.guard import seeded
from xcore_rlpo import draws
from xcore_rlpo.env import PromptEnv
from xcore_rlpo.options import Options

Told = Callable[[dict[str, float]], bool]
"""Takes what the policy knew when it picked (epsilon, q) after each step; whether to go on."""


def play(env: PromptEnv, options: Options, steps: int, seed: int, told: Told) -> list[float] | None:
    """Take up to `steps` steps in the environment.

    Returns
    -------
    The Q value of each action at the mean start state, or None for a policy that learns none.

    Raises
    ------
    UsageError
        If the DQN would not learn within the steps.
    """
    if options.policy == "dqn":
        return _dqn(env, options, steps, seed, told)
    k, rng = len(env.phrases), draws.stream(seed, draws.PICK)
    env.reset(seed=seed)
    for t in range(steps):
        action = t % k if options.policy == "round-robin" else int(rng.integers(k))
        over = env.step(action)[2]
        if not told({}):
            break
        if over:
            env.reset()
    return None


def _dqn(env: PromptEnv, options: Options, steps: int, seed: int, told: Told) -> list[float]:
    starts = options.learning_starts
    if starts is None:
        starts = min(len(env.phrases), steps // 4)
    if starts >= steps:
        raise UsageError(
            f"option 'learning_starts' {starts} is not below the {steps} steps: the policy would learn nothing",
            "lower rlpo.learning_starts or raise the steps",
        )
    # The library draws weights, batches and coins from the global generators, and on import, too. It is imported here
    # because the other policies do without, and it takes seconds.
    with seeded(seed):
        from stable_baselines3 import DQN
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.logger import Logger

        model = DQN(
            "MlpPolicy",
            env,
            learning_rate=options.learning_rate,
            buffer_size=options.buffer,
            learning_starts=starts,
            batch_size=options.batch,
            gamma=options.gamma,
            train_freq=options.train_freq,
            gradient_steps=options.gradient_steps,
            target_update_interval=options.target_update,
            exploration_fraction=options.exploration_fraction,
            exploration_initial_eps=1.0,
            exploration_final_eps=options.epsilon_end,
            seed=seed % 2**32,
            device="cpu",
        )
        model.set_logger(Logger(None, []))  # its own would leave a folder behind in every run
        _start_at_zero(model)

        class Tell(BaseCallback):  # type: ignore[misc]
            def _on_step(self) -> bool:
                before, action = self.model._last_obs, int(self.locals["actions"][0])
                warm = self.num_timesteps <= starts
                q = _q(self.model, before[0])[action]
                return told({"epsilon": 1.0 if warm else float(self.model.exploration_rate), "q": q})

        model.exploration_rate = 1.0
        model.learn(steps, callback=Tell(), log_interval=None)
        return _q(model, env.home())


def _q(model: Any, state: np.ndarray[Any, Any]) -> list[float]:
    with torch.no_grad():
        values: list[float] = model.q_net(torch.from_numpy(np.asarray(state, np.float32))[None])[0].tolist()
    return values


def _start_at_zero(model: Any) -> None:
    """Q = 0 before anything is learned: random values of another size than the rewards would take long to unlearn."""
    for net in (model.q_net, model.q_net_target):
        last = net.q_net[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
