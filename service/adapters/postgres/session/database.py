"""A database that is used in transactions: retried while it is away, ended where the lease is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.clock import DatabaseClock
from service.adapters.postgres.session.faults import translated
from service.domain.errors import DatabaseAwayError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    import asyncpg

    from service.adapters.postgres.session.connect import Connection, Pool


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease that transactions are made under: one that is not the newest commits nothing."""

    account_id: str
    epoch: int


class Database:
    """A pool whose failures are classified: what may work later is tried again, within a deadline.

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
        """The last statement of a transaction: a new holder of the lease waits for it, or it fails."""
        fence = self._fence
        if fence and not await connection.fetchval(query("fence"), fence.account_id, fence.epoch):
            raise LeaseLostError(
                f"another daemon works for {fence.account_id} now",
                hint="Nothing of this transaction was kept. Start again to stand by.",
            )
