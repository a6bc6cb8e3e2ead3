"""Set up a deployment that takes over from another: `ape run succeed --from OLD [--to NEW]`.

Deploys on the token of the old one, then copies peers, networks and markets. Run it again with --to
when the suppliers have published their tariffs in the new one. Accounts move by `fairwatt move`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand

from fairwatt.chain import Chain, Settings, copy_community, deploy
from fairwatt.deployment import Deployment
from fairwatt.errors import FairwattError

ROOT = Path(__file__).parents[1]
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=ConnectedProviderCommand)
@click.option("--from", "old", type=_FILE, required=True, help="Deployment that is left.")
@click.option(
    "--to",
    "new",
    type=_FILE,
    default=None,
    show_default="OLD with -next",
    help="Deployment that takes over; made if it does not exist.",
)
@click.option(
    "--settings",
    type=_FILE,
    default=ROOT / "deployments" / "local.toml",
    show_default="deployments/local.toml",
    help="Roles and delays of the new one.",
)
def cli(old: Path, new: Path | None, settings: Path) -> None:
    """Deploy anew on the same token, and copy peers, networks and markets."""
    new = new or old.with_stem(f"{old.stem}-next")
    try:
        here = Chain.of(Deployment.load(old))
        what = replace(Settings.load(settings), networks=(), markets=())
        if not new.exists():
            deployment = deploy(what, token=here.contracts.token, progress=click.echo)
            deployment.save(new)
        there = Chain.of(Deployment.load(new))
        done = copy_community(here, there, what.roles, progress=click.echo)
    except FairwattError as error:
        raise click.ClickException(str(error)) from error
    for before, after in done.accounts.items():
        click.echo(f"account {before} is account {after}")
    for supplier, peers in done.waiting.items():
        account = done.accounts[supplier]
        who = ", ".join(map(str, peers))
        click.echo(f"account {account} must publish tariffs first, for old accounts {who}")
    click.echo(f"Written to {new}")
    if done.waiting:
        click.echo(f"Then: ape run succeed --from {old} --to {new}")
