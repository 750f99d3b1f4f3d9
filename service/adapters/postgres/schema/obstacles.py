"""Waiting for the locks of a migration: in short tries that hold nobody up for long, naming who is in the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import asyncpg

from service.adapters.postgres.queries import query
from service.domain.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.adapters.postgres.session.connect import Connection

LOOKS_EACH_TRY = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """*try_s* is how long one try queues for a lock, and readers behind it; *pause_s* is theirs alone."""

    try_s: float = 3.0
    pause_s: float = 5.0
    total_s: float = 300.0

    @property
    def look_s(self) -> float:
        return self.try_s / LOOKS_EACH_TRY


class Waiting:
    """Waits within *patience*, and *report*s who holds the lock whenever that changes.

    *guard* is the session that looks: what it needs no lock for.
    """

    def __init__(
        self, guard: Connection, patience: Patience, report: Callable[[str], None]
    ) -> None:
        self._guard = guard
        self._patience = patience
        self._report = report
        self._seen: list[asyncpg.Record] = []
        self._waiting_since: float | None = None

    async def for_turn(self) -> None:
        """Until no other migration runs in this database."""
        deadline = monotonic() + self._patience.total_s
        while not await self._guard.fetchval(query("lock_migrations")):
            await self._look("migration_holder")
            if monotonic() > deadline:
                raise self._given_up("another migration holds on to this database")
            await asyncio.sleep(self._patience.look_s)

    async def for_locks(
        self, migrate: Callable[[float, Callable[[int], object]], Awaitable[None]]
    ) -> None:
        """Runs *migrate*, given how long to wait for a lock, as often as it takes to be done once."""
        deadline = monotonic() + self._patience.total_s
        while True:
            try:
                return await self._tried(migrate)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                if monotonic() + self._patience.pause_s > deadline:
                    raise self._given_up("the tables cannot be locked") from None
            await asyncio.sleep(self._patience.pause_s)

    async def _tried(
        self, migrate: Callable[[float, Callable[[int], object]], Awaitable[None]]
    ) -> None:
        pids: list[int] = []
        trying = asyncio.ensure_future(migrate(self._patience.try_s, pids.append))
        try:
            while not (await asyncio.wait([trying], timeout=self._patience.look_s))[0]:
                if pids:
                    await self._look("blockers", pids[0])
            await trying
        finally:
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)

    async def _look(self, who: str, *values: int) -> None:
        await self._guard.execute(query("clear_snapshot"))
        found = await self._guard.fetch(query(who), *values)
        if not found:
            return
        self._waiting_since = self._waiting_since or monotonic()
        others = [row["pid"] for row in found] != [row["pid"] for row in self._seen]
        self._seen = found
        if others:
            self._report(f"the migration waits for {self._named()}")

    def _named(self) -> str:
        return (
            "; ".join(self._name(row) for row in self._seen[:3]) or "a lock that was held briefly"
        )

    def _name(self, row: asyncpg.Record) -> str:
        """Of other roles' sessions only a member of pg_read_all_stats sees since when."""
        waited_s = monotonic() - (self._waiting_since or monotonic())
        age = f"{row['age_s']:.0f} s" if row["age_s"] is not None else f"at least {waited_s:.0f} s"
        if row["prepared"] is not None:
            return f"the prepared transaction {row['prepared']!r} (role {row['role']}, for {age})"
        return f"pid {row['pid']} (role {row['role']}, in a transaction for {age})"

    def _given_up(self, what: str) -> DatabaseError:
        return DatabaseError(
            f"{what} after {self._patience.total_s:.0f} s: {self._named()}",
            hint="Wait until that ends, or end it: SELECT pg_terminate_backend(PID),"
            " or ROLLBACK PREPARED. Nothing was changed.",
        )
