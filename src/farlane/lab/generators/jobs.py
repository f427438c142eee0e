"""The work of a made-up network: bursts of inference, sweeps, fine-tuning by gangs, pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from farlane.lab.generators.machines import DAY, GENERATE, GIB, GPUS, HOUR, PREPARE, REGIONS, TRAIN, speeds
from farlane.lab.generators.settings import NetworkSettings
from farlane.scheduler.sim.world import ANY_GPU, WHOLE_GPU, Floats, Ints

MINUTE = 60.0
LARGEST_GIB = 70.0
_PEAK_HOUR = 15.0
_TUNING_CARDS = 0b111000
"""Mask of what some insist on for fine-tuning: A10, A100, H100."""


class Crowd(NamedTuple):
    """Who publishes and what they use: u users, m models.

    weight: (u,) share of jobs; region: (u,) row of REGIONS; model_weight: (m,) share of uses; model_bytes: (m,).
    """

    weight: Floats
    region: Ints
    model_weight: Floats
    model_bytes: Ints


class Job(NamedTuple):
    """Columns of one job's k tasks, as those of `world.Tasks`; gang: of rows of the job; edges: (parent, child) rows.

    Run times are seconds on a T4, `work` of all tasks together, shares of GPUs counted as such.
    """

    demand: Ints
    gpus: Ints
    gpu_milli: Ints
    gpu_models: int
    vram: Ints
    kind: Ints
    run_s: Floats
    estimate_s: Floats
    model: Ints
    priority: int
    patience_s: float
    budget: Floats
    gang: Ints
    edges: list[tuple[int, int]]
    work: float


def make_crowd(settings: NetworkSettings, random: np.random.Generator) -> Crowd:
    """Return the publishers and the catalogue of models."""
    weight = np.arange(1, settings.users + 1) ** -0.8
    uses = random.permutation(np.arange(1, settings.models + 1) ** -settings.popularity)
    sizes = np.minimum(settings.model_gib * random.lognormal(0.0, 1.0, settings.models), LARGEST_GIB)
    return Crowd(
        weight / weight.sum(), random.integers(0, len(REGIONS), settings.users), uses / uses.sum(),
        np.maximum(1, sizes * GIB).astype(np.int64),
    )  # fmt: skip


def arrival_s(settings: NetworkSettings, random: np.random.Generator, region: int) -> float:
    """Return when a job of a region arrives: a sinus over its day, by rejection."""
    offset = list(REGIONS.values())[region]
    while True:
        at = float(random.random()) * settings.hours * HOUR
        local = (at / HOUR + offset - _PEAK_HOUR) * HOUR / DAY * 2.0 * np.pi
        if random.random() * (1.0 + settings.diurnal) <= 1.0 + settings.diurnal * np.cos(local):
            return at


def burst(settings: NetworkSettings, crowd: Crowd, random: np.random.Generator) -> Job:
    """Return calls of one model: 24 on average (geometric), each a batch of prompts, two minutes on a T4 (median)."""
    count = min(500, int(random.geometric(1.0 / 24.0)))
    model = _model(crowd, random)
    share = (
        250
        if crowd.model_bytes[model] < 2 * GIB
        else 500
        if crowd.model_bytes[model] < 6 * GIB
        else WHOLE_GPU
    )
    run_s = _log_normal(random, 2.0 * MINUTE, 0.7) * random.lognormal(0.0, 0.4, count)
    patience = random.uniform(10.0, 60.0) * MINUTE if random.random() < settings.deadlines else np.inf
    return _job(settings, crowd, random, run_s, kind=GENERATE, cores=2, share=share, model=model, priority=50,
                patience_s=patience)  # fmt: skip


def sweep(settings: NetworkSettings, crowd: Crowd, random: np.random.Generator) -> Job:
    """Return 8 to 128 trainings that differ in their settings: a quarter of an hour each (median), much alike."""
    count = int(2.0 ** random.uniform(3.0, 7.0))
    run_s = _log_normal(random, 15.0 * MINUTE, 0.6) * random.lognormal(0.0, 0.2, count)
    patience = random.uniform(6.0, 24.0) * HOUR if random.random() < settings.deadlines / 2 else np.inf
    share = int(random.choice([500, WHOLE_GPU]))
    return _job(settings, crowd, random, run_s, kind=TRAIN, cores=4, share=share, priority=10,
                patience_s=patience)  # fmt: skip


def tuning(settings: NetworkSettings, crowd: Crowd, random: np.random.Generator) -> Job:
    """Return a gang of 2, 4 or 8 that tunes one model for two hours of a T4 each (median)."""
    count = int(random.choice([2, 4, 8], p=[0.5, 0.3, 0.2]))
    run_s = np.full(count, _log_normal(random, 2.0 * HOUR, 0.7))
    patience = random.uniform(4.0, 20.0) * HOUR if random.random() < settings.deadlines / 2 else np.inf
    job = _job(settings, crowd, random, run_s, kind=TRAIN, cores=4, share=WHOLE_GPU, model=_model(crowd, random),
               priority=20, patience_s=patience)  # fmt: skip
    named = _TUNING_CARDS if random.random() < 0.3 else int(ANY_GPU)
    return job._replace(gang=np.zeros(count, np.int64), gpu_models=named)


def pipeline(settings: NetworkSettings, crowd: Crowd, random: np.random.Generator) -> Job:
    """Return data that is prepared, embedded in 4 to 16 parts, trained on and evaluated."""
    parts = int(random.integers(4, 17))
    kind = np.array([PREPARE, *[GENERATE] * parts, TRAIN, GENERATE])
    minutes = [_log_normal(random, 3.0, 0.5), *[_log_normal(random, 4.0, 0.5)] * parts,
               _log_normal(random, 20.0, 0.6), _log_normal(random, 3.0, 0.5)]  # fmt: skip
    model = np.full(parts + 3, _model(crowd, random))
    model[0] = -1
    edges = [(0, part) for part in range(1, parts + 1)] + [(part, parts + 1) for part in range(1, parts + 1)]
    patience = random.uniform(1.0, 4.0) * HOUR if random.random() < settings.deadlines else np.inf
    return _job(settings, crowd, random, np.array(minutes) * MINUTE, kind=kind, cores=4, share=WHOLE_GPU, model=model,
                priority=30, patience_s=patience)._replace(edges=[*edges, (parts + 1, parts + 2)])  # fmt: skip


MAKERS: tuple[Callable[[NetworkSettings, Crowd, np.random.Generator], Job], ...] = (
    burst,
    sweep,
    tuning,
    pipeline,
)
"""In the order of `NetworkSettings.mix`."""


def _job(
    settings: NetworkSettings,
    crowd: Crowd,
    random: np.random.Generator,
    run_s: Floats,
    *,
    kind: int | Ints,
    cores: int,
    share: int,
    priority: int,
    patience_s: float,
    model: int | Ints = -1,
) -> Job:
    """Return a job of tasks that are alike but for their kind, model and run time."""
    count = len(run_s)
    kinds, models = np.full(count, kind, np.int64), np.full(count, model, np.int64)
    gpus = (kinds != PREPARE).astype(np.int64)
    sizes = np.where(models >= 0, crowd.model_bytes[models], 2 * GIB)
    vram = np.minimum(sizes * 1.2, 79 * GIB).astype(np.int64) * gpus
    asked = run_s.mean() if count > 1 and isinstance(kind, int) else run_s  # like tasks are asked alike
    estimate_s = np.maximum(run_s.min(), asked * random.lognormal(0.1, settings.estimate_spread)) * np.ones(
        count
    )
    demand = np.stack([np.full(count, cores * 1000), np.full(count, 8 * GIB), np.zeros(count)], axis=1)
    budget = np.full(count, np.inf)
    if random.random() < settings.budgets:
        budget = _usual_cost(estimate_s, vram, kinds, cores, share) * random.uniform(1.0, 2.5)
    return Job(
        demand=demand.astype(np.int64), gpus=gpus, gpu_milli=gpus * share, gpu_models=int(ANY_GPU), vram=vram,
        kind=kinds, run_s=run_s, estimate_s=estimate_s, model=models,
        priority=int(np.clip(priority + random.integers(-10, 11), 0, 100)), patience_s=patience_s, budget=budget,
        gang=np.arange(count), edges=[], work=float((run_s * gpus).sum() * share / WHOLE_GPU),
    )  # fmt: skip


def _usual_cost(seconds: Floats, vram: Ints, kind: Ints, cores: int, share: int) -> Floats:
    """Return what tasks usually cost on the dearest card, for what it does, that has the memory: credits."""
    table = speeds()
    hours = np.zeros(len(seconds))
    for row, (each, needs) in enumerate(zip(kind, vram, strict=True)):
        price = [gpu.price * share / WHOLE_GPU * (each != PREPARE) + cores * 0.01 + 8 * 0.002 for gpu in GPUS]
        fit = [card for card, gpu in enumerate(GPUS) if gpu.vram_gib * GIB >= needs]
        hours[row] = max(price[card] / table[each, card] for card in fit)
    return hours * seconds / HOUR


def _model(crowd: Crowd, random: np.random.Generator) -> int:
    return int(random.choice(len(crowd.model_bytes), p=crowd.model_weight))


def _log_normal(random: np.random.Generator, median: float, sigma: float) -> float:
    return float(median * random.lognormal(0.0, sigma))
