"""The one place where connections to Postgres are made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from random import shuffle
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.adapters.postgres.address.address import address_of
from service.adapters.postgres.address.libpq_files import service_values
from service.adapters.postgres.session.driver import driver_arguments, keep_alive
from service.adapters.postgres.session.faults import translated
from service.adapters.postgres.session.unreached import connecting
from service.domain.errors import DatabaseError

if TYPE_CHECKING:
    from service.adapters.postgres.address.address import Address, Host

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection | PoolConnectionProxy
    Pool = asyncpg.Pool

OLDEST_MAJOR = 15
CONNECT_LIMIT_S = 10.0
LONGEST_CONNECT_LIMIT_S = 120.0
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


_POOLED = _Manner(_PASSED_BY_POOLERS, 0)
_UNLIMITED = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A connection as it is asked for, however it is made."""

    address: Address
    application_name: str
    command_limit_s: float | None

    @property
    def limit_s(self) -> float:
        """For each host. libpq may wait for ever; we do not."""
        seconds = int(self.address.get("connect_timeout") or 0)
        return min(float(seconds), LONGEST_CONNECT_LIMIT_S) if seconds > 0 else CONNECT_LIMIT_S

    def settings(self, manner: _Manner) -> dict[str, str]:
        """Ours come last, and hold."""
        options = self.address.get("options")
        first = {"options": options} if options else {}
        return first | manner.settings | {"application_name": self.application_name}


async def connect(
    dsn: str,
    *,
    application_name: str = "refund-sync",
    command_limit_s: float | None = COMMAND_LIMIT_S,
) -> asyncpg.Connection[asyncpg.Record]:
    """A connection in UTC, read committed, with bounded waits, to a server of 15 or later.

    Raises SettingError where *dsn* is not clear, DatabaseAwayError where it may work later, and
    DatabaseError where it will not. No message holds the password. *command_limit_s* ends a single
    statement; None is for migrations, which no limit of the role's ends either.
    """
    address = understood(dsn)
    limits = {} if command_limit_s is not None else _UNLIMITED
    direct = _Manner(_SESSION | limits, 100)
    wanted = _Wanted(address, application_name, command_limit_s)
    with connecting(address):
        if address.without_statements:
            return _usable(await _opened(wanted, _POOLED))
        try:
            connection = await _opened(wanted, direct)
        except asyncpg.ProtocolViolationError:
            return _usable(await _opened(wanted, _POOLED))
        if await _backend_differs(connection):
            await connection.close()
            connection = await _opened(wanted, _POOLED)
        return _usable(connection)


def understood(dsn: str) -> Address:
    """What *dsn* says, with the environment and libpq's files; asks nobody. Raises SettingError."""
    return address_of(dsn, os.environ, service_values)


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


async def _opened(wanted: _Wanted, manner: _Manner) -> asyncpg.Connection[asyncpg.Record]:
    """To the first server that answers and is of the kind that is asked for, each tried in turn."""
    address = wanted.address
    hosts = list(address.hosts)
    if address.get("load_balance_hosts") == "random":
        shuffle(hosts)
    kind = address.get("target_session_attrs") or "any"
    kinds = ("standby", "any") if kind == "prefer-standby" else (kind,)
    failure: Exception | None = None
    for host, kind in ((host, kind) for kind in kinds for host in hosts):
        try:
            return await _reached(wanted, manner, host, kind)
        except (OSError, asyncpg.CannotConnectNowError) as error:
            failure = error
        except asyncpg.TargetServerAttributeNotMatched as error:
            failure = failure or error
    raise failure or RuntimeError("no host to try")


async def _reached(
    wanted: _Wanted, manner: _Manner, host: Host, kind: str
) -> asyncpg.Connection[asyncpg.Record]:
    arguments = driver_arguments(wanted.address, host) | {"target_session_attrs": kind}
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        timeout=wanted.limit_s,
        command_timeout=wanted.command_limit_s,
        statement_cache_size=manner.statement_cache_size,
        server_settings=wanted.settings(manner),
        **arguments,
    )
    _fail_when_lost(connection)
    if not host.is_socket:
        keep_alive(connection, wanted.address)
    return connection


def _fail_when_lost(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """A COPY that waits for room to write would wait for ever, past any timeout, once that is lost."""
    protocol = cast(Any, connection)._protocol  # noqa: SLF001 - asyncpg has no other way to free it
    connection.add_termination_listener(lambda _: protocol.resume_writing())


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
    reported = connection.get_server_pid()
    return await connection.execute(f"SELECT WHERE pg_backend_pid() = {reported:d}") != "SELECT 1"
