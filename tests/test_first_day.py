"""`docs/first-day.md`: whoever follows it line by line sees what it shows."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.forked import forked
from tests.test_readme import BIN, NEEDED, ROOT, Shown, console_blocks, require_shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "first-day.md"
PORT = "8545"  # of the page
START = "1893445200"

pytestmark = [pytest.mark.anvil, pytest.mark.slow]


@pytest.fixture
def port() -> Iterator[str]:
    """The node that the page starts in another terminal, on a port that is free."""
    assert f"anvil --timestamp {START}" in PAGE.read_text(encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    command = [BIN / "anvil", "--port", str(number), "--silent", "--timestamp", START]
    with subprocess.Popen(command) as process:
        try:
            for _ in range(100):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", number)) == 0:
                        break
                time.sleep(0.1)
            yield str(number)
        finally:
            process.terminate()


def test_first_day__line_by_line__prints_what_is_shown(port: str, tmp_path: Path) -> None:
    for name in NEEDED:
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "deployments").mkdir()
    shutil.copy(ROOT / "deployments" / "local.toml", tmp_path / "deployments")
    commands = console_blocks(PAGE)
    assert len(commands) > 25
    with forked() as environment:
        for shown in commands:
            run = subprocess.run(
                ["bash", "-c", shown.command.replace(PORT, port)],
                cwd=tmp_path,
                env=environment | {"COLUMNS": "100"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
            assert run.returncode == 0, f"$ {shown.command}\n{run.stdout}"
            printed = run.stdout.replace(port, PORT)
            require_shown(Shown(shown.command, shown.output), printed)
