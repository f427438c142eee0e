"""The settings of a configuration: where their episodes come from, drawn by seeds that say what an episode is for.

The mixture is the configuration's list, each entry by its weight. Seeds in `splits.VALIDATION_SEEDS` give episodes for
choosing, all others episodes for training: of a log, from the range for that use (`splits.split_jobs`). Nothing here
ever draws what policies are judged on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from farlane.errors import InvalidSetting, NotFound
from farlane.lab.evaluation.splits import VALIDATION_SEEDS, Range, split_jobs
from farlane.lab.generators.global_network import global_network
from farlane.lab.generators.lublin import LublinSettings, lublin_world, typed_lublin_world
from farlane.lab.generators.lublin_variants import varied_lublin_world
from farlane.lab.generators.settings import NetworkSettings, scenario
from farlane.lab.hub_days import hub_day
from farlane.lab.public_traces import TRACES
from farlane.lab.published import inflated_order
from farlane.lab.traces.openb import OpenbNodes, OpenbPods, read_nodes, read_pods
from farlane.lab.traces.swf import SwfTrace, read_swf
from farlane.lab.training.config import Config, Lublin, Network, Openb, Source, Swf
from farlane.lab.training.fleet_setting import TRAINING_RIVALS, FleetSetting
from farlane.lab.training.packing_setting import PackingSetting
from farlane.lab.training.panel import Setting
from farlane.lab.training.queue_setting import QueueSetting
from farlane.lab.training.variants import varied
from farlane.lab.worlds import packing_world, pool_world
from farlane.scheduler.sim.world import Tasks, World

HUB_NODES, HUB_HOURS = 12, 1.0
"""A hub's days are at most so large."""


@dataclass(frozen=True)
class LogEpisodes:
    """Stretches of a log: trace; train, choose: rows that each use may see; length: jobs of a stretch."""

    trace: SwfTrace
    train: tuple[Range, ...]
    choose: tuple[Range, ...]
    length: int

    def __call__(self, seed: int) -> World:
        """Return a stretch, every one of its use being as likely."""
        ranges = self.choose if seed in VALIDATION_SEEDS else self.train
        random = np.random.default_rng(seed)
        room = np.array([last - first - self.length + 1 for first, last in ranges])
        row = int(random.choice(len(ranges), p=room / room.sum()))
        return pool_world(self.trace, ranges[row][0] + int(random.integers(room[row])), self.length)


@dataclass(frozen=True)
class ListEpisodes:
    """Orders in which a list's tasks arrive, or a variant's, until they have asked for `arrivals` times all GPUs."""

    nodes: OpenbNodes
    pods: OpenbPods
    arrivals: float
    variant: str

    def __call__(self, seed: int) -> tuple[World, Tasks]:
        """Return an order, and the list's tasks; seeds say what it is for, as they do where policies are judged."""
        pods = varied(self.pods, self.nodes, self.variant, np.random.default_rng([seed, 1]))
        order = inflated_order(self.nodes, pods, seed, self.arrivals)
        usual = packing_world(self.nodes, pods, np.arange(len(pods))).tasks
        return packing_world(self.nodes, pods, order), usual


@dataclass(frozen=True)
class MadeUpJobs:
    """Queues of our own generator: settings: None for ones by chance; length: jobs; typed: of two types apart."""

    settings: LublinSettings | None
    length: int
    typed: bool = False

    def __call__(self, seed: int) -> World:
        """Return a queue."""
        if self.settings is None:
            return varied_lublin_world(self.length, seed)
        made = typed_lublin_world if self.typed else lublin_world
        return made(self.length, seed, self.settings)


@dataclass(frozen=True)
class NetworkDays:
    """Stretches of a made-up network's days."""

    settings: NetworkSettings

    def __call__(self, seed: int) -> World:
        """Return one."""
        return global_network(self.settings, seed)


@dataclass(frozen=True)
class Data:
    """A file that was read: its name, and the SHA-256 of its bytes as they are here, in hex."""

    name: str
    sha256: str


def settings_of(config: Config, traces: Path) -> tuple[list[Setting], list[Data]]:
    """Return the settings of a configuration, and the files they are made from.

    Args:
        config: which settings.
        traces: the directory of traces, as `farlane scheduler traces fetch` fills it.

    Raises:
        NotFound: a trace is not there; the message says how to get it.
        InvalidSetting: a log is too short for the stretches that are asked for.
        Corrupted, InvalidInput: a trace is damaged, or none.
    """
    library = Library(traces)
    settings = [_setting(source, library) for source in config.settings]
    return settings, library.data()


class Library:
    """Traces of a directory, each read once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._logs: dict[Path, SwfTrace] = {}
        self._read: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """Return where a trace is; raises NotFound."""
        known = {trace.name: trace.path for trace in TRACES}
        path = self._directory / known.get(name, name)
        if not path.is_file():
            how = f"`farlane scheduler traces fetch {name}` brings it" if name in known else "put it there"
            raise NotFound(
                f"the trace {name!r} is not at {path}: {how}, name its directory with --traces, or train on settings "
                "that need none"
            )
        self._read[name] = path
        return path

    def log(self, name: str) -> SwfTrace:
        """Return a batch system's log; raises as `read_swf`."""
        path = self.path(name)
        if path not in self._logs:
            self._logs[path] = read_swf(path)
        return self._logs[path]

    def data(self) -> list[Data]:
        """Return what was asked for, with hashes."""
        return [
            Data(name, hashlib.sha256(path.read_bytes()).hexdigest())
            for name, path in sorted(self._read.items())
        ]


def _setting(source: Source, library: Library) -> Setting:
    if isinstance(source, Swf):
        return _log_setting(source, library.log(source.trace))
    if isinstance(source, Openb):
        return _list_setting(source, library)
    if isinstance(source, Network):
        return _fleet(source)
    if source.varied:
        return _queue("lublin-varied", MadeUpJobs(None, source.length), source)
    made = LublinSettings(processors=source.processors, load=source.load, requests=source.requests)
    kind = "lublin-typed" if source.typed else "lublin"
    name = f"{kind}-{source.processors}-{source.load:g}" + ("" if source.requests else "-exact")
    return _queue(name, MadeUpJobs(made, source.length, source.typed), source)


def _fleet(source: Network) -> Setting:
    made = replace(scenario(source.scenario), nodes=source.nodes, hours=source.hours)
    # A replay takes some ten times as long as a simulation, and contexts are much alike all day.
    short = replace(made, nodes=min(made.nodes, HUB_NODES), hours=min(made.hours, HUB_HOURS))
    return FleetSetting(
        f"network-{source.scenario}",
        NetworkDays(made),
        source.weight,
        TRAINING_RIVALS,
        partial(hub_day, short),
    )


def _list_setting(source: Openb, library: Library) -> Setting:
    nodes = read_nodes(library.path(source.nodes))
    pods = read_pods(library.path(source.trace), nodes.models)
    episodes = ListEpisodes(nodes, pods, source.arrivals, source.variant)
    name = Path(source.trace).name + (f"+{source.variant}" if source.variant else "")
    return PackingSetting(name, episodes, source.lead, source.weight)


def _queue(name: str, episodes: Callable[[int], World], source: Swf | Lublin) -> Setting:
    name += "+backfill" if source.backfill else ""
    return QueueSetting(name, episodes, source.backfill, source.weight)


def _log_setting(source: Swf, trace: SwfTrace) -> Setting:
    split = split_jobs(len(trace))
    train: tuple[Range, ...] = (source.jobs,) if any(source.jobs) else split.train
    longest = min(last - first for first, last in (*train, *split.validation))
    for first, last in (*train, *split.validation):
        if last > len(trace) or last - first < source.length:
            raise InvalidSetting(
                f"{source.trace} has {len(trace)} jobs: rows {first} to {last} have no room for sequences of "
                f"{source.length}; ask for shorter ones, {longest} at most, or for other rows"
            )
    episodes = LogEpisodes(trace, train, split.validation, source.length)
    return _queue(Path(source.trace).name, episodes, source)
