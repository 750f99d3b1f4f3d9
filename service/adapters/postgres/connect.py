"""The one place where connections to Postgres are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

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
}


@dataclass(frozen=True, slots=True)
class _Manner:
    """How to talk: to Postgres itself, or through a pooler.

    A pooler in transaction mode refuses most settings at the start, gives each transaction another
    backend, and so can keep neither settings nor prepared statements.
    """

    settings: dict[str, str]
    statement_cache_size: int


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

    async def opened(manner: _Manner) -> asyncpg.Connection[asyncpg.Record]:
        return await _opened(
            dsn, manner, application_name=application_name, command_limit_s=command_limit_s
        )

    try:
        connection = await opened(_DIRECT)
    except DatabaseError as refused:
        if not isinstance(refused.__cause__, asyncpg.ProtocolViolationError):
            raise
        return await _usable(await opened(_POOLED))
    if await is_pooled(connection):
        await connection.close()
        connection = await opened(_POOLED)
    return await _usable(connection)


async def create_pool(dsn: str, *, size: int, application_name: str = "refund-sync") -> Pool:
    """At most *size* connections, each made by ``connect``; it heals when the server comes back."""

    async def made(*_args: Any, **_ours: Any) -> asyncpg.Connection[asyncpg.Record]:
        return await connect(dsn, application_name=application_name)

    return await asyncpg.create_pool(min_size=1, max_size=size, connect=made)


async def is_pooled(connection: Connection) -> bool:
    """Whether a pooler such as PgBouncer sits between us and Postgres.

    It hands out a process number of its own, not that of the backend which answers.
    """
    with translated():
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        return bool(backend != connection.get_server_pid())


async def _opened(
    dsn: str, manner: _Manner, *, application_name: str, command_limit_s: float | None
) -> asyncpg.Connection[asyncpg.Record]:
    try:
        with translated():
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                dsn,
                timeout=CONNECT_LIMIT_S,
                command_timeout=command_limit_s,
                statement_cache_size=manner.statement_cache_size,
                server_settings={"application_name": application_name, **manner.settings},
            )
    except (ValueError, asyncpg.ClientConfigurationError) as error:
        raise DatabaseError(
            "DATABASE_URL is not a DSN that can be understood",
            hint="Write it as postgresql://user:password@host:5432/database",
        ) from error
    return connection


async def _usable(
    connection: asyncpg.Connection[asyncpg.Record],
) -> asyncpg.Connection[asyncpg.Record]:
    """The connection, if the server is new enough."""
    major = connection.get_server_version().major
    if major < OLDEST_MAJOR:
        await connection.close()
        raise DatabaseError(
            f"the database server is Postgres {major}",
            hint=f"refund-sync needs Postgres {OLDEST_MAJOR} or later.",
        )
    return connection
