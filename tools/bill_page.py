"""Draw docs/bills.png, the first page of a bill: `make pages`.

The community is made up; its hours are cleared as any others are.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tests.billing.recorded import MADRID, record

from fairwatt.billing import Month, bill_of, bill_picture

_HOME = 5


def main() -> None:
    """Draw it."""
    books = record(datetime(2019, 7, 1, tzinfo=MADRID), 31, behind_meter=True)
    picture = bill_picture(bill_of(books, _HOME, Month(2019, 7)))
    (Path(__file__).parents[1] / "docs" / "bills.png").write_bytes(picture)


if __name__ == "__main__":
    main()
