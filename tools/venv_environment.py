"""What every interpreter of the virtual environment sets before anything else runs.

`make setup` copies this file into the environment and lets a ``.pth`` file import it, so that
``ape``, ``pytest`` and ``fairwatt`` find the Solidity compiler (``.venv/solc``), anvil
(``.venv/bin``) and the npm tools (``node_modules/.bin``) however they are started. A compiler
folder that is already in ``SOLCX_BINARY_PATH`` is respected.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing does, without loading it at every start
    from collections.abc import MutableMapping


def prepare(environment: MutableMapping[str, str], venv: str) -> None:
    """Put the compiler and the tools of the checkout around `venv` into `environment`."""
    environment.setdefault("SOLCX_BINARY_PATH", os.path.join(venv, "solc"))
    ours = [
        os.path.join(venv, "bin"),
        os.path.join(os.path.dirname(venv), "node_modules", ".bin"),
    ]
    others = [entry for entry in environment.get("PATH", "").split(os.pathsep) if entry not in ours]
    environment["PATH"] = os.pathsep.join([*ours, *others])


prepare(os.environ, sys.prefix)
