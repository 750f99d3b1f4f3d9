"""What ``doctor`` examines: each finding says what holds, or what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.adapters.postgres.connect import connect, is_pooled
from service.adapters.postgres.faults import translated
from service.adapters.postgres.migrate import ABSENT, BEHIND, CURRENT, schema_state
from service.adapters.postgres.queries import query
from service.adapters.stripe.endpoints import STRIPE_VERSION
from service.adapters.stripe.errors import PERMISSIONS, StripeAccessError
from service.adapters.stripe.identity import who_are_we
from service.domain.errors import RefundSyncError, SettingError
from service.domain.money import exponent
from service.wiring import accounts, places

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from service.adapters.postgres.connect import Connection
    from service.adapters.postgres.migrate import SchemaState
    from service.adapters.stripe.answers import Answer
    from service.adapters.stripe.client import StripeClient
    from service.settings import Settings, StripeKey

CLOCKS_APART_S = 30
FLOOR_OF_ALLOWANCE = 10_000
PATIENCE_S = 15.0
"""How long one question to Stripe may keep retrying, where the deadline allows more."""


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
    """Never stops at the first thing that is wrong, nor waits long for what does not answer."""
    patience_s = min(settings.deadline_s, PATIENCE_S)
    settings = settings.model_copy(update={"deadline_s": patience_s})
    findings = [finding async for finding in _of_stripe(settings)]
    return findings + [finding async for finding in _of_database(settings)]


async def _of_stripe(settings: Settings) -> AsyncIterator[Finding]:
    try:
        key = settings.require_key()
    except RefundSyncError as error:
        yield failed("key", error)
        return
    yield _of_key(key)
    yield ok("API version", f"{STRIPE_VERSION}, pinned on every request")
    async with accounts.make_client(settings, lambda: datetime.now(UTC)) as client:
        try:
            async for finding in _of_answers(settings, client, livemode=key.livemode):
                yield finding
        except StripeAccessError as error:
            yield failed("key", error)
        except RefundSyncError as error:
            yield failed("Stripe", error)
    yield _of_allowance(settings)


def _of_key(key: StripeKey) -> Finding:
    if key.kind == "restricted":
        return ok("key", f"restricted, {'live' if key.livemode else 'test'} mode")
    return warning(
        "key",
        "a secret key of live mode (sk_live_): it may move money"
        if key.livemode
        else "a secret key of test mode (sk_test_): it may do everything there",
        "Use a restricted key, with no other permissions than those below.",
    )


def _of_allowance(settings: Settings) -> Finding:
    if settings.read_allowance:
        return ok("read allowance", f"{settings.read_allowance:,} reads in 30 days, as set")
    return ok("read allowance", f"{FLOOR_OF_ALLOWANCE:,} reads in 30 days, the least Stripe allows")


async def _of_answers(
    settings: Settings, client: StripeClient, *, livemode: bool
) -> AsyncIterator[Finding]:
    """Raises what makes further questions pointless: the key is refused, or Stripe is away."""
    yield await _account(settings, client, livemode=livemode)
    answers: list[Answer[Any]] = []
    for need in _needs(client):
        yield await _may(need, answers)
    if answers:
        yield _of_clock(answers[-1])


async def _account(settings: Settings, client: StripeClient, *, livemode: bool) -> Finding:
    async def none_stored(_account_id: str) -> None:
        return None

    try:
        identity = await who_are_we(
            client,
            account_id_setting=settings.account_id,
            livemode=livemode,
            newest_stored=none_stored,
        )
    except SettingError as error:
        return failed("account", error)
    return ok("account", identity.account_id + ("" if identity.confirmed else ", as set"))


@dataclass(frozen=True, slots=True)
class Need:
    """A permission by the Dashboard's name; *lost* is what goes without it, empty where all does."""

    what: str
    permission: str
    read: Callable[[], Awaitable[Answer[Any]]]
    lost: str = ""


def _needs(client: StripeClient) -> tuple[Need, ...]:
    """Each read that a sync makes, to be tried once."""
    return (
        Need(
            "refunds, charges",
            "Charges and Refunds: Read",
            lambda: client.refunds(limit=1, expand=("data.charge",)),
        ),
        Need(
            "ledger lines",
            "Balance Transaction Sources: Read",
            lambda: client.balance_transactions(limit=1),
        ),
        Need(
            "events",
            "Events: Read",
            lambda: client.events(limit=1),
            lost="later changes are seen only when a refund's turn comes to be read again",
        ),
    )


async def _may(need: Need, answers: list[Answer[Any]]) -> Finding:
    try:
        answers.append(await need.read())
    except StripeAccessError as error:
        return _refused(need, error)
    return ok(need.what, f"{need.permission}: granted")


def _refused(need: Need, error: StripeAccessError) -> Finding:
    """Stripe's text names the permission that it misses, which may be another than we think."""
    named = PERMISSIONS.get(error.permission or "", error.permission)
    says = f"{named}: missing" if named else str(error)
    if need.lost:
        return warning(need.what, says, f"Without it {need.lost}.")
    return Finding("error", need.what, says, error.hint, error.exit_code)


def _of_clock(answer: Answer[Any]) -> Finding:
    """Stripe's Date has whole seconds."""
    ahead_s = answer.observed_at.timestamp() - answer.date - 0.5
    if abs(ahead_s) > CLOCKS_APART_S:
        return warning(
            "clock",
            f"this machine is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} Stripe",
            "Set it by NTP. Claims keep to whichever clock is behind.",
        )
    return ok(
        "clock", f"{'within a second' if abs(ahead_s) <= 1 else f'{ahead_s:+.0f} s'} of Stripe's"
    )


async def _of_database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with places.database_place(settings) as place:
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
    told: datetime = await connection.fetchval(query("database_time"))
    ahead_s = (told - datetime.now(UTC)).total_seconds()
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
