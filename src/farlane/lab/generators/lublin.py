"""Queues of a supercomputer, made up: the model of Lublin and Feitelson of rigid jobs.

Source: Lublin and Feitelson, The workload on parallel supercomputers: modeling the characteristics of rigid jobs, JPDC
63(11), 2003, with the parameters of the authors' published program: of jobs whose type is unknown, or of interactive
and batch jobs apart. Of two types each has arrivals of its own, so that run times come in clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import CPU, Floats, Ints, World

DAY_S = 86_400.0
SLOTS = 48
"""Parts of a day in which arrivals are equally dense."""
DAY_BEGINS = 11
"""The slot from which the gamma distribution of arrivals over a day is counted: half past five in the morning."""
LONGEST_LOG_S, LONGEST_LOG_GAP_S = 12.0, 13.0
"""Natural logarithms of seconds: longer run times (two days) and gaps are drawn again."""
ROUND_S = 60.0 * np.array([5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1080, 1440, 2160, 2880, 4320])
"""What users ask for: 20 round values make nine in ten requests (Tsafrir, Etsion and Feitelson 2005)."""


@dataclass(frozen=True, slots=True)
class LublinSettings:
    """Parameters by the names of the paper."""

    processors: int = 256
    """Of the machine; the published ones are of 128."""
    serial: float = 0.244
    """Share of jobs of one processor."""
    power_of_two: float = 0.576
    """Share of jobs of a power of two above one."""
    u_low: float = 0.8
    """Logarithm to base 2 of the smallest size of a parallel job; below 1, so that 2 is as likely as its neighbours."""
    u_below: float = 2.5
    """How far the middle of the two stages lies below the logarithm of the largest size: 1.5 to 3.5."""
    u_prob: float = 0.86
    """Share of the lower stage."""
    a1: float = 4.2
    b1: float = 0.94
    """Shape and scale of the first gamma distribution of the logarithm of run times."""
    a2: float = 312.0
    b2: float = 0.03
    """Of the second."""
    pa: float = -0.0054
    pb: float = 0.78
    """The first is taken with probability pa times processors + pb, within 0 and 1: large jobs run long."""
    a_gap: float = 10.2303
    b_gap: float = 0.4871
    """Shape and scale of the logarithm of the gap between arrivals at rush hours (aarr, barr)."""
    rush_all: float = 1.0225
    """Factor on that shape for all hours of a day (ARAR)."""
    a_day: float = 8.1737
    b_day: float = 3.9631
    """Shape and scale of how arrivals spread over the slots of a day (anum, bnum)."""
    load: float = 1.0
    """Times as many arrivals: gaps are divided by this."""
    requests: bool = True
    """Whether run times are asked for in round values that are too long; else as they are."""
    users: int = 40
    """Users, by Zipf's law; the model knows none, so their past tells nothing."""

    def __post_init__(self) -> None:
        if self.processors < 2 or self.users < 1 or not self.load > 0.0:
            raise InvalidInput("the model needs at least 2 processors, 1 user and a load above 0")
        shares = (self.serial, self.power_of_two, 1.0 - self.serial - self.power_of_two)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise InvalidInput("serial and power_of_two are shares of all jobs: 0 to 1, together too")
        if min(self.a1, self.b1, self.a2, self.b2, self.a_gap, self.b_gap, self.a_day, self.b_day) <= 0.0:
            raise InvalidInput("shapes and scales of gamma distributions are above 0")


PUBLISHED = LublinSettings()
"""The parameters of the paper for jobs whose type is unknown."""
INTERACTIVE = LublinSettings(
    serial=0.1541, power_of_two=0.625, u_low=1.0, u_prob=0.705, a1=3.8351, b1=0.6605, a2=7.073, b2=0.6856,
    pa=-0.0118, pb=0.9156, a_gap=6.5510, b_gap=0.6621, rush_all=0.9797, a_day=8.9186, b_day=3.6680,
)  # fmt: skip
"""Those for interactive jobs."""
BATCH = LublinSettings(
    serial=0.2927, power_of_two=0.6686, u_low=1.2, u_prob=0.875, a1=6.57, b1=0.823, a2=639.1, b2=0.0156,
    pa=-0.003, pb=0.6986, a_gap=6.0415, b_gap=0.8531, rush_all=1.0519, a_day=6.1271, b_day=5.2740,
)  # fmt: skip
"""Those for batch jobs."""


def lublin_world(jobs: int, seed: int, settings: LublinSettings = PUBLISHED) -> World:
    """Return a pool of processors and jobs that arrive from midnight on; equal settings and seed give equal worlds.

    Raises:
        InvalidInput: `jobs` is below 1.
    """
    return _world(jobs, seed, settings, (settings,))


def typed_lublin_world(jobs: int, seed: int, settings: LublinSettings = PUBLISHED) -> World:
    """Return a pool and interactive and batch jobs that arrive from midnight on, each type with its own parameters.

    Args:
        jobs: of both types together.
        seed: of all chance.
        settings: the machine, the load and how jobs ask for time; what else it has counts for nothing.

    Raises:
        InvalidInput: `jobs` is below 1.
    """
    common = {name: getattr(settings, name) for name in ("processors", "load", "requests", "users")}
    return _world(jobs, seed, settings, [replace(each, **common) for each in (INTERACTIVE, BATCH)])


def _world(jobs: int, seed: int, machine: LublinSettings, types: Sequence[LublinSettings]) -> World:
    """Return the first jobs of all types that arrive, of each as many as could be asked for."""
    if jobs < 1:
        raise InvalidInput(f"{jobs} jobs make no queue: ask for at least 1")
    random = np.random.default_rng(seed)
    drawn = [_stream(each, jobs, random) for each in types]
    size, run_s, arrival_s = (np.concatenate(column) for column in zip(*drawn, strict=True))
    first = np.argsort(arrival_s, kind="stable")[:jobs]
    demand = np.zeros((jobs, 3), np.int64)
    demand[:, CPU], run_s = size[first], run_s[first]
    weight = 1.0 / np.arange(1, machine.users + 1)
    tasks = plain_tasks(arrival_s[first], demand)._replace(
        run_s=run_s, estimate_s=requested_s(run_s, random) if machine.requests else run_s,
        user=random.choice(machine.users, jobs, p=weight / weight.sum()).astype(np.int64),
    )  # fmt: skip
    pool = plain_nodes(np.array([[machine.processors, 0, 0]]))
    return World(pool, tasks, no_changes(), np.ones((1, 1)), no_rows())


def _stream(settings: LublinSettings, jobs: int, random: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Return sizes, run times and arrivals of the jobs of one type."""
    size = job_sizes(settings, jobs, random)
    return size, job_seconds(settings, size, random), arrivals_s(settings, jobs, random)


def job_sizes(settings: LublinSettings, jobs: int, random: np.random.Generator) -> Ints:
    """Return processors of jobs: one, a power of two, or anything; the logarithm is uniform in two stages."""
    high = math.log2(settings.processors)
    middle = max(settings.u_low, high - settings.u_below)
    lower = random.random(jobs) <= settings.u_prob
    exponent = np.where(
        lower, random.uniform(settings.u_low, middle, jobs), random.uniform(middle, high, jobs)
    )
    kind = random.random(jobs)
    exponent = np.where(kind <= settings.serial + settings.power_of_two, np.floor(exponent + 0.5), exponent)
    size = np.floor(2.0**exponent + 0.5).astype(np.int64)
    return np.where(kind <= settings.serial, 1, np.minimum(size, settings.processors)).astype(np.int64)


def job_seconds(settings: LublinSettings, size: Ints, random: np.random.Generator) -> Floats:
    """Return run times: whole seconds, their logarithm of a gamma distribution that depends on the size, at least 1."""
    first = np.clip(settings.pa * size + settings.pb, 0.0, 1.0)
    logarithm = np.full(len(size), np.inf)
    while (again := np.flatnonzero(logarithm > LONGEST_LOG_S)).size:
        short = random.random(len(again)) <= first[again]
        shape = np.where(short, settings.a1, settings.a2)
        logarithm[again] = random.gamma(shape, np.where(short, settings.b1, settings.b2))
    seconds: Floats = np.maximum(1.0, np.floor(np.exp(logarithm)))
    return seconds


def arrivals_s(settings: LublinSettings, jobs: int, random: np.random.Generator) -> Floats:
    """Return arrivals, rising: gaps of a log-gamma distribution, by a clock that is quick when much arrives."""
    logarithm = np.full(jobs, np.inf)
    while (again := np.flatnonzero(logarithm > LONGEST_LOG_GAP_S)).size:
        logarithm[again] = random.gamma(settings.a_gap * settings.rush_all, settings.b_gap, len(again))
    passed = np.cumsum(np.exp(logarithm)) / settings.load
    clock = np.concatenate([[0.0], np.cumsum(day_weights(settings))]) * DAY_S / SLOTS
    days = np.floor(passed / DAY_S)
    return days * DAY_S + np.interp(passed - days * DAY_S, clock, np.arange(SLOTS + 1) * DAY_S / SLOTS)


def day_weights(settings: LublinSettings) -> Floats:
    """Return how dense arrivals are in each slot of a day, from midnight on, on average 1: (SLOTS,)."""
    slots = np.arange(DAY_BEGINS, DAY_BEGINS + SLOTS)
    # The density has no jump, and a hundred points a slot are exact to six digits.
    fine = np.arange(-50, 51) / 100.0
    at = slots[:, None] + fine
    log_density = (settings.a_day - 1.0) * np.log(at) - at / settings.b_day
    density = np.exp(log_density - log_density.max())
    mass = (density[:, 1:] + density[:, :-1]).sum(axis=1)
    weights = np.empty(SLOTS)
    weights[(slots - 1) % SLOTS] = mass / mass.mean()
    return weights


def requested_s(run_s: Floats, random: np.random.Generator) -> Floats:
    """Return what users ask for: the real run time times 1 to 5, rounded up to a round value, at least the real one.

    Source: the f-model of Mu'alem and Feitelson 2001 (uniform factors), and round values of Tsafrir et al. 2005.
    """
    asked = run_s * random.uniform(1.0, 5.0, len(run_s))
    row = np.minimum(np.searchsorted(ROUND_S, asked), len(ROUND_S) - 1)
    return np.maximum(ROUND_S[row], run_s)
