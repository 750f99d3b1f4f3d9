"""Opens databases: one's own or the embedded one, ready for use, with its reports."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from service.adapters.postgres.reports import status as reports
from service.adapters.postgres.schema.migrate import (
    ABSENT,
    AHEAD,
    BEHIND,
    CURRENT,
    downgrade,
    offline_sql,
    schema_state,
    upgrade,
)
from service.adapters.postgres.server.embedded import open_server
from service.adapters.postgres.session.connect import connect, create_pool
from service.adapters.postgres.session.database import Database
from service.app.decoding import decoder_of
from service.domain.errors import DatabaseError, RefundSyncError, SchemaError
from service.domain.pace import Budget, allowance_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.adapters.postgres.schema.migrate import SchemaState, Upgraded
    from service.adapters.postgres.server.embedded import Server
    from service.adapters.postgres.session.clock import DatabaseClock
    from service.adapters.postgres.session.connect import Connection, Pool
    from service.adapters.postgres.session.database import Fence
    from service.settings import Settings

T = TypeVar("T")

POOL_SIZE = 6
READY_LIMIT_S = 5.0


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
    """As set, else systemd's state folder, else the system's for root, else the user's data folder."""
    if settings.data_dir:
        return settings.data_dir
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/refund-sync")
    home = Path(os.environ.get("HOME") or "~").expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "refund-sync"


async def _opened(root: Path) -> Server:
    """Starting takes a second and cannot be cut short safely: on cancellation it is ended first."""
    starting = asyncio.ensure_future(asyncio.to_thread(open_server, root))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(DatabaseError):  # the same Ctrl-C may have ended what was being started
            server = await starting
            await _off_the_loop(server.close)
        raise


async def _off_the_loop(work: Callable[[], None]) -> None:
    await asyncio.shield(asyncio.to_thread(work))


@asynccontextmanager
async def open_database(
    settings: Settings, report: Callable[[str], None]
) -> AsyncIterator[Database]:
    """The database, ready for use: the embedded one migrated if behind, one's own refused if so."""
    async with database_place(settings) as place:
        await _ready_schema(place, report)
        async with pooled(settings, place.dsn) as database:
            yield database


@asynccontextmanager
async def pooled(
    settings: Settings,
    dsn: str,
    *,
    application_name: str = "refund-sync",
    fence: Fence | None = None,
    clock: DatabaseClock | None = None,
) -> AsyncIterator[Database]:
    """A pool on a database that is ready; with a *fence*, one that commits only under that lease.

    Instants are compared only where they come from one *clock*.
    """
    pool = await create_pool(dsn, size=POOL_SIZE, application_name=application_name)
    try:
        database = Database(pool, deadline_s=settings.deadline_s, clock=clock, fence=fence, dsn=dsn)
        await database.now()
        yield database
    finally:
        await _closed(pool)


async def _closed(pool: Pool) -> None:
    """Closes gracefully, and by force where a connection does not come back."""
    try:
        async with asyncio.timeout(10):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _ready_schema(place: Place, report: Callable[[str], None]) -> None:
    connection = await connect(place.dsn)
    try:
        state = await schema_state(connection)
    finally:
        await connection.close()
    if state.name == CURRENT:
        return
    if place.server is None or state.name not in (ABSENT, BEHIND):
        raise SchemaError(f"the database schema is {state}", hint=_way_out(state))
    done = await upgrade(place.dsn, report=report)
    report(f"embedded database: schema migrated to {done.to_revision}")


def _way_out(state: SchemaState) -> str:
    if state.name in (ABSENT, BEHIND):
        return "Run `refund-sync migrate`, as the role that is to own the schema."
    if state.name == AHEAD:
        return "Install the refund-sync that made it, or a newer one."
    return "Use another database, or rename what is there."


def migrations_as_sql() -> str:
    return offline_sql()


async def migrate(settings: Settings, report: Callable[[str], None], *, back: bool) -> Upgraded:
    async with database_place(settings) as place:
        return await (downgrade if back else upgrade)(place.dsn, report=report)


async def database_checks(database: Database) -> dict[str, str | None]:
    """What is wrong with the database and its schema; None is fine. Asked once, without patience."""

    async def read(connection: Connection) -> SchemaState:
        return await schema_state(connection)

    try:
        async with asyncio.timeout(READY_LIMIT_S):
            state = await database.once(read)
    except (RefundSyncError, TimeoutError) as error:
        return {"database": str(error) or "no answer", "schema": None}
    return {"database": None, "schema": None if state.name == CURRENT else str(state)}


async def status(database: Database, settings: Settings) -> dict[str, Any]:
    """How each account stands.

    The interval between polls follows from these settings and from what is stored: a daemon that webhooks
    keep current polls less often than that.
    """
    form = decoder_of(settings).form

    async def read(connection: Connection) -> dict[str, Any]:
        state = await schema_state(connection)
        accounts = await reports.accounts(connection, settings.read_allowance, form)
        for account in accounts:
            budget = Budget(
                account["read_allowance"], settings.read_share, settings.sync_interval_s
            )
            account["poll_interval_s"] = budget.poll_interval_s
        return {
            "accounts": accounts,
            "schema": {"state": state.name, "revision": state.revision, "newest": state.newest},
        }

    return await database.patiently(read)


async def if_there(settings: Settings, read: Callable[[Connection], Awaitable[T]]) -> T | None:
    """What *read* finds in a database that is there and current, else None. Makes no folder and no row."""
    if settings.database_url is None and not embedded_root(settings).exists():
        return None
    async with database_place(settings) as place:
        connection = await connect(place.dsn)
        try:
            current = (await schema_state(connection)).name == CURRENT
            return await read(connection) if current else None
        finally:
            await connection.close()


async def read_allowance(settings: Settings) -> int:
    """Reads of 30 days as ``status`` shows them: as set, else by what is stored of the only account."""
    if settings.read_allowance is not None:
        return settings.read_allowance
    found = await if_there(settings, lambda c: reports.reads_of_all(c, None)) or []
    return found[0].allowance if len(found) == 1 else allowance_of(None, 0)


async def waiting(database: Database, account_id: str) -> dict[str, int]:
    """What waits of an account: in quarantine, due to be read again, hinted at."""
    now = datetime.now(UTC)
    return await database.patiently(lambda c: reports.waiting(c, account_id, now))


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
