"""`farlane serve`, `deployments`, `scale` and `undeploy`: models that are kept served."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from farlane.cli.connecting import connecting, with_client
from farlane.cli.deployment_options import check_counts, deployment_of, replica_counts, serve_options
from farlane.cli.output import ask, counted, json_option, on_terminal, print_json, print_table, say
from farlane.domain.deployments import Deployment, DeploymentState
from farlane.domain.units import credits_text, seconds_text
from farlane.errors import InvalidInput, Unavailable
from farlane.sdk.client import AsyncClient
from farlane.sdk.deployments import DeploymentClient, DeploymentQuote
from farlane.wire.deployments import DeploymentStatus

POLL_S = 0.3
"""How often it is asked whether a model answers."""
SHORT = 14
"""Characters of a CID in a table: its end, where CIDs differ."""


@click.command()
@click.argument("model")
@serve_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask; serve at the quoted price.")
@click.option("-d", "--detach", is_flag=True, help="Return once the hub keeps it, before it answers.")
@json_option
def serve(model: str, yes: bool, detach: bool, as_json: bool, **options: Any) -> int:
    """Keep MODEL (NAME, NAME@alias, NAME@v3 or a CID) served, or change how it is.

    An alias that moves brings its new version, replica by replica, without a request that fails.
    """
    wanted = deployment_of(model, options)

    async def work() -> int:
        async with connecting(AsyncClient()) as client:
            desk = DeploymentClient(client.connection)
            if not _agreed(await desk.quote(wanted), wanted, yes=yes, as_json=as_json):
                return 130
            status = await desk.deploy(wanted)
            if not detach:
                status = await _until_settled(desk, status, as_json=as_json)
            if as_json:
                print_json(status)
            else:
                click.echo(wanted.name)
            return 1 if not detach and _refused(status) else 0

    try:
        return asyncio.run(work())
    except KeyboardInterrupt:
        say(f"`farlane deployments` shows what is served, `farlane undeploy {wanted.name}` ends it")
        return 130


@click.command()
@click.argument("name", default="")
@json_option
def deployments(name: str, as_json: bool) -> None:
    """List the models that are served, or the replicas of the one called NAME."""
    found = with_client(lambda client: DeploymentClient(client.connection).list(name))
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no model is served; `farlane serve NAME` serves one")
    elif name:
        _print_replicas(found)
    else:
        headings = (
            "NAME",
            "MODEL",
            "STATE",
            "REPLICAS",
            "VERSION",
            "REQUESTS",
            "FAILED",
            "QUEUED",
            "P95",
            "REASON",
        )
        print_table(headings, [_row(each) for each in found], right=(3, 5, 6, 7, 8))


@click.command()
@click.argument("name")
@replica_counts
@json_option
def scale(name: str, replicas: int | None, least: int | None, most: int | None, as_json: bool) -> None:
    """Change how many replicas the deployment NAME has."""
    if replicas is None and least is None and most is None:
        raise InvalidInput("say how many: --replicas N, or --min and --max")

    async def work(client: AsyncClient) -> DeploymentStatus:
        desk = DeploymentClient(client.connection)
        known = (await desk.list(name))[0].deployment.scale
        low, high = check_counts(replicas, least, most, known.min_replicas, known.max_replicas)
        return await desk.scale(name, low, high)

    status = with_client(work)
    if as_json:
        print_json(status)
        return
    bounds = status.deployment.scale
    lowest = f"{bounds.min_replicas} to " if bounds.min_replicas != bounds.max_replicas else ""
    click.echo(f"{name}: {lowest}{counted(bounds.max_replicas, 'replica')}")


@click.command()
@click.argument("name")
@json_option
def undeploy(name: str, as_json: bool) -> None:
    """End the deployment NAME; its replicas answer what they have. The model itself stays."""
    status = with_client(lambda client: DeploymentClient(client.connection).undeploy(name))
    if as_json:
        print_json(status)
    else:
        left = sum(each.state == "ready" for each in status.replicas)
        rest = f"; {counted(left, 'replica')} still to answer what was asked before" if left else ""
        click.echo(f"{name} is served no more{rest}")


def _agreed(found: DeploymentQuote, wanted: Deployment, *, yes: bool, as_json: bool) -> bool:
    quote = found.quote
    for notice in quote.notices:
        say(notice)
    if not as_json:
        say(f"{wanted.name}: {wanted.model} is {found.version}")
        if quote.problem:
            say(f"  no node can serve it now: {quote.problem}")
            say(f"  to fix it: {quote.fix}")
        else:
            price, nodes = credits_text(found.hourly_upper_bound), counted(quote.eligible_nodes, "node")
            say(f"  {counted(found.replicas, 'replica')} at most, each at most {price} credits an hour")
            say(f"  {nodes} can serve it")
            if quote.custody:
                say(f"  {quote.custody}")
    if yes:
        return True
    if not on_terminal():
        raise Unavailable(
            "there is nobody to ask whether this price is right; repeat the command with -y to agree"
        )
    return ask("serve it?" if not quote.problem else "serve it anyway, once there is such a node?",
               default=not quote.problem)  # fmt: skip


async def _until_settled(
    desk: DeploymentClient, status: DeploymentStatus, *, as_json: bool
) -> DeploymentStatus:
    """Wait until as many replicas as are wanted answer with the version in force, or none ever will."""
    told = ""
    settled = (DeploymentState.READY, DeploymentState.FAILED, DeploymentState.IDLE)
    while status.state not in settled or (status.state == DeploymentState.READY and not _current(status)):
        line = ": ".join(filter(None, (status.state, status.reason)))
        if line != told and not as_json:
            say(line)
            told = line
        await asyncio.sleep(POLL_S)
        status = (await desk.list(status.deployment.name))[0]
    if _refused(status):
        say(f"failed: {status.reason}")
    return status


def _refused(status: DeploymentStatus) -> bool:
    """Tell whether the version that was asked for does not serve, and nothing more is tried."""
    return status.state == DeploymentState.FAILED or (
        status.state == DeploymentState.READY and status.version != status.target
    )


def _current(status: DeploymentStatus) -> bool:
    """Tell whether what serves is what the model's name means, or that version was tried and has failed."""
    return status.version == status.target or status.target in status.reason


def _row(status: DeploymentStatus) -> tuple[str, ...]:
    deployment = status.deployment
    ready = sum(each.state == "ready" for each in status.replicas)
    return (
        deployment.name, deployment.model, status.state, f"{ready}/{status.wanted}", status.version[-SHORT:] or "-",
        str(status.requests), str(status.failed), str(status.queued),
        seconds_text(status.p95_s) if status.p95_s else "-", status.reason or "-",
    )  # fmt: skip


def _print_replicas(found: list[DeploymentStatus]) -> None:
    rows = [
        (
            f"j{each.job}",
            each.state,
            each.node or "-",
            each.version[-SHORT:],
            str(each.in_flight),
            str(each.answered),
        )
        for status in found
        for each in status.replicas
    ]
    print_table(("JOB", "STATE", "NODE", "VERSION", "RUNNING", "ANSWERED"), rows, right=(4, 5))
    for status in found:
        if status.reason:
            say(f"{status.state}: {status.reason}")
