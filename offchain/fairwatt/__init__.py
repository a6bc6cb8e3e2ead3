"""Fairwatt: an energy market for communities whose clearings are proved, not trusted."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
