"""The nodes of a made-up network: whose they are, what is in them, when they are there, how far they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.lab.generators.settings import NetworkSettings
from farlane.scheduler.sim.world import Bools, Changes, Floats, Ints, Nodes

GIB = 1 << 30
HOUR = 3600.0
DAY = 24 * HOUR
REGIONS = {"California": -8, "Virginia": -5, "London": 0, "Berlin": 1, "Mumbai": 5, "Tokyo": 9}
"""Hours from UTC; the hub is in Berlin."""
_WEIGHTS = np.array([0.2, 0.15, 0.15, 0.25, 0.1, 0.15])
_RTT_S = np.array([0.150, 0.090, 0.020, 0.008, 0.120, 0.230])


class Gpu(NamedTuple):
    """A model of GPU.

    Memory bandwidth in GB/s and dense 16-bit tensor TFLOPS, from the vendor's data sheets, rounded; price: credits an
    hour, of the order in which such cards were let in 2024.
    """

    name: str
    vram_gib: int
    bandwidth: float
    tflops: float
    price: float


GPUS = (
    Gpu("T4", 16, 320, 65, 0.15),
    Gpu("RTX 3060", 12, 360, 51, 0.08),
    Gpu("RTX 4090", 24, 1008, 165, 0.35),
    Gpu("A10", 24, 600, 125, 0.40),
    Gpu("A100", 80, 2039, 312, 1.30),
    Gpu("H100", 80, 3350, 990, 2.30),
)
GENERATE, TRAIN, PREPARE = range(3)
"""Kinds of tasks: reads all weights for each word, so as quick as memory; multiplies matrices; uses no GPU."""
HOME, LAB, DATACENTRE = range(3)
_CARDS = {HOME: (1, 2), LAB: (0, 3, 4), DATACENTRE: (4, 5)}
_COUNTS = {HOME: (1, 1, 1, 2), LAB: (2, 4, 8), DATACENTRE: (8,)}
_BANDWIDTH = {HOME: (3e6, 4e7), LAB: (5e7, 6e8), DATACENTRE: (5e8, 2e9)}
_CACHE = {HOME: 1, LAB: 4, DATACENTRE: 16}
_FAILS = {HOME: 6.0, LAB: 1.0, DATACENTRE: 0.25}
_REPUTATION = {HOME: (0.9, 1.0), LAB: (0.98, 1.0), DATACENTRE: (0.995, 1.0)}
_CORE_PRICE, _GIB_PRICE = 0.01, 0.002


def speeds() -> Floats:
    """Return how fast each kind runs on each GPU model, a T4 being 1: (kinds, GPUS + 1).

    Generating goes with memory bandwidth, training with the geometric mean of bandwidth and TFLOPS (between the two
    limits of a roofline, Williams et al. 2009); preparing is as quick everywhere, and is all there is without a GPU.
    """
    bandwidth = np.array([gpu.bandwidth for gpu in GPUS]) / GPUS[0].bandwidth
    tflops = np.array([gpu.tflops for gpu in GPUS]) / GPUS[0].tflops
    table = np.ones((3, len(GPUS) + 1))
    table[GENERATE, :-1], table[TRAIN, :-1] = bandwidth, np.sqrt(bandwidth * tflops)
    return table


def make_machines(settings: NetworkSettings, random: np.random.Generator) -> tuple[Nodes, Changes]:
    """Return nodes, and when they come and go while work arrives and for a day after that."""
    n = settings.nodes
    owner = _owners(settings, random)
    region = random.choice(len(REGIONS), n, p=_WEIGHTS)
    model = np.array([random.choice(_CARDS[kind]) for kind in owner], np.int64)
    gpus = np.array([random.choice(_COUNTS[kind]) for kind in owner], np.int64)
    low, high = (np.array([_BANDWIDTH[kind][end] for kind in owner]) for end in range(2))
    mttf_s = settings.failure_hours * HOUR / np.array([_FAILS[kind] for kind in owner])
    least, most = (np.array([_REPUTATION[kind][end] for kind in owner]) for end in range(2))
    changes, daily = _presence(settings, random, owner, region, mttf_s)
    cache = np.array([_CACHE[kind] for kind in owner]) * settings.cache_gib * GIB
    nodes = Nodes(
        capacity=_capacity(random, owner, gpus), gpus=gpus, gpu_model=model,
        vram=np.array([GPUS[card].vram_gib * GIB for card in model]),
        bandwidth=low * (high / low) ** random.random(n), cache_bytes=cache.astype(np.int64),
        price=_prices(random, model), rtt_s=_RTT_S[region] * random.uniform(0.8, 1.5, n),
        hazard=1.0 / mttf_s + daily, reputation=random.uniform(least, most),
    )  # fmt: skip
    return nodes, changes


def _owners(settings: NetworkSettings, random: np.random.Generator) -> Ints:
    """Return whose each node is, in the shares that were asked for, at least one of each that has any."""
    n = settings.nodes
    homes, centres = round(settings.home * n), round(settings.datacentre * n)
    centres = min(centres, n - homes)
    owner = np.repeat([HOME, DATACENTRE, LAB], [homes, centres, n - homes - centres])
    return random.permutation(owner).astype(np.int64)


def _capacity(random: np.random.Generator, owner: Ints, gpus: Ints) -> Ints:
    """Return cores, memory and disk: per GPU 8 cores, 32 GiB at home, 12, 64 in labs, 16, 128 in datacentres."""
    cores = np.array([8, 12, 16])[owner] * gpus * random.choice([1, 2], len(gpus), p=[0.7, 0.3])
    memory = np.array([32, 64, 128])[owner] * gpus
    disk = np.array([200, 1000, 8000])[owner]
    return np.stack([cores * 1000, memory * GIB, disk * GIB], axis=1).astype(np.int64)


def _prices(random: np.random.Generator, model: Ints) -> Floats:
    """Return credits a second of a core, a GiB and a GPU: a market price, and what each owner adds or takes off."""
    card = np.array([gpu.price for gpu in GPUS])[model]
    own = random.lognormal(0.0, 0.25, len(model))[:, None]
    return (
        np.stack([np.full(len(model), _CORE_PRICE), np.full(len(model), _GIB_PRICE), card], axis=1)
        * own
        / HOUR
    )


def _presence(
    settings: NetworkSettings, random: np.random.Generator, owner: Ints, region: Ints, mttf_s: Floats
) -> tuple[Changes, Floats]:
    """Return when nodes come and go, and how often a second each goes by its daily hours alone.

    Homes are lent from some hour after five in the afternoon to some hour before nine in the morning of their region,
    two in five all day; all nodes also fail at random and come back.
    """
    end_s = settings.hours * HOUR + DAY
    at, node, online = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    daily = np.zeros(len(owner))
    offsets = np.array(list(REGIONS.values())) * HOUR
    for row in range(len(owner)):
        away = _absences(random, float(mttf_s[row]), settings.away_minutes * 60.0, end_s)
        if owner[row] == HOME and random.random() < 0.6:
            leaves, comes = random.uniform(6.0, 9.0) * HOUR, random.uniform(17.0, 20.0) * HOUR
            first = (leaves - offsets[region[row]]) % DAY - DAY
            starts = np.arange(first, end_s, DAY) + random.normal(
                0.0, 900.0, len(np.arange(first, end_s, DAY))
            )
            away = np.concatenate([away, np.stack([starts, starts + comes - leaves], axis=1)])
            daily[row] = 1.0 / (DAY - (comes - leaves))
        spans = _merged(np.clip(away, 0.0, end_s))
        at += [spans.ravel()]
        node += [np.full(2 * len(spans), row)]
        online += [np.tile([False, True], len(spans))]
    times, rows, there = np.concatenate(at), np.concatenate(node), np.concatenate(online).astype(np.bool_)
    kept: Bools = there | (times < end_s)  # in the end all come back
    order = np.argsort(times[kept], kind="stable")
    return Changes(times[kept][order], rows[kept][order].astype(np.int64), there[kept][order]), daily


def _absences(random: np.random.Generator, mttf_s: float, away_s: float, end_s: float) -> Floats:
    """Return when a node is away by chance, from and to: (k, 2) seconds."""
    count = int(end_s / (mttf_s + away_s) * 2) + 20
    gaps, lasts = random.exponential(mttf_s, count), random.exponential(away_s, count)
    starts = np.cumsum(gaps) + np.cumsum(lasts) - lasts
    spans = np.stack([starts, starts + lasts], axis=1)
    return spans[starts < end_s]


def _merged(spans: Floats) -> Floats:
    """Return spans of time in order, those that touch made one, without empty ones: (k, 2)."""
    kept: list[list[float]] = []
    for start, end in spans[np.argsort(spans[:, 0], kind="stable")].tolist():
        if end <= start:
            continue
        if kept and start <= kept[-1][1]:
            kept[-1][1] = max(kept[-1][1], end)
        else:
            kept.append([start, end])
    return np.array(kept).reshape(-1, 2)
