"""Pandapower and SimBench, which are there only with the extra `grid`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from fairwatt.errors import GridError
from fairwatt.extras import how_to_install

__all__ = ["pandapower", "simbench"]


def pandapower() -> Any:
    """The power flow."""
    return _loaded("pandapower")


def simbench() -> Any:
    """Grids and profiles."""
    return _loaded("simbench")


def _loaded(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between these packages and pandas
            return import_module(name)
    except ImportError as error:
        raise GridError(f"a grid {how_to_install(name, 'grid')}") from error
