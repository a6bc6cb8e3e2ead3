"""Files: read whole up to a bound, written whole or not at all, errors name them."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairwatt.errors import FileError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["read", "write"]

_MOST_BYTES: Final = 1 << 28
_STDIN: Final = Path("-")


def read(path: Path) -> bytes:
    """Read a file, or standard input for `-`.

    Raises
    ------
    FileError
        If it cannot be read, or is far larger than any document.
    """
    try:
        if path == _STDIN:
            if sys.stdin is None:
                raise FileError("-", "standard input is closed")
            return _bounded(path, sys.stdin.buffer)
        with path.open("rb") as file:
            return _bounded(path, file)
    except OSError as error:
        raise FileError(str(path), _why(error)) from error


def write(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that it is there as a whole or not at all.

    Raises
    ------
    FileError
        If it cannot be written; what was there before is then still there.
    """
    raw = content.encode() if isinstance(content, str) else content
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            # A device or a pipe must be written to, not replaced. A directory refuses.
            target.write_bytes(raw)
        else:
            _replace(target, raw)
    except (OSError, RuntimeError) as error:
        raise FileError(str(path), _why(error)) from error


def _bounded(path: Path, file: BinaryIO) -> bytes:
    content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise FileError(str(path), f"is larger than {_MOST_BYTES >> 20} MiB")
    return content


def _replace(target: Path, content: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _why(error: OSError | RuntimeError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
