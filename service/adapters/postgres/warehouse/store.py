"""The warehouse of one account: coverage read, batches written, runs kept, each patiently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from service.adapters.postgres.session.clock import SystemClock
from service.adapters.postgres.session.halves import REFUSALS, reason_of
from service.adapters.postgres.session.values import time_of
from service.adapters.postgres.warehouse.apart import Apart
from service.adapters.postgres.warehouse.writer import write_batch
from service.domain.coverage.span import Span
from service.domain.errors import DatabaseAwayError

if TYPE_CHECKING:
    from uuid import UUID

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database
    from service.domain.batch import Batch, Written
    from service.ports.runs import Clock

log = structlog.get_logger(__name__)

COPY_RACES = 20
"""How often a batch may meet rows that another command has just added, before that is an error."""


class PostgresStore:
    """Implements ``ports.warehouse.RefundStore`` for one account and run."""

    def __init__(
        self, database: Database, account_id: str, run_id: UUID | None, clock: Clock | None = None
    ) -> None:
        self._database = database
        self._account_id = account_id
        self._run_id = run_id
        self._clock: Clock = clock or SystemClock()

    async def covered(self, stream: str) -> list[Span]:
        found = await self._database.fetchval("covered", self._account_id, stream)
        return [Span(part.lower, part.upper) for part in found or ()]

    async def settle(self, bound: int) -> None:
        await self._database.execute("settle_account", self._account_id, time_of(bound))

    async def write(self, batch: Batch) -> Written:
        """In one transaction; in parts where the database refuses the data of an object in it."""
        try:
            return await self._write(batch)
        except REFUSALS as error:
            log.warning("batch.refused", account_id=self._account_id, reason=reason_of(error))
            return await Apart(batch, self._write, self._database.clock.now()).run()

    async def _write(self, batch: Batch) -> Written:
        """Retried while other commands add the same rows."""
        for attempt in range(COPY_RACES):

            async def write(connection: Connection, *, again: bool = attempt > 0) -> Written:
                return await write_batch(
                    connection,
                    self._account_id,
                    self._run_id,
                    batch,
                    self._clock.now(),
                    again=again,
                )

            try:
                return await self._database.patiently(write)
            except asyncpg.UniqueViolationError:
                log.info("batch.met_another_writer", account_id=self._account_id)
        raise DatabaseAwayError(
            "other commands kept adding the same rows",
            hint="Let them end, then run this again: what is stored stays.",
        )
