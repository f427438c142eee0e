"""Models on nodes: fetched one after the other over a node's link, kept while there is room."""

from __future__ import annotations

from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.state import LOADED, State
from farlane.scheduler.sim.world import NEVER, World


@lean
def has_model(world: World, state: State, task: int, node: int) -> bool:
    """Tell whether a node has a task's model or is fetching it; True for tasks that need none."""
    model = world.tasks.model[task]
    return bool(model < 0 or state.used_at[node, model] > -NEVER)


@lean
def load_s(world: World, state: State, task: int, node: int) -> float:
    """Return how long a task would wait on a node for its model, from now on; 0 where the model is there.

    What the node is fetching already comes first, over one link.
    """
    model, now = world.tasks.model[task], state.clock[0]
    if model < 0:
        return 0.0
    if state.used_at[node, model] > -NEVER:
        return float(max(0.0, state.here_at[node, model] - now))
    return float(
        max(0.0, state.link_free[node] - now) + world.model_bytes[model] / world.nodes.bandwidth[node]
    )


@lean
def use_model(world: World, state: State, task: int, node: int) -> bool:
    """Have a node use a task's model, and fetch it where it has to; returns whether it has to.

    Models that it has not used for longest go where there is no room. One that a task runs with may go: the task has
    it in memory.
    """
    model = world.tasks.model[task]
    if model < 0:
        return False
    fetched = bool(state.used_at[node, model] == -NEVER)
    if fetched:
        ready = state.clock[0] + load_s(world, state, task, node)
        state.here_at[node, model], state.link_free[node] = ready, ready
        state.cached[node] += world.model_bytes[model]
        state.counts[task, LOADED] += world.model_bytes[model]
    state.used_at[node, model] = state.clock[0]
    while state.cached[node] > world.nodes.cache_bytes[node]:
        oldest = _stalest(world, state, model, node)
        if oldest < 0:
            break
        forget(world, state, oldest, node)
    return fetched


@lean
def forget(world: World, state: State, model: int, node: int) -> None:
    """Remove a model from a node that has it."""
    state.used_at[node, model] = -NEVER
    state.cached[node] -= world.model_bytes[model]


@lean
def stop_fetching(world: World, state: State, node: int) -> None:
    """Lose what a node has not fetched whole, since it goes; what is on its disk is there when it comes back."""
    if state.link_free[node] <= state.clock[0]:
        return
    for model in range(len(world.model_bytes)):
        if state.used_at[node, model] > -NEVER and state.here_at[node, model] > state.clock[0]:
            forget(world, state, model, node)
    state.link_free[node] = state.clock[0]


@lean
def _stalest(world: World, state: State, but: int, node: int) -> int:
    """Return the model that a node has not used for longest; -1 where it has none but one."""
    oldest = -1
    for other in range(len(world.model_bytes)):
        used = state.used_at[node, other]
        if other != but and used > -NEVER and (oldest < 0 or used < state.used_at[node, oldest]):
            oldest = other
    return oldest
