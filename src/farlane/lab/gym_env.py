"""The scheduler's training episodes as a Gymnasium environment, for learning libraries other than ours.

State, as the policy sees it: features of the candidates, of the situation, and of the task that gets a node where
that is what is chosen (`scheduler.learned.features` has each with its source). Padded to one width, with a mask:
variable sets of jobs as in Zhang et al., SC 2020 (RLScheduler). Action: a candidate, or WAIT until the next event,
which is last; task, then node, as two decisions (autoregressive, after Mao et al., SIGCOMM 2019, who choose a stage
and then its executors). Reward: minus what waiting cost since the last decision, so that a whole episode sums to the
unclipped slowdown (`farlane.lab.training.steps.waited`); packing: the share of all GPUs that was placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from farlane.errors import InvalidInput
from farlane.lab.evaluation.splits import TRAINING_SEEDS
from farlane.lab.training.deals import fair_rows
from farlane.lab.training.panel import Setting
from farlane.lab.training.rollout import Game, Seen
from farlane.lab.training.shown import COLUMNS
from farlane.scheduler.learned.features import GLOBAL_FEATURES, TASK_FEATURES

Observation = dict[str, Any]
_DRAWS = 20
"""Episodes that are drawn until one has something to decide."""


class SchedulingEnv(gymnasium.Env[Observation, np.int64]):
    """Episodes of some settings; each reset draws another.

    Observation: kind, 0 where a task is chosen and 1 where its node; candidates (width, f) float32, padded with 0;
    mask (width + 1,) int8, 1 for what may be chosen, the last for WAIT; context (g,) float32; about (ft,) float32.
    An action that the mask forbids counts as the first that it allows, and `info["masked"]` says so. `info["mask"]`
    is the mask again; after the last decision `info["cost"]` is what the episode is judged by in the end (the
    average bounded slowdown; the share of GPUs left over), `info["return"]` the sum of its rewards,
    `info["setting"]` what was played.

    Args:
        settings: what episodes are drawn from, by weight.
        width: candidates that are shown at most, a random choice of more.
    """

    def __init__(self, settings: Sequence[Setting], width: int = 64) -> None:
        if not settings:
            raise InvalidInput(
                "an environment without any setting; expected at least one to draw episodes from"
            )
        self._settings, self._width = tuple(settings), width
        self.action_space: Any = spaces.Discrete(width + 1)
        self.observation_space: Any = spaces.Dict(
            {
                "kind": spaces.Discrete(2),
                "candidates": _box((width, COLUMNS)),
                "mask": spaces.MultiBinary(width + 1),
                "context": _box((len(GLOBAL_FEATURES),)),
                "about": _box((len(TASK_FEATURES),)),
            }
        )
        self._game: Game | None = None
        self._seen: Seen | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin another episode; `options={"setting": NAME}` says of which setting."""
        super().reset(seed=seed)
        row = self._row((options or {}).get("setting"))
        setting = self._settings[row]
        for _ in range(_DRAWS):
            drawn = int(self.np_random.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))
            self._game = setting.game(setting.draw(drawn), drawn, setting.rules[0], self._width)
            self._seen, self._total, self._name = self._game.see(), 0.0, setting.name
            if self._seen is not None:
                break
        else:
            raise InvalidInput(
                f"{_DRAWS} episodes of {setting.name} had nothing to decide; ask for longer ones"
            )
        shown = _observation(self._seen)
        return shown, {"mask": shown["mask"], "setting": setting.name}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Choose, and run until the next decision.

        Raises:
            InvalidInput: there is no episode, or it has ended.
        """
        if self._game is None or self._seen is None:
            raise InvalidInput("no episode is open; call reset first")
        mask = self._seen.mask
        masked = not mask[int(action)]
        reward = self._game.choose(int(np.argmax(mask)) if masked else int(action))
        self._total += reward
        before, self._seen = self._seen, self._game.see()
        shown = _nothing(before) if self._seen is None else _observation(self._seen)
        info: dict[str, Any] = {"mask": shown["mask"], "masked": masked}
        if self._seen is None:
            info |= {"return": self._total, "cost": self._game.cost(), "setting": self._name}
        return shown, float(reward), self._seen is None, False, info

    def _row(self, name: str | None) -> int:
        if name is None:
            return fair_rows([setting.weight for setting in self._settings], 1, self.np_random)[0]
        names = [setting.name for setting in self._settings]
        if name not in names:
            raise InvalidInput(f"no setting {name!r}; expected one of {', '.join(names)}")
        return names.index(name)


def _observation(seen: Seen) -> Observation:
    return {
        "kind": np.int64(seen.kind),
        "candidates": seen.rows,
        "mask": seen.mask.astype(np.int8),
        "context": seen.context,
        "about": seen.about,
    }


def _nothing(like: Seen) -> Observation:
    """Return an observation of nothing, for behind the end."""
    return _observation(like._replace(rows=like.rows * 0, mask=like.mask & False, context=like.context * 0))


def _box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)
