"""The options of `farlane serve` as a deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from farlane.domain.deployments import MAX_REPLICAS, Deployment, ScalePolicy, UpdatePolicy
from farlane.domain.units import parse_credits_floor, parse_seconds
from farlane.errors import InvalidInput
from farlane.sdk.options import read_resources

F = TypeVar("F", bound=Callable[..., Any])
_COUNTS = (
    click.option("--replicas", type=int, help="So many, always [default: 1]."),
    click.option(
        "--min", "least", type=int, help="At least so many; 0 ends the last after a time without requests."
    ),
    click.option("--max", "most", type=int, help="At most so many, as the load asks for."),
)
_OPTIONS = (
    click.option("--name", help="What requests call it [default: the model's name]."),
    click.option("--cpu", help="Cores of one replica [default: 1]."),
    click.option("--memory", help="Memory of one replica, such as 2GiB [default: 1GiB]."),
    click.option("--disk", help="Disk of one replica [default: 1GiB]."),
    click.option("--gpu", help="GPUs of one replica, such as 24GB."),
    click.option("--runtime", default="", help="That must serve it [default: what its files ask for]."),
    click.option(
        "--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the runtime, such as streams=4."
    ),
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="That a node must have."),
    click.option("--share-with", multiple=True, metavar="ORGANISATION", help="May ask it too."),
    click.option(
        "--surge", type=int, help="Replicas beyond the wanted number while a version changes [default: 1]."
    ),
    click.option("--unavailable", type=int, help="How many fewer may answer meanwhile [default: 0]."),
    click.option(
        "--canary", type=int, metavar="PERCENT", help="Share of the version of the alias canary [default: 0]."
    ),
    click.option("--in-flight", type=int, help="Requests one replica should have at once [default: 4]."),
    click.option("--p95", help="Latency above which there is one more replica, such as 2s."),
    click.option("--idle", help="How long without a request until --min 0 has none [default: 10m]."),
    click.option("--cold-start", help="How long a request waits for a replica to come up [default: 2m]."),
    click.option("--max-price", help="The most an hour of one replica may cost, in credits."),
    click.option("--project", default="", help="What it is charged to inside your organisation."),
)


def replica_counts(command: F) -> F:
    """Add `--replicas`, `--min` and `--max`."""
    for option in reversed(_COUNTS):
        command = option(command)
    return command


def serve_options(command: F) -> F:
    """Add everything that says how a model is served."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return replica_counts(command)


def check_counts(
    replicas: int | None, least: int | None, most: int | None, low: int, high: int
) -> tuple[int, int]:
    """Return the bounds that the options say.

    Args:
        replicas: of `--replicas`, None where it is not given.
        least: of `--min`.
        most: of `--max`.
        low: what holds where nothing is said.
        high: likewise.

    Raises:
        InvalidInput: they contradict each other.
    """
    if replicas is not None:
        if least is not None or most is not None:
            raise InvalidInput("--replicas fixes the number; leave out --min and --max, or --replicas")
        least = most = replicas
        if replicas < 1:
            raise InvalidInput(
                f"--replicas is {replicas}; expected 1 or more. `farlane undeploy` ends a deployment"
            )
    least = min(low, most) if least is None and most is not None else low if least is None else least
    most = max(high, least) if most is None else most
    if not (0 <= least <= most and 1 <= most <= MAX_REPLICAS):
        raise InvalidInput(
            f"--min {least} and --max {most} cannot be; expected 0 <= min <= max, and max 1 to {MAX_REPLICAS}"
        )
    return least, most


def deployment_of(model: str, options: dict[str, Any]) -> Deployment:
    """Return the deployment that a command line describes.

    Args:
        model: what is served.
        options: of `serve_options`, by their names.

    Raises:
        InvalidInput: an option is wrong.
    """
    usual_scale, usual_update = ScalePolicy(), UpdatePolicy()
    low, high = check_counts(options["replicas"], options["least"], options["most"], 1, 1)
    price = options["max_price"]
    return Deployment(
        name=options["name"] or model.partition("@")[0],
        model=model,
        project=options["project"],
        resources=read_resources(options["cpu"], options["memory"], options["gpu"], options["disk"]),
        runtime=options["runtime"],
        options=_pairs("--option", options["options"]),
        labels=_pairs("--label", options["labels"]),
        max_price=None if price is None else parse_credits_floor(price),
        shared_with=tuple(options["share_with"]),
        update=UpdatePolicy(
            max_surge=_or(options["surge"], usual_update.max_surge),
            max_unavailable=_or(options["unavailable"], usual_update.max_unavailable),
            canary_percent=_or(options["canary"], usual_update.canary_percent),
        ),
        scale=ScalePolicy(
            min_replicas=low,
            max_replicas=high,
            target_in_flight=_or(options["in_flight"], usual_scale.target_in_flight),
            target_p95_s=_seconds(options["p95"], usual_scale.target_p95_s),
            idle_s=_seconds(options["idle"], usual_scale.idle_s),
            cold_start_s=_seconds(options["cold_start"], usual_scale.cold_start_s),
        ),
    )


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given


def _seconds(given: str | None, usual: float) -> float:
    return usual if given is None else parse_seconds(given)


def _pairs(option: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign) or name in found:
            raise InvalidInput(f"{option} {text!r} is not NAME=VALUE with a name of its own")
        found[name] = value
    return tuple(found.items())
