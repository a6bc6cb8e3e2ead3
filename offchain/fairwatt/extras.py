"""Packages that are there only with an extra of the project: what to do where one is missing."""

from __future__ import annotations

__all__ = ["how_to_install"]


def how_to_install(package: str, extra: str) -> str:
    """What to say where `package`, which comes with `extra`, cannot be imported."""
    return (
        f"needs the package {package}: run pip install --editable '.[{extra}]' "
        "in the folder of Fairwatt"
    )
