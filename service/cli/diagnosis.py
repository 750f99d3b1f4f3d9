"""What ``doctor`` examines: each finding says what holds, or what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service import wiring
from service.adapters.postgres.connect import connect, is_pooled
from service.adapters.postgres.migrate import schema_state
from service.adapters.postgres.queries import query
from service.adapters.stripe.endpoints import STRIPE_VERSION
from service.domain.errors import AccessError, NotFoundError, RefundSyncError
from service.domain.money import exponent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.adapters.postgres.connect import Connection
    from service.adapters.stripe.client import StripeClient
    from service.settings import Settings

CLOCKS_APART_S = 30
FLOOR_OF_ALLOWANCE = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    level: str
    what: str
    says: str
    hint: str = ""
    exit_code: int = 1


def ok(what: str, says: str) -> Finding:
    return Finding("ok", what, says)


def warning(what: str, says: str, hint: str = "") -> Finding:
    return Finding("warning", what, says, hint)


def failed(what: str, error: RefundSyncError) -> Finding:
    return Finding("error", what, str(error), error.hint, error.exit_code)


async def examine(settings: Settings) -> list[Finding]:
    """Never stops at the first thing that is wrong."""
    findings = [finding async for finding in _of_stripe(settings)]
    return findings + [finding async for finding in _of_database(settings)]


async def _of_stripe(settings: Settings) -> AsyncIterator[Finding]:
    try:
        key = settings.require_key()
    except RefundSyncError as error:
        yield failed("key", error)
        return
    mode = "live" if key.livemode else "test"
    if key.kind == "secret":
        yield warning(
            "key",
            f"a secret key, {mode} mode: it may do everything",
            "Use a restricted key with the two read permissions in the README.",
        )
    else:
        yield ok("key", f"a restricted key, {mode} mode")
    yield ok("API version", f"{STRIPE_VERSION}, pinned on every request")
    async with wiring.make_client(settings, lambda: datetime.now(UTC)) as client:
        async for finding in _permissions(client):
            yield finding
        yield await _clock(client)
    allowance = settings.read_allowance or FLOOR_OF_ALLOWANCE
    yield ok(
        "read allowance",
        f"{allowance:,} reads in 30 days" + ("" if settings.read_allowance else ", Stripe's floor"),
    )


async def _permissions(client: StripeClient) -> AsyncIterator[Finding]:
    """Each read that a sync makes, tried once."""
    yield await _may("account", "the account's id", client.account, needed=False)
    yield await _may(
        "refunds, charges",
        "Charges and Refunds: Read",
        lambda: client.refunds(limit=1, expand=("data.charge",)),
    )
    yield await _may(
        "ledger lines",
        "Balance Transaction Sources: Read",
        lambda: client.balance_transactions(limit=1),
    )


async def _may(
    what: str, permission: str, read: Callable[[], Awaitable[object]], *, needed: bool = True
) -> Finding:
    try:
        await read()
    except AccessError as error:
        if needed:
            return failed(what, error)
        return warning(
            what,
            "may not be read with this key",
            "Fine: the id is taken from Stripe's answer, or set REFUND_SYNC_ACCOUNT_ID.",
        )
    except NotFoundError:
        return ok(what, f"{permission}: granted")
    except RefundSyncError as error:
        return failed(what, error)
    return ok(what, f"{permission}: granted")


async def _clock(client: StripeClient) -> Finding:
    try:
        answer = await client.refunds(limit=1)
    except RefundSyncError:
        return warning("clock", "Stripe did not answer, so the clocks could not be compared")
    ahead_s = answer.observed_at.timestamp() - answer.date
    if abs(ahead_s) > CLOCKS_APART_S:
        return warning(
            "clock",
            f"this machine is {ahead_s:+.0f} s from Stripe",
            "Set it by NTP. Claims keep to whichever clock is behind.",
        )
    return ok("clock", f"{ahead_s:+.1f} s from Stripe")


async def _of_database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with wiring.database_place(settings) as place:
            connection = await connect(place.dsn)
            try:
                yield ok(
                    "database",
                    f"{'embedded' if place.server else 'yours'}, Postgres {connection.get_server_version().major}",
                )
                async for finding in _of_connection(connection, embedded=place.server is not None):
                    yield finding
            finally:
                await connection.close()
    except RefundSyncError as error:
        yield failed("database", error)


async def _of_connection(connection: Connection, *, embedded: bool) -> AsyncIterator[Finding]:
    role, superuser = await connection.fetchrow(query("database_role")) or ("?", False)
    if superuser and not embedded:
        yield warning(
            "role",
            f"{role} is a superuser",
            "A role that may write the two schemas is enough: deploy/README.md.",
        )
    else:
        yield ok("role", role)
    if await is_pooled(connection):
        yield warning(
            "pooler",
            "a pooler in transaction mode stands before Postgres",
            "It works, without prepared statements; a direct connection is faster.",
        )
    told = await database_time_apart(connection)
    if abs(told) > CLOCKS_APART_S:
        yield warning("database clock", f"{told:+.0f} s from this machine", "Set both by NTP.")
    state = await schema_state(connection)
    if state.name == "current":
        yield ok("schema", f"{state.revision}, current")
        async for finding in _of_currencies(connection):
            yield finding
    elif embedded and state.name in ("absent", "behind"):
        yield ok("schema", f"{state}; the next command migrates it")
    else:
        yield Finding("error", "schema", f"{state}", "Run: refund-sync migrate", 5)


async def database_time_apart(connection: Connection) -> float:
    told: datetime = await connection.fetchval(query("database_time"))
    return (told - datetime.now(UTC)).total_seconds()


async def _of_currencies(connection: Connection) -> AsyncIterator[Finding]:
    found = [row[0] for row in await connection.fetch(query("currencies_stored"))]
    unknown = [code for code in found if exponent(code) is None]
    if unknown:
        yield warning(
            "currencies",
            f"unknown to us: {', '.join(unknown)}",
            "Their refunds are stored; amounts in major units stay empty in finance.refunds.",
        )
    else:
        yield ok("currencies", f"{len(found)} stored, all known")
