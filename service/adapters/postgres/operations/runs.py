"""Accounts and runs on record."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import columns_of, range_of, time_of
from service.domain.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from uuid import UUID

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database
    from service.domain.coverage.span import Span
    from service.ports.runs import Clock, Progress


LOST_LATELY = timedelta(days=3)
"""Whoever begins looks so far back for runs that were killed; ``tidy_runs`` looks at all."""
KEPT = timedelta(days=400)
MOST_FORGOTTEN = 20_000
FOLDED_AFTER = timedelta(days=3)
RECURRING = (
    "newest part", "events", "second look", "hints", "rechecks", "revisits", "fill of history", "sync",
)  # fmt: skip
"""Jobs that run by themselves, again and again; runs that people start are kept one by one."""


class Runs:
    """The runs of this process, as rows that outlive it; reads of Stripe are counted with them."""

    def __init__(self, database: Database, reads: ReadLog | None = None) -> None:
        self._database = database
        self._reads = reads

    async def begin(self, run_id: UUID, job: str, account_id: str, wanted: Span | None) -> None:
        span = range_of(wanted) if wanted else None

        async def begin(connection: Connection) -> None:
            await connection.execute(query("end_lost_runs"), account_id, LOST_LATELY)
            await connection.execute(query("begin_run"), run_id, account_id, job, span)

        await self._database.patiently(begin)

    async def progress(self, run_id: UUID, at: Progress) -> None:
        w = at.written
        bound = time_of(at.settle_bound) if at.settle_bound else None

        await self._database.execute(
            "progress_run", run_id, at.requests, w.inserted, w.changed,
            w.unchanged, w.stale, w.late, w.quarantined, bound, w.hinted, w.returned, at.unread,
        )  # fmt: skip
        if self._reads:
            await self._reads.flush()

    async def end(self, run_id: UUID, outcome: str, error: str | None = None) -> None:
        async def end(connection: Connection) -> None:
            await connection.execute(query("end_run"), run_id, outcome, error)
            await connection.execute(query("merge_idle_run"), run_id)

        await self._database.patiently(end)


async def tidy_runs(database: Database, account_id: str, now: datetime) -> None:
    """Ends all runs that were killed, folds old ones by day, and forgets older ones and their counts."""

    async def tidy(connection: Connection) -> None:
        await connection.execute(query("end_lost_runs"), account_id, KEPT)
        await connection.execute(query("fold_runs"), account_id, now - FOLDED_AFTER, RECURRING)
        await connection.execute(query("forget_runs"), account_id, KEPT, MOST_FORGOTTEN)
        await connection.execute(query("forget_reads"), account_id, (now - KEPT).date())

    await database.patiently(tidy)


class ReadLog:
    """Counts in the database what was asked of Stripe: by account, day, endpoint and class."""

    def __init__(
        self, database: Database, account_id: str, counted: Counter[tuple[str, str]], clock: Clock
    ) -> None:
        self._database = database
        self._account_id = account_id
        self._counted = counted
        self._written: Counter[tuple[str, str]] = Counter()
        self._flushing = asyncio.Lock()
        self._clock = clock

    def on(self, database: Database) -> ReadLog:
        """The same log by way of another pool: what this one has written is not written again."""
        log = ReadLog(database, self._account_id, self._counted, self._clock)
        log._written, log._flushing = self._written, self._flushing
        return log

    async def flush(self) -> None:
        """Adds what was counted since the last time."""
        async with self._flushing:
            fresh = self._counted - self._written
            if not fresh:
                return
            values = [(kind, endpoint, reads) for (kind, endpoint), reads in sorted(fresh.items())]

            await self._database.execute(
                "count_reads", self._account_id, self._today(), *columns_of(values)
            )
            self._written += fresh

    async def spent(self, days: int) -> dict[str, int]:
        """Reads of the last *days* days, today's among them, by class; those not written yet too."""
        since = self._today() - timedelta(days=days)
        found = await self._database.fetch("reads_by_class", self._account_id, since)
        spent = Counter({row["class"]: row["reads"] for row in found})
        for (kind, _), reads in (self._counted - self._written).items():
            spent[kind] += reads
        return dict(spent)

    async def refunds_of_30_days(self) -> int:
        since = self._clock.now() - timedelta(days=30)
        return int(await self._database.fetchval("refunds_since", self._account_id, since))

    def _today(self) -> date:
        return self._clock.now().date()


async def refuse_other_mode(database: Database, *, livemode: bool) -> None:
    """One database holds live refunds or test ones, never both. Raises SettingError."""
    held: bool | None = await database.fetchval("database_mode")
    if held is not None and held != livemode:
        theirs, ours = ("live", "test") if held else ("test", "live")
        raise SettingError(
            f"this database holds {theirs} mode refunds, and the key is a {ours} mode key",
            hint="Use a key of that mode, or another database (DATABASE_URL).",
        )


async def account_of_key(database: Database, key_digest: bytes) -> str | None:
    """Whose key this is, if Stripe said so before."""
    found: str | None = await database.fetchval("account_of_key", key_digest)
    return found


async def register_account(
    database: Database,
    account_id: str,
    *,
    livemode: bool,
    wanted_from: int,
    key_digests: Sequence[bytes] = (),
) -> datetime:
    """Records the account, and those keys as its own. Returns when it was first met, by the database's clock."""

    async def meet(connection: Connection) -> datetime:
        met: datetime = await connection.fetchval(
            query("register_account"), account_id, livemode, time_of(wanted_from), key_digests
        )
        return met

    return await database.patiently(meet)


async def newest_refunds(database: Database, account_id: str) -> list[str]:
    """The ids of the newest stored refunds of an account, three at most."""
    return [row[0] for row in await database.fetch("newest_refunds", account_id)]
