"""The warehouse of one account: coverage read, batches written, runs kept, each patiently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import stamina
import structlog

from service.adapters.postgres.faults import translate
from service.adapters.postgres.queries import query
from service.adapters.postgres.rows import time_of
from service.adapters.postgres.writer import write_batch
from service.domain.errors import DatabaseAwayError
from service.domain.span import Span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.adapters.postgres.connect import Connection, Pool
    from service.ports import Batch, Written

log = structlog.get_logger(__name__)
T = TypeVar("T")

COPY_RACES = 20
"""How often a batch may meet rows that another command has just added, before that is an error."""


class DatabaseClock:
    """The database's clock, kept as an offset to our own monotonic one. UTC."""

    FRESH_S = 30.0

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
        told: datetime = await connection.fetchval(query("database_time"))
        after = monotonic()
        self._offset = told - datetime.fromtimestamp((before + after) / 2, UTC)
        self._read_at = after


class Database:
    """A pool whose failures are told apart: what may work later is tried again, within a deadline."""

    def __init__(self, pool: Pool, *, deadline_s: float) -> None:
        self.pool = pool
        self.clock = DatabaseClock()
        self._deadline_s = deadline_s

    async def now(self) -> datetime:
        """The database's clock, asked for."""

        async def read(_: Connection) -> datetime:
            return self.clock.now()

        return await self.patiently(read)

    async def patiently(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of *work*, done whole in one transaction, as often as it takes to be done once.

        Raises DatabaseAwayError past the deadline, DatabaseError at once.
        """
        async for attempt in stamina.retry_context(
            on=DatabaseAwayError, attempts=None, timeout=self._deadline_s,
            wait_initial=0.1, wait_max=5.0, wait_jitter=0.5,
        ):  # fmt: skip
            with attempt:
                return await self.once(work)
        raise AssertionError("stamina either returns or raises")

    async def once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """As ``patiently``, without a second try."""
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                await self.clock.keep_fresh(connection)
                return await work(connection)
        except asyncpg.UniqueViolationError:
            raise
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            raise known from error


class PostgresStore:
    """Implements ``ports.RefundStore`` for one account and run."""

    def __init__(self, database: Database, account_id: str, run_id: UUID | None) -> None:
        self._database = database
        self._account_id = account_id
        self._run_id = run_id

    async def covered(self, stream: str) -> list[Span]:
        async def read(connection: Connection) -> list[Span]:
            found = await connection.fetchval(query("covered"), self._account_id, stream)
            return [Span(part.lower, part.upper) for part in found or ()]

        return await self._database.patiently(read)

    async def settle(self, bound: int) -> None:
        async def settle(connection: Connection) -> None:
            await connection.execute(query("settle_account"), self._account_id, time_of(bound))

        await self._database.patiently(settle)

    async def write(self, batch: Batch) -> Written:
        async def write(connection: Connection) -> Written:
            return await write_batch(connection, self._account_id, self._run_id, batch)

        for _ in range(COPY_RACES):
            try:
                return await self._database.patiently(write)
            except asyncpg.UniqueViolationError:
                log.info("batch.met_another_writer", account_id=self._account_id)
        raise DatabaseAwayError(
            "other commands kept adding the same rows",
            hint="Let them end, then run this again: what is stored stays.",
        )
