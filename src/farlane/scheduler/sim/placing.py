"""Placing a task on a node and taking it back: what fits, which GPUs it gets, how long it will run there."""

from __future__ import annotations

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.running import push
from farlane.scheduler.sim.state import ACTIVE, QUEUED, State
from farlane.scheduler.sim.world import CPU, DISK, MAX_GPUS, MEMORY, NEVER, World

TIGHTEST = -1
"""Instead of a GPU's number: the one with the least room that is enough."""


@compiled
def possible(world: World, task: int, node: int) -> bool:
    """Tell whether a node could ever run a task, were it empty."""
    nodes, tasks = world.nodes, world.tasks
    for column in (CPU, MEMORY, DISK):
        if tasks.demand[task, column] > nodes.capacity[node, column]:
            return False
    if tasks.gpus[task] == 0:
        return bool(world.speed[tasks.kind[task], nodes.gpu_model[node]] > 0.0)
    model = nodes.gpu_model[node]
    if model < 0 or not (tasks.gpu_models[task] >> model) & 1 or tasks.gpus[task] > nodes.gpus[node]:
        return False
    return bool(tasks.vram[task] <= nodes.vram[node] and world.speed[tasks.kind[task], model] > 0.0)


@compiled
def fits(world: World, state: State, task: int, node: int) -> bool:
    """Tell whether a task can start on a node now."""
    tasks = world.tasks
    if not state.online[node]:
        return False
    for column in (CPU, MEMORY, DISK):
        if tasks.demand[task, column] > state.free[node, column]:
            return False
    if not possible(world, task, node):
        return False
    wanted = tasks.gpus[task]
    if wanted == 0:
        return True
    enough = 0
    for gpu in range(world.nodes.gpus[node]):
        enough += state.gpu_free[node, gpu] >= tasks.gpu_milli[task]
    return bool(enough >= wanted)


@compiled
def tightest_gpu(world: World, state: State, task: int, node: int) -> int:
    """Return the GPU with the least room that is enough for a task's share; -1 where none has it."""
    best, least = -1, 1 << 30
    for gpu in range(world.nodes.gpus[node]):
        room = state.gpu_free[node, gpu]
        if world.tasks.gpu_milli[task] <= room < least:
            best, least = gpu, room
    return best


@compiled
def run_s(world: World, state: State, task: int, node: int) -> float:
    """Return how long a task would take on a node from now on: loading its model, then running."""
    speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]
    return float(load_s(world, state, task, node) + world.tasks.run_s[task] / speed)


@compiled
def load_s(world: World, state: State, task: int, node: int) -> float:
    """Return how long a node takes to fetch a task's model, 0 where it has it."""
    model = world.tasks.model[task]
    if model < 0 or state.used_at[node, model] > -NEVER:
        return 0.0
    return float(world.model_bytes[model] / world.nodes.bandwidth[node])


@compiled
def place(world: World, state: State, task: int, node: int, gpu: int) -> None:
    """Start a task that fits, and that is in the queue no more.

    Args:
        world: what is simulated.
        state: changed.
        task: its row.
        node: its row.
        gpu: which GPU a share of one gets, or TIGHTEST.
    """
    tasks = world.tasks
    for column in (CPU, MEMORY, DISK):
        state.free[node, column] -= tasks.demand[task, column]
    taken = 0
    if tasks.gpus[task] == 1:
        gpu = tightest_gpu(world, state, task, node) if gpu == TIGHTEST else gpu
        state.gpu_free[node, gpu] -= tasks.gpu_milli[task]
        taken = 1 << gpu
    elif tasks.gpus[task]:
        left = tasks.gpus[task]
        for each in range(MAX_GPUS):
            if left and state.gpu_free[node, each] >= tasks.gpu_milli[task]:
                state.gpu_free[node, each] -= tasks.gpu_milli[task]
                taken |= 1 << each
                left -= 1
    state.gpu_taken[task] = taken
    state.status[task], state.node[task] = ACTIVE, node
    state.started[task] = state.clock[0]
    state.ends[task] = state.clock[0] + run_s(world, state, task, node)
    _use_model(world, state, task, node)
    push(state, task)


@compiled
def release(world: World, state: State, task: int) -> None:
    """Give back what a task holds."""
    tasks, node = world.tasks, state.node[task]
    for column in (CPU, MEMORY, DISK):
        state.free[node, column] += tasks.demand[task, column]
    for gpu in range(MAX_GPUS):
        if (state.gpu_taken[task] >> gpu) & 1:
            state.gpu_free[node, gpu] += tasks.gpu_milli[task]
    state.gpu_taken[task] = 0


@compiled
def unqueue(state: State, place_in_queue: int) -> int:
    """Take the task at a place out of the queue; the others keep their order."""
    task = state.queue[place_in_queue]
    state.marks[QUEUED] -= 1
    for at in range(place_in_queue, state.marks[QUEUED]):
        state.queue[at] = state.queue[at + 1]
    return int(task)


@compiled
def _use_model(world: World, state: State, task: int, node: int) -> None:
    """Have a node use a task's model; what it has not used for longest goes where there is no room."""
    model = world.tasks.model[task]
    if model < 0:
        return
    if state.used_at[node, model] == -NEVER:
        state.cached[node] += world.model_bytes[model]
    state.used_at[node, model] = state.clock[0]
    while state.cached[node] > world.nodes.cache_bytes[node]:
        oldest = -1
        for other in range(len(world.model_bytes)):
            used = state.used_at[node, other]
            if other != model and used > -NEVER and (oldest < 0 or used < state.used_at[node, oldest]):
                oldest = other
        if oldest < 0:
            return
        state.used_at[node, oldest] = -NEVER
        state.cached[node] -= world.model_bytes[oldest]
