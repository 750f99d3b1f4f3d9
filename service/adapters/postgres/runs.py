"""Accounts and runs on record."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from service.adapters.postgres.claims import range_of
from service.adapters.postgres.queries import query
from service.adapters.postgres.rows import time_of
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from service.adapters.postgres.connect import Connection
    from service.adapters.postgres.store import Database
    from service.domain.span import Span
    from service.ports import Progress


class Runs:
    """The runs of this process, as rows that outlive it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job: str, account_id: str, wanted: Span | None) -> UUID:
        run_id = uuid4()
        span = range_of(wanted) if wanted else None

        async def begin(connection: Connection) -> None:
            await connection.execute(query("end_lost_runs"))
            await connection.execute(query("begin_run"), run_id, account_id, job, span)

        await self._database.patiently(begin)
        return run_id

    async def progress(self, run_id: UUID, at: Progress) -> None:
        w = at.written
        bound = time_of(at.settle_bound) if at.settle_bound else None

        async def progress(connection: Connection) -> None:
            await connection.execute(
                query("progress_run"), run_id, at.requests, w.inserted, w.changed,
                w.unchanged, w.stale, w.late, w.quarantined, bound,
            )  # fmt: skip

        await self._database.patiently(progress)

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None:
        async def end(connection: Connection) -> None:
            await connection.execute(query("end_run"), run_id, outcome, error)

        await self._database.patiently(end)


async def refuse_other_mode(database: Database, *, livemode: bool) -> None:
    """One database holds live refunds or test ones, never both. Raises SettingError."""

    async def read(connection: Connection) -> bool | None:
        held: bool | None = await connection.fetchval(query("database_mode"))
        return held

    held = await database.patiently(read)
    if held is not None and held != livemode:
        theirs, ours = ("live", "test") if held else ("test", "live")
        raise SettingError(
            f"this database holds {theirs} mode refunds, and the key is a {ours} mode key",
            hint="Use a key of that mode, or another database (DATABASE_URL).",
        )


async def meet_account(
    database: Database, account_id: str, *, livemode: bool, wanted_from: int
) -> None:
    async def meet(connection: Connection) -> None:
        await connection.execute(query("meet_account"), account_id, livemode, time_of(wanted_from))

    await database.patiently(meet)


async def newest_refund(database: Database, account_id: str) -> str | None:
    """The id of the newest stored refund of an account."""

    async def read(connection: Connection) -> str | None:
        found: str | None = await connection.fetchval(query("newest_refund"), account_id)
        return found

    return await database.patiently(read)
