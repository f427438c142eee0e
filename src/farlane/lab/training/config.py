"""What a training run is asked to do: a YAML file whose every key is known and every number in its range."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from farlane.errors import InvalidSetting, NotFound
from farlane.kit.suggestions import hint
from farlane.scheduler.learned.network import EXPERTS

Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
StageName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")]


class Swf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="swf"):
    """Stretches of a batch system's log.

    trace: a name that `farlane scheduler traces list` knows, or a path below the directory of traces. jobs: [first,
    last) rows that may be drawn from; a last of 0 is the log's end. length: jobs of a sequence. backfill: whether
    short jobs may pass one that is held up. weight: of this setting.
    """

    trace: str
    jobs: tuple[Count, Count] = (0, 0)
    length: AtLeastOne = 512
    backfill: bool = False
    weight: Positive = 1.0


class Openb(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="openb"):
    """Packing of Alibaba's lists of tasks, shuffled, until `arrivals` times all GPUs were asked for.

    trace, nodes: as for `swf`; of the tasks, and of the nodes. variant: what of the list each episode has more of, see
    `variants.VARIANTS`; empty for the list as it is. lead: share of the arrivals that, in a search, the centre of a
    generation places once, so that its vectors run the rest alone.
    """

    trace: str
    nodes: str = "openb-gpu-node"
    arrivals: Positive = 1.3
    variant: Literal["", "shares", "gangs", "cpu", "models"] = ""
    lead: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    weight: Positive = 1.0


class Lublin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="lublin"):
    """Our own generator of batch jobs after Lublin and Feitelson; needs no trace.

    processors: of the machine; load: times as many arrivals as in the paper; varied: whether these and all other
    parameters are drawn anew for each sequence (`generators.lublin_variants`) instead; typed: whether interactive and
    batch jobs are apart, each with the paper's parameters for its type; requests: whether jobs ask for longer than they
    run; length, backfill, weight: as for `swf`.
    """

    processors: AtLeastOne = 256
    load: Positive = 1.0
    varied: bool = False
    typed: bool = False
    requests: bool = True
    length: AtLeastOne = 512
    backfill: bool = False
    weight: Positive = 1.0


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="source", tag="network"):
    """Days of a made-up network of unlike nodes that come and go; needs no trace, and is searched alone.

    scenario: of `generators.settings.SCENARIOS`; nodes, hours: how large and how long. What such a setting searches has
    to be named, feature by feature: nothing is recorded of it. weight: as for `swf`.
    """

    scenario: Literal["calm", "busy", "churny", "models"] = "calm"
    nodes: AtLeastOne = 12
    hours: Positive = 3.0
    weight: Positive = 1.0


Source = Swf | Openb | Lublin | Network


class Imitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Copying the best rule.

    episodes: per setting, whose decisions are recorded; decisions: kept of each at most; epochs: passes over all of
    them; batch: decisions of a step; step: of Adam; share: as for a search.
    """

    epochs: Count = 20
    episodes: AtLeastOne = 4
    decisions: AtLeastOne = 256
    batch: AtLeastOne = 128
    step: Positive = 3e-3
    share: Positive = 0.25


class Ppo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Proximal policy optimisation, by the names of Schulman et al. 2017.

    iterations; episodes: of each; batch: decisions of a minibatch; epochs: passes over an iteration's decisions; step:
    of Adam; clip; discount; trace: lambda of GAE; entropy: its weight; kl: of old and new policy, beyond which an
    iteration's passes end early; warmup: first iterations that train the value head alone; share:
    as for a search.
    """

    iterations: Count = 100
    episodes: AtLeastOne = 8
    batch: AtLeastOne = 512
    epochs: AtLeastOne = 4
    step: Positive = 3e-4
    clip: Positive = 0.2
    discount: Share = 1.0
    trace: Share = 0.97
    entropy: Annotated[float, msgspec.Meta(ge=0)] = 1e-3
    kl: Positive = 0.02
    warmup: Count = 5
    share: Positive = 1.0


class Judging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How losses are reckoned: see `losses.losses_each`.

    sequences: of each setting on which stages are compared, kept for that.
    """

    sequences: AtLeastOne = 4
    clip: Positive = 1.0
    mean_share: Share = 0.5


class Strategy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CMA-ES on what a run is judged by.

    generations; population: vectors of each; spread: first standard deviation; rate: how much of each step the centre
    goes, below 1 where losses are rough; halving: generations after which the deviation is half, 0 to let the strategy
    adapt it (rough losses, and scores of which only the order counts, let it grow without bound); sequences: per
    setting and generation, the same for all vectors; check_every: generations between two looks;
    share: of the time, among the stages, where it is limited.
    """

    generations: Count = 200
    population: Annotated[int, msgspec.Meta(ge=4)] = 16
    spread: Positive = 0.05
    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    halving: Count = 0
    sequences: AtLeastOne = 2
    check_every: AtLeastOne = 10
    share: Positive = 1.0


class Search(Strategy, frozen=True, forbid_unknown_fields=True):
    """A search of some weights on some settings; what else it has is `Strategy`'s.

    name: of the stage; of: which settings; arrays: of the network that are searched, with the features to which their
    last axis is kept, none for all that vary; no arrays: all that matter.
    """

    name: StageName = "search"
    of: Literal["all", "queues", "packing", "fleets"] = "all"
    arrays: dict[str, list[str]] = {}


class Expert(Strategy, frozen=True, forbid_unknown_fields=True):
    """A search of one expert's weights, alone; what else it has is `Strategy`'s.

    name: of the stage; of: the settings, by their places in the list, from 0; arrays: what it searches beside its own,
    as for a search.
    """

    name: StageName = "expert"
    of: Annotated[list[Count], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: [0])
    arrays: dict[str, list[str]] = {}


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights to begin with.

    shipped: the name of shipped weights, random ones where none is named; set: entries of arrays of one axis to put
    in, by the names of their features.
    """

    shipped: str = ""
    set: dict[str, dict[str, float]] = {}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training run.

    settings: what episodes are drawn from, by weight; name: of the policy; seed: of everything; width: candidates that
    a decision shows to copying and gradients at most, a random choice of more; rules: sequences of each setting on
    which the best rule is found; experts: each for a kind of queue, and then a gate is fitted that tells these kinds
    apart; gate_decay: what its weights cost, squared. Stages follow in the order of the fields; one without steps is
    left out.
    """

    settings: Annotated[list[Source], msgspec.Meta(min_length=1)]
    name: str = "policy"
    seed: Count = 1
    width: AtLeastOne = 64
    rules: AtLeastOne = 8
    start: Start = Start()
    judging: Judging = Judging()
    imitation: Imitation = Imitation()
    ppo: Ppo = Ppo()
    experts: list[Expert] = []
    gate_decay: Positive = 1e-4
    searches: list[Search] = msgspec.field(default_factory=lambda: [Search()])

    @property
    def needs_traces(self) -> bool:
        """Whether a setting is read from files."""
        return any(isinstance(source, Swf | Openb) for source in self.settings)


def read_config(path: Path) -> Config:
    """Read a configuration.

    Raises:
        NotFound: there is no such file.
        InvalidSetting: it is no YAML, or a key or value of it means nothing; the message says which and what would do.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"cannot read the configuration {path}: {error.strerror}; expected a YAML file"
        ) from error
    return parse_config(text, str(path))


def parse_config(text: bytes, named: str) -> Config:
    """Read a configuration from bytes; raises as `read_config`, and names it by `named`."""
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{named} is no YAML: {error}") from error
    _check_keys(raw, Config, named)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"{named}: {error}") from error
    names = [each.name for each in config.experts] + [each.name for each in config.searches]
    if len({"ground", "imitation", "ppo", "gate", "result", *names}) < len(names) + 5:
        raise InvalidSetting(f"{named}: stages need names of their own; found {', '.join(names)}")
    _check_experts(config, named)
    return config


def _check_experts(config: Config, named: str) -> None:
    """Refuse experts that there is no room for, or that are searched where no task is chosen among others."""
    if len(config.experts) > EXPERTS:
        raise InvalidSetting(f"{named}: {len(config.experts)} experts; the network has room for {EXPERTS}")
    for expert in config.experts:
        for place in expert.of:
            if place >= len(config.settings) or isinstance(config.settings[place], Openb):
                raise InvalidSetting(
                    f"{named}, {expert.name}: setting {place} has no queue; expected the place of one that has, from 0 "
                    f"to {len(config.settings) - 1}"
                )


def _check_keys(raw: Any, expected: Any, where: str) -> None:
    """Refuse unknown keys, and name the nearest known one."""
    if isinstance(raw, list):
        for at, item in enumerate(raw):
            _check_keys(item, expected, f"{where}, number {at + 1}")
    if not isinstance(raw, dict):
        return
    kinds = {kind.__struct_config__.tag: kind for kind in _structs(expected)}
    if not kinds:  # a plain table
        return
    kind = kinds.get(raw.get("source"), kinds.get(None))
    if kind is None:
        raise InvalidSetting(
            f"{where}: source {raw.get('source')!r}; {hint(str(raw.get('source')), map(str, kinds))}"
        )
    types = get_type_hints(kind)
    for key, value in raw.items():
        if key != "source" and key not in types:
            raise InvalidSetting(f"{where}: no key {key!r}; {hint(str(key), types)}")
        _check_keys(value, types.get(key, ()), f"{where}, {key}")


def _structs(annotation: Any) -> list[Any]:
    """Return the structs that an annotation names, within lists and unions too."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    if get_origin(annotation) in (list, Union, UnionType):
        return [found for part in get_args(annotation) for found in _structs(part)]
    return []
