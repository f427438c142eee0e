"""`farlane scheduler status`: who decides at this moment, how often each reason, and agreement with shadow rules."""

from __future__ import annotations

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import json_option, print_json, print_table
from farlane.sdk.deciding import DecidingStatus, deciding_status


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show who decides where tasks go: the policy or the rule, how often, why, how quickly and how sure it is."""
    found = with_client(lambda client: deciding_status(client.connection))
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: DecidingStatus) -> None:
    click.echo(_headline(found))
    if found.process:
        click.echo(f"its process: {found.process}")
    total = sum(found.decided.values())
    if total:
        rows = [(why, str(count), f"{count / total:.1%}") for why, count in found.decided.items()]
        click.echo("")
        print_table(("WHY", "DECISIONS", "SHARE"), rows)
    if found.seconds:
        click.echo("")
        times = [
            (who, str(each.count), _ms(each.mean_s), _ms(each.p99_s)) for who, each in found.seconds.items()
        ]
        print_table(("WHO", "DECISIONS", "MEAN", "P99"), times)
    if found.shadows:
        click.echo("")
        rows = [(rule, str(each.rounds), f"{each.share:.1%}") for rule, each in found.shadows.items()]
        print_table(("SHADOW", "ROUNDS", "AGREES"), rows)
    if found.assessed:
        click.echo(
            f"\nof {found.assessed} answers: drift {found.drift:.1%}, disagreement {found.disagreement:.1%}; "
            f"{found.stale_tasks} tasks were out of date"
        )
    if found.logged or found.log_dropped:
        click.echo(f"decision log: {found.logged} kept, {found.log_dropped} dropped")


def _headline(found: DecidingStatus) -> str:
    if not found.policy:
        return f"the rule {found.rule} decides"
    if found.why == "policy":
        return f"the policy {found.policy} decides; where it cannot, the rule {found.rule}"
    reason = f"{found.why}: {found.text}" if found.text else found.why
    return f"the rule {found.rule} decides in place of the policy {found.policy} ({reason})"


def _ms(seconds: float | None) -> str:
    return "more" if seconds is None else f"{seconds * 1000:.2f} ms"
