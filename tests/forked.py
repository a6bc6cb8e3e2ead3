"""`fairwatt` without its start: a process that has loaded everything forks for each command.

What a shell finds here as `fairwatt` hands its arguments, folder, environment and streams to that
process; a child of it is the command. So the lines of a page run exactly as they are written, each
in a process of its own, without loading the same modules again for every one of them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS = (0, 1, 2)
ASK = f"""\
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(os.environ["FAIRWATT_FORKED"])
socket.send_fds(asked, [b"-"], {list(STREAMS)})
request = dict(arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
asked.sendall(json.dumps(request).encode())
asked.shutdown(socket.SHUT_WR)
sys.exit((asked.recv(1) or b"\\xff")[0])
"""


@contextmanager
def forked() -> Iterator[dict[str, str]]:
    """Serve `fairwatt`; gives the environment in which a shell finds it."""
    with TemporaryDirectory() as folder:  # for addresses of sockets have little room
        yield from _served(Path(folder))


def _served(folder: Path) -> Iterator[dict[str, str]]:
    command, address = folder / "fairwatt", folder / "socket"
    (folder / "ask.py").write_text(ASK, encoding="utf-8")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SI "{folder}/ask.py" "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "FAIRWATT_FORKED": str(address)}
    with subprocess.Popen([sys.executable, __file__, str(address)], env=environment) as process:
        try:
            for _ in range(600):
                if address.exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert address.exists()
            yield environment
        finally:
            process.terminate()


def serve(address: str) -> None:
    """Load everything, then fork for whoever asks."""
    from fairwatt import chain  # noqa: PLC0415 - in this process only
    from fairwatt.cli import main  # noqa: PLC0415

    for name in main.lazy:  # type: ignore[attr-defined]
        main.get_command(None, name)  # type: ignore[arg-type] # the context is not looked at
    with chain.connect():  # Ape loads most of itself when it first connects
        chain.project()
    import_module("IPython")  # and this with the first contract that has errors
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen()
        Path(f"{address}.new").rename(address)  # whoever sees it can connect
        while True:
            asking, _ = server.accept()
            with asking:
                if os.fork() == 0:
                    answer(asking)
            reap()


def reap() -> None:
    """Let go of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def answer(asking: socket.socket) -> None:
    """Be the command that is asked for, and end."""
    from fairwatt.cli import main  # noqa: PLC0415

    code = 1
    try:
        _, streams, _, _ = socket.recv_fds(asking, 1, len(STREAMS))
        for stream, theirs in zip(STREAMS, streams, strict=True):
            os.dup2(theirs, stream)
            os.close(theirs)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(stream, mode, encoding="utf-8", closefd=False)
            for stream, mode in zip(STREAMS, "rww", strict=True)
        )
        request = json.loads(b"".join(iter(lambda: asking.recv(1 << 16), b"")))
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        main(args=request["arguments"], prog_name="fairwatt")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what a process would print
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asking.send(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
