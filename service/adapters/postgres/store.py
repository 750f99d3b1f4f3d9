"""The warehouse of one account: coverage read, batches written, runs kept, each patiently."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import stamina
import structlog

from service.adapters.postgres.apart import Apart
from service.adapters.postgres.faults import translated
from service.adapters.postgres.halves import REFUSALS, reason_of
from service.adapters.postgres.queries import query
from service.adapters.postgres.rows import time_of
from service.adapters.postgres.writer import write_batch
from service.domain.errors import DatabaseAwayError, LeaseLostError
from service.domain.span import Span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from service.adapters.postgres.connect import Connection, Pool
    from service.ports import Batch, Clock, Written

log = structlog.get_logger(__name__)
T = TypeVar("T")

COPY_RACES = 20
"""How often a batch may meet rows that another command has just added, before that is an error."""


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
        told: datetime = await connection.fetchval(query("database_time"))
        after = monotonic()
        offset = told - datetime.fromtimestamp((before + after) / 2, UTC)
        if self._read_at > 0 and (back := self._offset - offset) > self.BACK:
            log.warning("database.clock_went_back", seconds=round(back.total_seconds(), 1))
        self._offset, self._read_at = offset, after


class SystemClock:
    """Implements ``ports.Clock``: this machine's, for due times, ages and paces."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease that transactions are made under: one that is not the newest commits nothing."""

    account_id: str
    epoch: int


class Database:
    """A pool whose failures are told apart: what may work later is tried again, within a deadline.

    With a *fence* each transaction ends by holding on to the lease, and fails where that was lost.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        deadline_s: float,
        clock: DatabaseClock | None = None,
        fence: Fence | None = None,
        dsn: str = "",
    ) -> None:
        self.pool = pool
        self.dsn = dsn
        self.clock = clock or DatabaseClock()
        self._deadline_s = deadline_s
        self._fence = fence

    async def now(self) -> datetime:
        """The database's clock, asked for."""

        async def read(_: Connection) -> datetime:
            return self.clock.now()

        return await self.patiently(read)

    async def fetch(self, name: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of a named query that only reads, as patiently; one statement needs no transaction."""
        return await self._again_and_again(lambda: self._read(name, values))

    async def fetchval(self, name: str, *values: Any) -> Any:
        """The first value of such a query; None where there is no row."""
        found = await self.fetch(name, *values)
        return found[0][0] if found else None

    async def execute(self, name: str, *values: Any) -> None:
        """A named query that writes, in a transaction of its own."""
        await self.patiently(lambda connection: connection.execute(query(name), *values))

    async def patiently(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of *work*, done whole in one transaction, as often as it takes to be done once.

        Raises DatabaseAwayError past the deadline, DatabaseError at once.
        """
        return await self._again_and_again(lambda: self.once(work))

    async def once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """As ``patiently``, without a second try."""
        with translated():
            async with self.pool.acquire() as connection, connection.transaction():
                await self.clock.keep_fresh(connection)
                done = await work(connection)
                await self._hold_on(connection)
                return done

    async def _read(self, name: str, values: Sequence[Any]) -> list[asyncpg.Record]:
        with translated():
            async with self.pool.acquire() as connection:
                await self.clock.keep_fresh(connection)
                return await connection.fetch(query(name), *values)

    async def _again_and_again(self, work: Callable[[], Awaitable[T]]) -> T:
        async for attempt in stamina.retry_context(
            on=DatabaseAwayError, attempts=None, timeout=self._deadline_s,
            wait_initial=0.1, wait_max=5.0, wait_jitter=0.5,
        ):  # fmt: skip
            with attempt:
                return await work()
        raise AssertionError("stamina either returns or raises")

    async def _hold_on(self, connection: Connection) -> None:
        """The last statement of a transaction: whoever takes the lease waits for it, or we learn of it."""
        fence = self._fence
        if fence and not await connection.fetchval(query("fence"), fence.account_id, fence.epoch):
            raise LeaseLostError(
                f"another daemon works for {fence.account_id} now",
                hint="Nothing of this transaction was kept. Start again to stand by.",
            )


class PostgresStore:
    """Implements ``ports.RefundStore`` for one account and run."""

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
        """However often other commands add the same rows meanwhile."""
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
