"""Which node a task of a fleet gets: choices of the literature and the product's own, each the highest number first."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.fetching import has_model, load_s
from farlane.scheduler.sim.fragments import Usual, added_fragments
from farlane.scheduler.sim.placing import TIGHTEST, expected_run_s
from farlane.scheduler.sim.state import HELD_GPU, LARGEST, State
from farlane.scheduler.sim.world import CPU, MEMORY, WHOLE_GPU, Ints, World

GIB = 1 << 30


class Choice(IntEnum):
    """Choices by name; ties go to the node with the least left over where that is not the choice, then to the first.

    FIRST_FIT: the first. BEST_FIT: least left over, half CPU and half GPUs, as shares of the largest node. SPREAD:
    greatest share of its scarcest resource free. TETRIS: greatest dot product of what is asked for and what is free, as
    shares of the largest node (Grandl et al. 2014). CHEAPEST: least expected cost. FASTEST: highest speed for the
    task's kind (maximum throughput, Narayanan et al. 2020). LOCALITY: least seconds to load the model. FGD: least added
    fragments (Weng et al. 2023). SOONEST: least expected seconds, round trip, load and run. SURVIVING: the same with
    what is run again where the node goes: (exp(h s) - 1) / h for s seconds at h departures a second. PRODUCT: the
    product's best-fit (`farlane.scheduler.sharing`): nodes that have the model and ask at most `NEAR` times the
    cheapest first, then GPUs with little memory, then the least left over, all resources summed.
    """

    FIRST_FIT = 0
    BEST_FIT = 1
    SPREAD = 2
    TETRIS = 3
    CHEAPEST = 4
    FASTEST = 5
    LOCALITY = 6
    FGD = 7
    SOONEST = 8
    SURVIVING = 9
    PRODUCT = 10


FIRST_FIT, BEST_FIT, SPREAD, TETRIS, CHEAPEST = (int(choice) for choice in list(Choice)[:5])
FASTEST, LOCALITY, FGD, SOONEST, SURVIVING = (int(choice) for choice in list(Choice)[5:10])
PRODUCT = int(Choice.PRODUCT)
_EXPONENT = 50.0


@lean
def rate(world: World, task: int, node: int) -> float:
    """Return what a second of a task costs on a node, in credits."""
    tasks, price = world.tasks, world.nodes.price[node]
    gpus = tasks.gpus[task] * tasks.gpu_milli[task] / WHOLE_GPU
    cores, gib = tasks.demand[task, CPU] / 1000.0, tasks.demand[task, MEMORY] / GIB
    return float(price[0] * cores + price[1] * gib + price[2] * gpus)


@lean
def expected_cost(world: World, state: State, task: int, node: int) -> float:
    """Return what a task should cost on a node, in credits: its rate times round trip, load and expected run.

    A load counts as if nothing else were fetched there, so that the cost only falls when something changes there.
    """
    speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]
    seconds = world.nodes.rtt_s[node] + world.tasks.estimate_s[task] / speed
    if not has_model(world, state, task, node):
        seconds += world.model_bytes[world.tasks.model[task]] / world.nodes.bandwidth[node]
    return float(rate(world, task, node) * seconds)


@lean
def worth(
    world: World, state: State, usual: Usual, choice: int, task: int, node: int, near: float, room: Ints
) -> tuple[float, int]:
    """Return how well a choice likes a node on which a task fits, and which GPU a share of one should get there.

    Args:
        world: what is simulated.
        state: now.
        usual: which tasks FGD expects.
        choice: see `Choice`.
        task: its row.
        node: its row.
        near: for PRODUCT, the highest rate at which having the model counts.
        room: (MAX_GPUS,) scratch.
    """
    if choice == FGD:
        added, gpu = added_fragments(world, state, usual, task, node, room)
        return -added, gpu
    if choice == CHEAPEST:
        return -expected_cost(world, state, task, node), TIGHTEST
    if choice == FASTEST:
        return float(world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]), TIGHTEST
    if choice == LOCALITY:
        return -load_s(world, state, task, node), TIGHTEST
    if choice in (SOONEST, SURVIVING):
        seconds = expected_run_s(world, state, task, node)
        hazard = world.nodes.hazard[node] if choice == SURVIVING else 0.0
        if hazard > 0.0:
            seconds = np.expm1(min(_EXPONENT, hazard * seconds)) / hazard
        return -seconds, TIGHTEST
    if choice == PRODUCT:
        return _product(world, state, task, node, near), TIGHTEST
    return _packed(world, state, choice, task, node), TIGHTEST


@lean
def left_over(world: World, state: State, task: int, node: int) -> float:
    """Return what a task would leave of a node: half CPU and half GPUs, as shares of the largest node, 0 to 1."""
    tasks = world.tasks
    cpu = (state.free[node, CPU] - tasks.demand[task, CPU]) / state.sizes[LARGEST, CPU]
    gpus = free_gpus(world, state, node) - tasks.gpus[task] * tasks.gpu_milli[task]
    return float((cpu + gpus / state.sizes[LARGEST, HELD_GPU]) / 2.0)


@lean
def free_gpus(world: World, state: State, node: int) -> int:
    """Return the free thousandths of a node's GPUs together."""
    free = 0
    for gpu in range(world.nodes.gpus[node]):
        free += state.gpu_free[node, gpu]
    return free


@lean
def _packed(world: World, state: State, choice: int, task: int, node: int) -> float:
    """Return what choices give that look at amounts alone."""
    if choice == FIRST_FIT:
        return -float(node)
    if choice == BEST_FIT:
        return -left_over(world, state, task, node)
    tasks, nodes = world.tasks, world.nodes
    gpus, wanted = free_gpus(world, state, node), tasks.gpus[task] * tasks.gpu_milli[task]
    largest = state.sizes[LARGEST]
    product = gpus / largest[HELD_GPU] * (wanted / largest[HELD_GPU])
    scarcest = gpus / (nodes.gpus[node] * WHOLE_GPU) if wanted else 1.0
    for column in range(3):
        asked, free = tasks.demand[task, column], state.free[node, column]
        product += asked / largest[column] * (free / largest[column])
        if asked:
            scarcest = min(scarcest, free / nodes.capacity[node, column])
    return float(product if choice == TETRIS else scarcest)


@lean
def _product(world: World, state: State, task: int, node: int, near: float) -> float:
    """Return one number for three: whether the model is there at a price that is near, GPU memory, what is left over.

    Each part is below the step of the one before it: shares sum to at most 4, memory counts in GiB below 2^20.
    """
    left = free_gpus(world, state, node) / state.sizes[LARGEST, HELD_GPU]
    for column in range(3):
        left += state.free[node, column] / state.sizes[LARGEST, column]
    value = -left
    if world.tasks.gpus[task]:
        value -= 8.0 * (world.nodes.vram[node] // GIB)
    if world.tasks.model[task] >= 0:
        if rate(world, task, node) > near:
            value -= 2.0 * 8.0 * (1 << 20)
        elif not has_model(world, state, task, node):
            value -= 8.0 * (1 << 20)
    return float(value)
