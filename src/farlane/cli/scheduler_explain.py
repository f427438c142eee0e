"""`farlane scheduler explain`: what a checkpoint says of itself, and what each feature does to its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from farlane.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from farlane.scheduler.learned.influence import Influence
    from farlane.scheduler.learned.manifest import Manifest

_HEADS = {
    "task": "which task goes first",
    "pair": "which node a task goes to, by both",
    "node": "which node a task goes to, by the node",
    "global": "whether to wait",
}


@click.command("explain")
@click.argument("checkpoint", default="learned")
@json_option
def explain(checkpoint: str, as_json: bool) -> None:
    """Show what a CHECKPOINT says of itself and what each feature does to its scores.

    CHECKPOINT is the file of a trained policy; without one, the shipped weights. WEIGHT is that of the network's linear
    part; EFFECT is how a score changes as the feature goes from LOW to HIGH, all others at their means: between these
    lay what training saw.
    """
    from farlane.errors import InvalidInput
    from farlane.lab.policies import policy_of
    from farlane.scheduler.learned.influence import influences
    from farlane.scheduler.learned.policy import LearnedPolicy

    policy = policy_of(checkpoint)
    if not isinstance(policy, LearnedPolicy):
        raise InvalidInput(
            f"{checkpoint!r} is a rule and has no weights; expected `learned` or the file of a checkpoint"
        )
    manifest, found = policy.ensemble.checkpoint.manifest, influences(policy.ensemble)
    if as_json:
        print_json({"manifest": manifest, "digest": manifest.digest, "features": found})
    else:
        _show(manifest, found)


def _show(manifest: Manifest, found: list[Influence]) -> None:
    if manifest.note:
        click.echo(manifest.note)
    click.echo(
        f"{manifest.members} network(s), format {manifest.format}, licence {manifest.licence or 'none given'}"
    )
    click.echo(f"features {manifest.digest[:12]}, commit {manifest.commit or 'none given'}")
    if manifest.seeds:
        click.echo(f"seeds {', '.join(map(str, manifest.seeds))}")
    for source in manifest.training:
        click.echo(f"trained on {source.name}{f' (sha256 {source.sha256[:12]}...)' if source.sha256 else ''}")
    for name, value in manifest.metrics.items():
        click.echo(f"{name} {value:g}")
    for kind, head in _HEADS.items():
        click.echo(f"\n{head}:")
        rows = [
            (
                each.name,
                f"{each.weight:+.3f}",
                f"{each.effect:+.3f}",
                f"{each.low:g}",
                f"{each.high:g}",
                each.text,
            )
            for each in found
            if each.kind == kind
        ]
        print_table(("FEATURE", "WEIGHT", "EFFECT", "LOW", "HIGH", "MORE OF IT MEANS"), rows)
