"""The chain that a run is on: within this process, an anvil of its own, or a node that is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from fairwatt.chain import connect
from fairwatt.errors import PilotError
from fairwatt.files import read, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ANVIL", "EMBEDDED", "OwnAnvil", "connected", "outlives"]

EMBEDDED: Final = "embedded"
ANVIL: Final = "anvil"
_EMBEDDED_NETWORK: Final = "ethereum:local:test"
_NODE, _STATE = "anvil.json", "anvil-state.json"
_RULES: Final = "osaka"
_START_S, _STOP_S, _POLL_S = 30.0, 60.0, 0.05


def outlives(chain: str) -> bool:
    """Whether the chain is still there when this process is not."""
    return chain not in (EMBEDDED, _EMBEDDED_NETWORK)


@contextmanager
def connected(chain: str, folder: Path) -> Iterator[None]:
    """Connect to the chain of a run.

    Parameters
    ----------
    chain
        `embedded`, `anvil` (started if need be; it goes on when this process is killed, and ends
        when the run does, its state kept in the folder), the address of a node, or a network by
        Ape's name.
    """
    if chain != ANVIL:
        with connect(_EMBEDDED_NETWORK if chain == EMBEDDED else chain):
            yield
        return
    node = OwnAnvil(folder)
    try:
        with connect(node.start()):
            yield
    finally:
        node.stop()


@dataclass(frozen=True, slots=True)
class OwnAnvil:
    """An anvil that belongs to the folder of a run, by the rules of mainnet.

    It is in a session of its own, so that whatever ends the run does not end the chain. `stop` lets
    it write its state into the folder; the next start goes on from there.
    """

    folder: Path

    def start(self) -> str:
        """Find it running, or start it; its address.

        Raises
        ------
        PilotError
            If there is no anvil here, or it does not start.
        """
        known = self._known()
        if known is not None and _answers(known["url"]):
            return str(known["url"])
        program = shutil.which(ANVIL)
        if program is None:
            raise PilotError("anvil is not on the path; make setup brings it, or use --chain URL")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = [program, "--silent", "--port", str(port), "--hardfork", _RULES]
        command += ["--accounts", "20", "--state", str((self.folder / _STATE).resolve())]
        command += ["--prune-history", "64"]
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        write(self.folder / _NODE, json.dumps({"pid": process.pid, "url": url}) + "\n")
        until = monotonic() + _START_S
        while not _answers(url):
            if process.poll() is not None or monotonic() > until:
                raise PilotError(f"anvil does not start: {' '.join(command)}")
            sleep(_POLL_S)
        return url

    def stop(self) -> None:
        """Let it write its state and end."""
        known = self._known()
        if known is None:
            return
        if _answers(known["url"]):
            os.kill(int(known["pid"]), signal.SIGTERM)
            until = monotonic() + _STOP_S
            while _answers(known["url"]) and monotonic() < until:
                sleep(_POLL_S)
            _reap(int(known["pid"]), until)
        (self.folder / _NODE).unlink(missing_ok=True)

    def forget(self) -> None:
        """End it, and remove its state."""
        self.stop()
        (self.folder / _STATE).unlink(missing_ok=True)

    def _known(self) -> dict[str, str] | None:
        path = self.folder / _NODE
        if not path.exists():
            return None
        try:
            known: dict[str, str] = json.loads(read(path))
        except ValueError:
            return None
        return known


def _answers(url: str) -> bool:
    """Whether an anvil answers there."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": []})
    request = Request(url, body.encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310
            return "anvil" in str(json.load(response).get("result", "")).lower()
    except (URLError, OSError, ValueError):
        return False


def _reap(pid: int, until: float) -> None:
    """Wait for its end, in which the state is written, whether it is a child of ours or not."""
    while monotonic() < until:
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
        else:
            if done == pid:
                return
        sleep(_POLL_S)
