"""Puts settings, adapters and jobs together by hand: the only module that knows every adapter."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.adapters.postgres import reports
from service.adapters.postgres import runs as records
from service.adapters.postgres.connect import connect, create_pool
from service.adapters.postgres.embedded import data_root, open_server
from service.adapters.postgres.migrate import (
    ABSENT,
    AHEAD,
    BEHIND,
    CURRENT,
    offline_sql,
    schema_state,
    upgrade,
)
from service.adapters.postgres.store import Database, PostgresStore
from service.adapters.stripe.client import StripeClient
from service.adapters.stripe.decode import Decoder
from service.adapters.stripe.identity import who_are_we
from service.adapters.stripe.limits import Limits
from service.adapters.stripe.source import StripeRefunds
from service.domain.errors import RefundSyncError, SchemaError
from service.domain.span import Span
from service.jobs import plan
from service.jobs.cover import Cover, Covering, always
from service.jobs.estimate import Estimate, estimated
from service.jobs.record import Run, recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.adapters.postgres.connect import Connection, Pool
    from service.adapters.postgres.embedded import Server
    from service.adapters.postgres.migrate import SchemaState, Upgraded
    from service.ports import Progress
    from service.settings import Settings

POOL_SIZE = 6
READY_LIMIT_S = 5.0

Planned = Callable[[PostgresStore], Awaitable[Covering]]
Gate = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is: its DSN, and the embedded server if it is ours."""

    dsn: str
    server: Server | None


@asynccontextmanager
async def database_place(settings: Settings) -> AsyncIterator[Place]:
    """One's own database where DATABASE_URL names one, else the embedded one, started if need be."""
    if settings.database_url is not None:
        yield Place(settings.database_url.get_secret_value(), None)
        return
    async with server_of(embedded_root(settings)) as server:
        yield Place(server.dsn, server)


@asynccontextmanager
async def server_of(root: Path) -> AsyncIterator[Server]:
    """The embedded server of that folder, for as long as the body lasts."""
    server = await _opened(root)
    try:
        yield server
    finally:
        await _off_the_loop(server.close)


def embedded_root(settings: Settings) -> Path:
    return settings.data_dir or data_root(os.environ)


async def _opened(root: Path) -> Server:
    """Starting takes a second and cannot be cut short safely: on cancellation it is ended first."""
    starting = asyncio.ensure_future(asyncio.to_thread(open_server, root))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        server = await starting
        await _off_the_loop(server.close)
        raise


async def _off_the_loop(work: Callable[[], None]) -> None:
    await asyncio.shield(asyncio.to_thread(work))


@asynccontextmanager
async def open_database(settings: Settings, tell: Callable[[str], None]) -> AsyncIterator[Database]:
    """The database, ready for use: the embedded one migrated if behind, one's own refused if so."""
    async with database_place(settings) as place:
        await _ready_schema(place, tell)
        pool = await create_pool(place.dsn, size=POOL_SIZE)
        try:
            database = Database(pool, deadline_s=settings.deadline_s)
            await database.now()
            yield database
        finally:
            await _closed(pool)


async def _closed(pool: Pool) -> None:
    """Closes gracefully, and by force where a connection does not come back."""
    try:
        await asyncio.wait_for(pool.close(), 10)
    except TimeoutError:
        pool.terminate()


async def _ready_schema(place: Place, tell: Callable[[str], None]) -> None:
    connection = await connect(place.dsn)
    try:
        state = await schema_state(connection)
    finally:
        await connection.close()
    if state.name == CURRENT:
        return
    if place.server is None or state.name not in (ABSENT, BEHIND):
        raise SchemaError(f"the database schema is {state}", hint=_way_out(state))
    done = await upgrade(place.dsn)
    tell(f"embedded database: schema migrated to {done.to_revision}")


def _way_out(state: SchemaState) -> str:
    if state.name in (ABSENT, BEHIND):
        return "Run `refund-sync migrate`, as the role that is to own the schema."
    if state.name == AHEAD:
        return "Install the refund-sync that made it, or a newer one."
    return "Use another database, or rename what is there."


@dataclass(frozen=True, slots=True)
class Account:
    """A database and Stripe, talking about the same account."""

    settings: Settings
    database: Database
    client: StripeClient
    source: StripeRefunds
    id: str

    def store(self, run: Run | None = None) -> PostgresStore:
        return PostgresStore(self.database, self.id, run.id if run else None)

    async def settle_bound(self) -> int:
        """The latest instant that a claim could reach now, by the database's clock."""
        now = await self.database.now()
        return int(now.timestamp()) - self.settings.settle_lag_s

    async def wanted(self) -> Span:
        bound = await self.settle_bound()
        return Span(min(self.settings.since_s, bound - 1), bound)


def make_client(settings: Settings, now: Callable[[], datetime]) -> StripeClient:
    key = settings.require_key()
    limits = Limits(
        endpoint_rate=settings.endpoint_rate,
        global_rate=settings.rate_of_all,
        concurrency=settings.concurrency,
    )
    return StripeClient(
        key.secret.get_secret_value(),
        now=now,
        limits=limits,
        base=settings.stripe_api_base,
        deadline_s=settings.deadline_s,
    )


def make_source(settings: Settings, client: StripeClient) -> StripeRefunds:
    policy = settings.metadata
    kept = frozenset(key.strip() for key in policy.split(",") if key.strip())
    decoder = Decoder("keep" if policy == "keep" else "drop" if policy == "drop" else kept)
    return StripeRefunds(
        client, decoder, hydrate=settings.hydrate, settle_lag_s=settings.settle_lag_s
    )


@asynccontextmanager
async def open_account(settings: Settings, database: Database) -> AsyncIterator[Account]:
    """Knows who the key belongs to, and that this database may hold it, before anything is written."""
    livemode = settings.require_key().livemode
    await records.refuse_other_mode(database, livemode=livemode)
    async with make_client(settings, database.clock.now) as client:
        identity = await who_are_we(
            client,
            account_id_setting=settings.account_id,
            livemode=livemode,
            newest_stored=lambda account_id: records.newest_refund(database, account_id),
        )
        await records.meet_account(
            database, identity.account_id, livemode=livemode, wanted_from=settings.since_s
        )
        source = make_source(settings, client)
        yield Account(settings, database, client, source, identity.account_id)


@asynccontextmanager
async def recorded_run(
    account: Account, job: str, wanted: Span | None, progress: Progress
) -> AsyncIterator[tuple[Run, PostgresStore]]:
    """A run on record around the body, and the store that its claims name it in."""
    runs = records.Runs(account.database)
    run = Run(await runs.begin(job, account.id, wanted), job)
    async with recorded(runs, run, progress):
        yield run, account.store(run)


async def cover(
    account: Account,
    job: str,
    wanted: Span,
    planned: Planned,
    progress: Progress,
    *,
    gate: Gate | None = None,
) -> int:
    """Runs one covering as a recorded run. Returns the seconds of it that stay unread."""
    async with recorded_run(account, job, wanted, progress) as (run, store):
        covering = await planned(store)
        await Cover(
            account.source,
            store,
            progress,
            concurrency=account.settings.concurrency,
            drain_s=account.settings.drain_s,
            gate=gate or always,
        ).run(covering)
        if progress.settle_bound is not None:
            await store.settle(progress.settle_bound)
        short_s = await plan.shortfall_s(store, covering, progress.settle_bound)
        if short_s:
            run.shortfall = f"{short_s} seconds of the span were not read"
    return short_s


async def look_again(account: Account, wanted: Span, progress: Progress) -> int:
    """The second look, if one is due. Returns the seconds that stay unread."""
    covering = await plan.second_look(account.store(), wanted)
    if not covering.spans:
        return 0

    async def planned(_: PostgresStore) -> Covering:
        return covering

    span = Span(covering.spans[0].start, covering.spans[-1].end)
    return await cover(account, "second look", span, planned, progress)


async def database_checks(account: Account) -> dict[str, str | None]:
    """What is wrong with the database and its schema; None is fine. Asked once, without patience."""

    async def read(connection: Connection) -> SchemaState:
        return await schema_state(connection)

    try:
        state = await asyncio.wait_for(account.database.once(read), READY_LIMIT_S)
    except (RefundSyncError, TimeoutError) as error:
        return {"database": str(error) or "no answer", "schema": None}
    return {"database": None, "schema": None if state.name == CURRENT else str(state)}


async def quarantined(account: Account) -> int:
    told = await status(account.database)
    return sum(a["quarantined"] for a in told["accounts"] if a["account_id"] == account.id)


async def status(database: Database) -> dict[str, Any]:
    async def read(connection: Connection) -> dict[str, Any]:
        state = await schema_state(connection)
        return {
            "accounts": await reports.accounts(connection),
            "schema": {"state": state.name, "revision": state.revision, "newest": state.newest},
        }

    return await database.patiently(read)


async def everything_of(database: Database, refund_id: str) -> list[dict[str, Any]]:
    return await database.patiently(lambda c: reports.everything_of(c, refund_id))


@dataclass(frozen=True, slots=True)
class Summary:
    """What finance sees: sums by currency, completeness by month, newest first."""

    by_currency: list[dict[str, Any]]
    by_month: list[dict[str, Any]]


async def summary(dsn: str, *, months: int = 13) -> Summary:
    connection = await connect(dsn)
    try:
        return Summary(
            await reports.by_currency(connection), await reports.by_month(connection, months)
        )
    finally:
        await connection.close()


def migrations_as_sql() -> str:
    return offline_sql()


async def migrate(settings: Settings) -> Upgraded:
    async with database_place(settings) as place:
        return await upgrade(place.dsn)


async def estimate(settings: Settings, first: int, last: int) -> Estimate:
    """What a backfill would read. Reads one page; makes no folder, no server, no row."""
    covered = await _covered_so_far(settings)
    async with make_client(settings, lambda: datetime.now(UTC)) as client:
        return await estimated(
            make_source(settings, client),
            covered,
            plan.wanted_of(first, last, int(time.time()) - settings.settle_lag_s).span,
        )


async def _covered_so_far(settings: Settings) -> list[Span]:
    """Coverage where a database is there already."""
    if settings.database_url is None and not embedded_root(settings).exists():
        return []
    async with database_place(settings) as place:
        connection = await connect(place.dsn)
        try:
            if (await schema_state(connection)).name != "current":
                return []
            return await reports.covered_of_the_only_account(connection)
        finally:
            await connection.close()
