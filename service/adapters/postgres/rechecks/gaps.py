"""Times whose events expired at Stripe before they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import range_of, time_of
from service.domain.coverage.span import Span
from service.domain.recheck import (
    STATES,
)

if TYPE_CHECKING:
    from datetime import datetime

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database


class EventGaps:
    """Implements ``ports.hints.GapStore``: times whose events expired at Stripe before they were read."""

    def __init__(self, database: Database, account_id: str) -> None:
        self._database = database
        self._account_id = account_id

    async def known(self) -> list[Span]:
        found = await self._database.fetch("event_gaps", self._account_id)
        return [Span(row[0].lower, row[0].upper) for row in found]

    async def add(self, span: Span, read_from: int, now: datetime) -> None:
        async def write(connection: Connection) -> None:
            await connection.execute(
                query("add_event_gap"), self._account_id, range_of(span),
                self._database.clock.now(), time_of(read_from),
            )  # fmt: skip
            await connection.execute(
                query("expedite_rechecks"), self._account_id, now, list(STATES)
            )

        await self._database.patiently(write)

    async def outstanding_since(self) -> int | None:
        found: int | None = await self._database.fetchval("oldest_outstanding", self._account_id)
        return found

    async def close(self, now: datetime) -> list[Span]:
        async def write(connection: Connection) -> list[Span]:
            await connection.execute(query("redate_event_gaps"), self._account_id)
            found = await connection.fetch(
                query("close_event_gaps"), self._account_id, now, list(STATES)
            )
            return [Span(row[0].lower, row[0].upper) for row in found]

        return await self._database.patiently(write)
