"""What a made-up day of a global network is like: its settings, and the scenarios that have names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from farlane.errors import InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """A day of a global network of AI nodes. Figures are of our own choice; the reason stands with each."""

    nodes: int = 40
    """How many nodes; a federation of a dozen owners, small enough for a run of a second."""
    hours: float = 24.0
    """How long work arrives, from midnight UTC on: a day, so that every region has its night."""
    load: float = 0.8
    """Work that arrives, as a share of what the GPUs that are online could do: below 1, else queues only grow."""
    home: float = 0.5
    """Share of nodes that are somebody's machine at home: one or two consumer GPUs, lent out of hours, a slow line."""
    datacentre: float = 0.1
    """Share of nodes with eight A100 or H100; the rest belongs to labs: two to eight T4, A10 or A100."""
    failure_hours: float = 60.0
    """Hours until a lab's node goes without being asked; homes go six times as often, datacentres a fourth as often."""
    away_minutes: float = 20.0
    """How long such a node stays away, on average: a reboot, or somebody who plays a game."""
    models: int = 80
    """How many models there are in the catalogue."""
    popularity: float = 1.0
    """Zipf's exponent of who asks for which model; about 1 on model hubs."""
    model_gib: float = 5.0
    """Median size of a model, weights of 2 to 3 thousand million parameters at 16 bits; log-normal, at most 70 GiB."""
    cache_gib: float = 60.0
    """What a home keeps of models; labs keep four times that, datacentres sixteen times."""
    users: int = 24
    """Publishers; a few send most of the work (Zipf's exponent 0.8)."""
    inference: float = 0.3
    """Share of the work in bursts of inference."""
    sweeps: float = 0.3
    """Share in sweeps: many like tasks of some minutes."""
    tuning: float = 0.25
    """Share in fine-tuning by gangs of 2 to 8 GPUs."""
    pipelines: float = 0.15
    """Share in pipelines: prepare, embed in parallel, train, evaluate."""
    diurnal: float = 0.6
    """How much more than the mean arrives at three in the afternoon of a region, and less at three at night."""
    deadlines: float = 0.5
    """Share of bursts and pipelines with a deadline; sweeps and tuning half as often."""
    budgets: float = 0.3
    """Share of jobs that name a budget."""
    estimate_spread: float = 0.4
    """Standard deviation of the logarithm of asked for / real run time: better than users guess."""

    def __post_init__(self) -> None:
        shares = (self.home, self.datacentre, self.deadlines, self.budgets, self.diurnal, *self.mix)
        _require(self.nodes >= 1 and self.users >= 1 and self.models >= 1, "needs a node, a user and a model")
        _require(0.0 < self.hours <= 24.0 * 366, "lasts more than 0 hours and at most a year")
        _require(0.0 < self.load <= 100.0, "has a load above 0, at most 100")
        _require(all(0.0 <= share <= 1.0 for share in shares), "has shares between 0 and 1")
        _require(self.home + self.datacentre <= 1.0, "has no more homes and datacentres than nodes")
        _require(sum(self.mix) > 0.0, "has some work of one kind or another")
        _require(
            self.failure_hours > 0.0 and self.away_minutes > 0.0, "has failures after, and for, some time"
        )
        _require(self.model_gib > 0.0 and self.cache_gib >= 0.0, "has models of some size and caches of any")
        _require(self.popularity >= 0.0 and 0.0 <= self.estimate_spread < 5.0, "has sane spreads")

    @property
    def mix(self) -> tuple[float, float, float, float]:
        """Shares of work: inference, sweeps, tuning, pipelines."""
        return (self.inference, self.sweeps, self.tuning, self.pipelines)


def _require(holds: bool, expected: str) -> None:
    if not holds:
        raise InvalidInput(f"these settings are of no network: one {expected}")


_CALM = NetworkSettings(load=0.5)
SCENARIOS = {
    "calm": _CALM,
    "busy": replace(_CALM, load=0.95),
    "churny": replace(_CALM, load=0.7, home=0.8, datacentre=0.05, failure_hours=12.0),
    "models": replace(
        _CALM, load=0.7, models=400, popularity=0.8, model_gib=12.0, cache_gib=40.0, inference=0.6, sweeps=0.1,
        tuning=0.15,
    ),
}  # fmt: skip
"""calm: half of what there is. busy: nearly all of it. churny: mostly homes, which go every other hour. models: many
large ones, most work inference, caches that hold few of them."""


def scenario(name: str) -> NetworkSettings:
    """Return the settings of a scenario.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in SCENARIOS:
        raise NotFound(f"no scenario is called '{name}': there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
