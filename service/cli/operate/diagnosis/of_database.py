"""What the database says: of itself, its schema, what it holds, and what was read for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.reports import status as reports
from service.adapters.postgres.schema.ground import wrong_encoding
from service.adapters.postgres.schema.migrate import ABSENT, BEHIND, CURRENT, schema_state
from service.adapters.postgres.session.connect import connect, is_pooled, understood
from service.adapters.postgres.session.faults import translated
from service.app import databases as places
from service.cli.operate.diagnosis.finding import CLOCKS_APART_S, Finding, failed, ok, warning
from service.domain.errors import RefundSyncError, SettingError
from service.domain.money import exponent
from service.domain.pace import FLOOR, PER_REFUND, allowance_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.schema.migrate import SchemaState
    from service.adapters.postgres.session.connect import Connection
    from service.settings import Settings

READS = "read allowance"


async def of_database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with places.database_place(settings) as place:
            if place.server is None:
                for note in understood(place.dsn).notes:
                    yield ok("connection string", note)
            connection = await connect(place.dsn)
            try:
                async for finding in _of_connection(settings, connection, place.server is not None):
                    yield finding
            finally:
                await connection.close()
    except RefundSyncError as error:
        yield failed("database", error)


async def _of_connection(
    settings: Settings, connection: Connection, embedded: bool
) -> AsyncIterator[Finding]:
    whose = "embedded" if embedded else "yours"
    yield ok("database", f"{whose}, Postgres {connection.get_server_version().major}")
    if problem := wrong_encoding(str(connection.get_settings().server_encoding)):
        yield failed("encoding", problem)
    with translated():
        if await is_pooled(connection):
            yield warning(
                "pooler",
                "a pooler in transaction mode (such as PgBouncer) stands before Postgres",
                "It works, without prepared statements; a direct connection is faster.",
            )
        yield await _of_database_clock(connection)
        yield await _of_role(connection, embedded)
        state = await schema_state(connection)
        yield _of_schema(state, embedded)
        if state.name == CURRENT:
            if (mode := await _of_mode(settings, connection)) is not None:
                yield mode
            yield await _of_currencies(connection)
            for account_id, counts in (await reports.misdated_of_all(connection)).items():
                yield _of_dates(account_id, counts)
            for reads in await reports.reads_of_all(connection, settings.read_allowance):
                yield of_reads(settings, reads)


async def _of_role(connection: Connection, embedded: bool) -> Finding:
    row = await connection.fetchrow(query("database_role"))
    role, superuser, may_write = row or ("unknown", False, True)
    if not may_write:
        return Finding(
            "error",
            "role",
            f"{role} may not write here",
            "Let it create schemas in this database, or own refund_sync and finance: deploy/README.md.",
            5,
        )
    if superuser and not embedded:
        return warning(
            "role",
            f"{role} is a superuser",
            "A role that may write the two schemas is enough: deploy/README.md.",
        )
    return ok("role", f"{role}, may write")


async def _of_database_clock(connection: Connection) -> Finding:
    reported: datetime = await connection.fetchval(query("database_time"))
    ahead_s = (reported - datetime.now(UTC)).total_seconds()
    if abs(ahead_s) > CLOCKS_APART_S:
        return warning(
            "database clock", f"{ahead_s:+.0f} s from this machine's", "Set both by NTP."
        )
    return ok("database clock", f"{ahead_s:+.1f} s from this machine's")


def _of_schema(state: SchemaState, embedded: bool) -> Finding:
    if state.name == CURRENT:
        return ok("schema", f"{state.revision}, current")
    if embedded and state.name in {ABSENT, BEHIND}:
        return ok("schema", f"{state}; the next command migrates it")
    hint = (
        "Run: refund-sync migrate" if state.name in {ABSENT, BEHIND} else "See: refund-sync migrate"
    )
    return Finding("error", "schema", str(state), hint, 5)


async def _of_mode(settings: Settings, connection: Connection) -> Finding | None:
    """A database holds live refunds or test ones."""
    held = await connection.fetchval(query("database_mode"))
    try:
        livemode = settings.require_key().livemode
    except SettingError:  # said already, of the key
        return None
    if held is None:
        return None
    theirs, ours = ("live" if live else "test" for live in (held, livemode))
    if theirs == ours:
        return ok("mode", f"key and database are of {ours} mode")
    return Finding(
        "error",
        "mode",
        f"the key is of {ours} mode, the database holds {theirs} mode refunds",
        "Use a key of that mode, or another database (DATABASE_URL).",
        3,
    )


async def _of_currencies(connection: Connection) -> Finding:
    found = [row[0] for row in await connection.fetch(query("currencies_stored"))]
    unknown = [code for code in found if exponent(code) is None]
    if unknown:
        return warning(
            "currencies",
            f"unknown to us: {', '.join(unknown)}",
            "Their refunds are stored; amounts in major units stay empty in finance.refunds.",
        )
    return ok("currencies", f"{len(found)} stored, all known")


def _of_dates(account_id: str, counts: dict[str, int]) -> Finding:
    """Rows that lie in the future: the database's clock was ahead for a while."""
    some = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if not some:
        return ok("dates", f"{account_id}: none lies in the future")
    return warning(
        "dates",
        f"{account_id}: {some} lie in the future: the database's clock was ahead when they were written",
        "They count as never read until they are read again: refund-sync verify --repair does that now."
        " Keep the database server's clock by NTP.",
    )


def of_reads(settings: Settings, reads: reports.Reads | None) -> Finding:
    """What may be read of an account in 30 days, and what was; None where no account is stored."""
    recent = reads.refunds if reads else 0
    allowance = allowance_of(settings.read_allowance, recent)
    why = (
        "as set" if settings.read_allowance
        else "the least Stripe allows" if allowance == FLOOR
        else f"{PER_REFUND} for each of {recent:,} refunds"
    )  # fmt: skip
    says = f"{allowance:,} reads in 30 days, {why}"
    if reads:
        counted = ", ".join(f"{kind} {count:,}" for kind, count in reads.by_class.items())
        says += f"; counted for {reads.account_id}: {counted or 'none'}"
    return ok(READS, says)
