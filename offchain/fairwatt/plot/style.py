"""How every picture is written, and the colours they share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "GREY", "INK", "RED", "SOFT", "picture_kind", "save", "style"]

# Okabe and Ito's colours, told apart with any colour vision.
GREEN: Final = "#007a5a"
BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
INK: Final = "#1f2328"
SOFT: Final = "#6a6f75"
GREY: Final = "#c9ccd0"
_DPI: Final = 160
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and tested
    "svg.hashsalt": "fairwatt",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in a style of our own, whatever the caller has set in Matplotlib."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in _STYLE.items():
            mpl.rcParams[key] = value
        yield


def picture_kind(path: Path) -> str:
    """`png` or `svg`, by the suffix of the file.

    Raises
    ------
    FairwattError
        If the suffix is another.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise FairwattError(f"{path}: a picture is written as .png or .svg, not as {kind!r}")
    return kind


def save(make: Callable[[], Figure], path: Path) -> None:
    """Make a figure in `style` and write it; the same figure gives the same file.

    Raises
    ------
    FairwattError
        If the suffix is neither `.png` nor `.svg`, or the file cannot be written.
    """
    kind = picture_kind(path)
    picture = BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        metadata: dict[str, str | None] = (
            {"Creator": "Fairwatt", "Date": None} if kind == "svg" else {"Software": None}
        )
        make().savefig(picture, format=kind, dpi=_DPI, metadata=metadata)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        reason = error.strerror or error
        raise FairwattError(f"{path}: the picture cannot be written: {reason}") from error
