"""The order of reads: by when they began, on the database's clock, as far as that can be believed.

A time in the future was taken from a clock that was ahead for a while. Nobody knows when it was: such times
sort before all known ones, among themselves as they are. ``refund_sync.known_at`` is the same in SQL.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

TOLERANCE = timedelta(seconds=5)
"""The database's clock is kept as an estimate: that a time is this far ahead means nothing."""
BEFORE_ALL = timedelta(days=365_000)


def known_at(at: datetime, now: datetime) -> datetime:
    """Where *at* stands in the order of reads, when the database's clock says *now*."""
    return at - BEFORE_ALL if at > now + TOLERANCE else at
