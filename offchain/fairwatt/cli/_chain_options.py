"""Options that commands on a chain share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "account_option",
    "deployment_option",
    "folder_option",
    "network_option",
]

_Option: TypeAlias = "Callable[[Callable[..., Any]], Callable[..., Any]]"
_NETWORK: Final = "The chain, by Ape's name or its address."
_DEPLOYMENT: Final = "Deployment file, as written by `ape run deploy`."
_ACCOUNT: Final = "Who sends: an Ape account, or test:N on a local chain."


def network_option(*, required: bool = True) -> _Option:
    """`--network`."""
    return click.option("--network", required=required, help=_NETWORK)


def deployment_option(*, required: bool = True) -> _Option:
    """`--deployment`."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--deployment", type=kind, required=required, help=_DEPLOYMENT)


def account_option(*, required: bool = True) -> _Option:
    """`--account`."""
    return click.option("--account", required=required, help=_ACCOUNT)


def folder_option(name: str, what: str, *, written_by: str, required: bool = True) -> _Option:
    """A folder of signed documents, *.json, that a command writes."""
    return click.option(
        name,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        required=required,
        help=f"Folder of {what}, *.json, as written by `fairwatt {written_by}`.",
    )
