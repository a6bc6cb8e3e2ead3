"""Deploy the contracts and wire them: `ape run deploy [--network NAME]`.

Everything comes from a settings file; the addresses are printed and written to `deployments/`.
"""

from __future__ import annotations

import re
from pathlib import Path

import ape
import click
from ape.cli import ConnectedProviderCommand

from fairwatt.chain import Settings, deploy, describe
from fairwatt.errors import FairwattError

ROOT = Path(__file__).parents[1]


@click.command(cls=ConnectedProviderCommand)
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    default=ROOT / "deployments" / "local.toml",
    show_default="deployments/local.toml",
    help="Roles and parameters.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and send nothing.")
def cli(settings: Path, dry_run: bool) -> None:
    """Deploy and wire everything; print the addresses and write them to deployments/."""
    try:
        what = Settings.load(settings)
        if dry_run:
            click.echo(f"On {ape.networks.provider.network_choice} this would:")
            for step in describe(what):
                click.echo(f"  {step}")
            return
        deployment = deploy(what, progress=click.echo)
        name = re.sub(r"[^\w.]+", "-", deployment.network)  # may be an address, http://...
        path = ROOT / "deployments" / f"{name}.json"
        deployment.save(path)
    except FairwattError as error:
        raise click.ClickException(str(error)) from error
    for name, address in deployment.to_document()["contracts"].items():
        click.echo(f"{name:15} {address}")
    click.echo(f"Written to {path.relative_to(ROOT)}")
