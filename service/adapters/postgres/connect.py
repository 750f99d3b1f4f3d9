"""The one place where connections to Postgres are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.adapters.postgres.faults import translated
from service.domain.errors import DatabaseError

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection | PoolConnectionProxy
    Pool = asyncpg.Pool

OLDEST_MAJOR = 15
CONNECT_LIMIT_S = 10.0
COMMAND_LIMIT_S = 600.0

_PASSED_BY_POOLERS = {"timezone": "UTC"}
_SESSION = _PASSED_BY_POOLERS | {
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read committed",
    # A plan kept from when a table was small would read all of it for each batch.
    "plan_cache_mode": "force_custom_plan",
    # Nearly all our statements look single rows up: however a server prices that, an index is the way.
    "random_page_cost": "1.1",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class _Manner:
    """How to talk: to Postgres itself, or through a pooler.

    A pooler in transaction mode refuses most settings at the start, gives each transaction another
    backend, and so can keep neither settings nor prepared statements.
    """

    settings: dict[str, str]
    statement_cache_size: int


_SPEAKABLE = ("sslmode", "sslnegotiation", "target_session_attrs", "root certificate", "could not ")
"""What the parser's complaints hold that quote no piece of a password."""

_DIRECT = _Manner(_SESSION, 100)
_POOLED = _Manner(_PASSED_BY_POOLERS, 0)


async def connect(
    dsn: str,
    *,
    application_name: str = "refund-sync",
    command_limit_s: float | None = COMMAND_LIMIT_S,
) -> asyncpg.Connection[asyncpg.Record]:
    """A connection in UTC, read committed, with bounded waits, to a server of 15 or later.

    Raises DatabaseAwayError where it may work later, and DatabaseError where it will not. No
    message holds the password. *command_limit_s* ends a single statement; None for migrations.
    """
    _refuse_unclear(dsn)
    with translated():
        try:
            connection = await _opened(dsn, _DIRECT, application_name, command_limit_s)
        except asyncpg.ProtocolViolationError:
            return _usable(await _opened(dsn, _POOLED, application_name, command_limit_s))
        if await _backend_differs(connection):
            await connection.close()
            connection = await _opened(dsn, _POOLED, application_name, command_limit_s)
        return _usable(connection)


async def create_pool(dsn: str, *, size: int, application_name: str = "refund-sync") -> Pool:
    """At most *size* connections, each made by ``connect`` when it is needed first.

    It heals when the server comes back. A number to be kept open would be tried for all the while
    that the server is away, each time with a traceback in the log.
    """

    async def made(*_args: Any, **_options: Any) -> asyncpg.Connection[asyncpg.Record]:
        return await connect(dsn, application_name=application_name)

    return await asyncpg.create_pool(min_size=0, max_size=size, connect=made, reset=_as_it_is)


async def _as_it_is(_connection: Connection) -> None:
    """Whoever borrows a session leaves nothing in it that outlives a transaction: a round trip less."""


async def is_pooled(connection: Connection) -> bool:
    """Whether a pooler such as PgBouncer sits between us and Postgres."""
    with translated():
        return await _backend_differs(connection)


async def _opened(
    dsn: str, manner: _Manner, application_name: str, command_limit_s: float | None
) -> asyncpg.Connection[asyncpg.Record]:
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_LIMIT_S,
            command_timeout=command_limit_s,
            statement_cache_size=manner.statement_cache_size,
            server_settings=manner.settings | {"application_name": application_name},
        )
    except OSError:
        raise  # a certificate's error is a ValueError too
    except (ValueError, OverflowError) as error:
        # The parser quotes what it could not read, which may be a piece of the password.
        told = str(error) if any(word in str(error) for word in _SPEAKABLE) else ""
        raise _not_an_address(told) from None
    _fail_when_lost(connection)
    return connection


def _fail_when_lost(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """A COPY that waits for room to write would wait for ever, past any timeout, once that is lost."""
    protocol = cast(Any, connection)._protocol  # noqa: SLF001 - asyncpg has no other way to free it
    connection.add_termination_listener(lambda _: protocol.resume_writing())


def _refuse_unclear(dsn: str) -> None:
    """Before anything of it is looked up: a raw @ or / in a password makes a host of its rest."""
    try:
        parts = urlsplit(dsn)
        named = dict(parse_qsl(parts.query))
    except ValueError:
        raise _not_an_address() from None
    cut_short = ":" in parts.netloc and "@" not in parts.netloc and "@" in parts.path
    if parts.netloc.count("@") > 1 or cut_short:
        raise _not_an_address()
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        if name in named and not Path(named[name]).is_file():
            raise DatabaseError(
                f"DATABASE_URL: there is no file {named[name]} for {name}",
                hint="Correct the path, and let this user read it.",
            )


def _not_an_address(told: str = "") -> DatabaseError:
    return DatabaseError(
        f"DATABASE_URL: {told}" if told else "DATABASE_URL is not a Postgres address",
        hint="Write postgresql://USER:PASSWORD@HOST:5432/DATABASE; "
        "percent-encode special characters in the password.",
    )


def _usable(
    connection: asyncpg.Connection[asyncpg.Record],
) -> asyncpg.Connection[asyncpg.Record]:
    major = connection.get_server_version().major
    if major >= OLDEST_MAJOR:
        return connection
    connection.terminate()
    raise DatabaseError(
        f"the database server is Postgres {major}; {OLDEST_MAJOR} or later is needed",
        hint="Upgrade it, or name another server in DATABASE_URL.",
    )


async def _backend_differs(connection: Connection) -> bool:
    """Whether another process answers than the one that greeted us: a pooler made that number up.

    Asked without a prepared statement, which would stay behind on a backend that others use.
    """
    told = connection.get_server_pid()
    return await connection.execute(f"SELECT WHERE pg_backend_pid() = {told:d}") != "SELECT 1"
