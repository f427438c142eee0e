"""Placing a task on a node and taking it back: what fits, which GPUs it gets, how long it will run there."""

from __future__ import annotations

from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.fetching import load_s, use_model
from farlane.scheduler.sim.running import push
from farlane.scheduler.sim.state import (
    ACTIVE,
    EXPECTED_END,
    HELD_GPU,
    IS_TOUCHED,
    LARGEST,
    QUEUED,
    QUEUED_AT,
    QUEUED_S,
    TOUCHED,
    TOUCHED_NODE,
    State,
)
from farlane.scheduler.sim.world import CPU, DISK, MAX_GPUS, MEMORY, Ints, World

TIGHTEST = -1
"""Instead of a GPU's number: the one with the least room that is enough."""


@lean
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


@lean
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


@lean
def fitting_nodes(world: World, state: State, task: int, rows: Ints) -> int:
    """Write the nodes on which a task can start now into `rows`, (n,), in their order; returns how many.

    The same as `fits` of each, many times as quick: compiled code takes in a world once and not once a node.
    """
    nodes, tasks = world.nodes, world.tasks
    online, free, capacity, gpu_free = state.online, state.free, nodes.capacity, state.gpu_free
    gpus, gpu_model, vram, speed = nodes.gpus, nodes.gpu_model, nodes.vram, world.speed[tasks.kind[task]]
    cpu, memory, disk = tasks.demand[task, CPU], tasks.demand[task, MEMORY], tasks.demand[task, DISK]
    wanted, milli, models = tasks.gpus[task], tasks.gpu_milli[task], tasks.gpu_models[task]
    count = 0
    for node in range(len(online)):
        if not online[node] or cpu > min(free[node, CPU], capacity[node, CPU]):
            continue
        if memory > min(free[node, MEMORY], capacity[node, MEMORY]):
            continue
        model = gpu_model[node]
        if disk > min(free[node, DISK], capacity[node, DISK]) or speed[model] <= 0.0:
            continue
        if wanted:
            if model < 0 or not (models >> model) & 1 or tasks.vram[task] > vram[node]:
                continue
            enough = 0
            for gpu in range(gpus[node]):
                enough += gpu_free[node, gpu] >= milli
            if enough < wanted:
                continue
        rows[count] = node
        count += 1
    return count


@lean
def tightest_gpu(world: World, state: State, task: int, node: int) -> int:
    """Return the GPU with the least room that is enough for a task's share; -1 where none has it."""
    best, least = -1, 1 << 30
    for gpu in range(world.nodes.gpus[node]):
        room = state.gpu_free[node, gpu]
        if world.tasks.gpu_milli[task] <= room < least:
            best, least = gpu, room
    return best


@lean
def run_s(world: World, state: State, task: int, node: int) -> float:
    """Return how long a task would take on a node from now on: a round trip, loading its model, then running."""
    speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]
    before = world.nodes.rtt_s[node] + load_s(world, state, task, node)
    return float(before + world.tasks.run_s[task] / speed)


@lean
def expected_run_s(world: World, state: State, task: int, node: int) -> float:
    """Return the same by the run time that is asked for: what a rule may know."""
    speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]
    before = world.nodes.rtt_s[node] + load_s(world, state, task, node)
    return float(before + world.tasks.estimate_s[task] / speed)


@lean
def place(world: World, state: State, task: int, node: int, gpu: int) -> None:
    """Start a task that fits, and that is in the queue no more.

    Args:
        world: what is simulated.
        state: changed.
        task: its row.
        node: its row.
        gpu: which GPU a share of one gets, or TIGHTEST.
    """
    take(world, state, task, node, gpu)
    begin(world, state, task)
    push(state, task)


@lean
def take(world: World, state: State, task: int, node: int, gpu: int) -> None:
    """Take for a task what it needs of a node; the arguments are those of `place`."""
    tasks = world.tasks
    held = state.held[tasks.user[task]]
    for column in (CPU, MEMORY, DISK):
        state.free[node, column] -= tasks.demand[task, column]
        held[column] += tasks.demand[task, column]
    held[HELD_GPU] += tasks.gpus[task] * tasks.gpu_milli[task]
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
    state.node[task] = node


@lean
def begin(world: World, state: State, task: int) -> None:
    """Let a task that holds what it needs run from now on; whoever calls this pushes it, too."""
    node, now = state.node[task], state.clock[0]
    state.status[task], state.started[task] = ACTIVE, now
    state.times[task, QUEUED_S] += now - state.times[task, QUEUED_AT]
    state.ends[task] = now + run_s(world, state, task, node)
    state.times[task, EXPECTED_END] = now + expected_run_s(world, state, task, node)
    if use_model(world, state, task, node):
        touch(state, node)


@lean
def give_back(world: World, state: State, task: int) -> None:
    """Give back what a task holds."""
    tasks, node = world.tasks, state.node[task]
    held = state.held[tasks.user[task]]
    for column in (CPU, MEMORY, DISK):
        state.free[node, column] += tasks.demand[task, column]
        held[column] -= tasks.demand[task, column]
    held[HELD_GPU] -= tasks.gpus[task] * tasks.gpu_milli[task]
    for gpu in range(MAX_GPUS):
        if (state.gpu_taken[task] >> gpu) & 1:
            state.gpu_free[node, gpu] += tasks.gpu_milli[task]
    state.gpu_taken[task] = 0


@lean
def release(world: World, state: State, task: int) -> None:
    """Give back what a task held while it ran, and book what its user was served by that."""
    give_back(world, state, task)
    seconds = state.clock[0] - state.started[task]
    state.served[world.tasks.user[task]] += seconds * dominant_share(world, state, task)
    touch(state, state.node[task])


@lean
def dominant_share(world: World, state: State, task: int) -> float:
    """Return the greatest share of the largest node that a task asks for (DRF, Ghodsi et al. 2011, of one node)."""
    share = world.tasks.gpus[task] * world.tasks.gpu_milli[task] / state.sizes[LARGEST, HELD_GPU]
    for column in (CPU, MEMORY, DISK):
        share = max(share, world.tasks.demand[task, column] / state.sizes[LARGEST, column])
    return float(share)


@lean
def touch(state: State, node: int) -> None:
    """Remember that a node may now take what it could not take before."""
    if not state.at_node[node, IS_TOUCHED]:
        state.at_node[node, IS_TOUCHED] = 1
        state.at_node[state.marks[TOUCHED], TOUCHED_NODE] = node
        state.marks[TOUCHED] += 1


@lean
def unqueue(state: State, place_in_queue: int) -> int:
    """Take the task at a place out of the queue; the others keep their order."""
    task = state.queue[place_in_queue]
    state.marks[QUEUED] -= 1
    for at in range(place_in_queue, state.marks[QUEUED]):
        state.queue[at] = state.queue[at + 1]
    return int(task)
