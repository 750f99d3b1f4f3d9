"""Clocks: the database's, and this machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.queries import query

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Connection

log = structlog.get_logger(__name__)


class DatabaseClock:
    """The database's clock, kept as an offset to our own monotonic one. UTC."""

    FRESH_S = 30.0
    BACK = timedelta(seconds=2)
    """How far it may seem to go back by the estimate alone."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._read_at = float("-inf")

    def now(self) -> datetime:
        return datetime.fromtimestamp(monotonic(), UTC) + self._offset

    async def keep_fresh(self, connection: Connection) -> None:
        """Asks the database for the time, unless that was done just now."""
        if monotonic() - self._read_at < self.FRESH_S:
            return
        before = monotonic()
        reported: datetime = await connection.fetchval(query("database_time"))
        after = monotonic()
        offset = reported - datetime.fromtimestamp((before + after) / 2, UTC)
        if self._read_at > 0 and (back := self._offset - offset) > self.BACK:
            log.warning("database.clock_went_back", seconds=round(back.total_seconds(), 1))
        self._offset, self._read_at = offset, after


class SystemClock:
    """Implements ``ports.runs.Clock``: this machine's, for due times, ages and paces."""

    def now(self) -> datetime:
        return datetime.now(UTC)
