"""What an exception of asyncpg or of the network means for the caller."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.domain.errors import DatabaseAwayError, DatabaseError, RefundSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AWAY = (
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # What a session that was ended between two messages leaves behind in the driver; the pool drops it.
    asyncpg.InternalClientError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
)
_REFUSED: tuple[tuple[type[BaseException], str, str], ...] = (
    (
        asyncpg.DiskFullError,
        "the disk of the database server is full",
        "Free space there; what was committed is safe, and the same command continues.",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "the database does not exist",
        "Create it (CREATE DATABASE …), or correct the name at the end of DATABASE_URL.",
    ),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the database server refuses to let us in",
        "Check user and password in DATABASE_URL, and the server's pg_hba.conf.",
    ),
    (
        asyncpg.ProtocolViolationError,
        "the database server does not understand us",
        "Check that DATABASE_URL names Postgres, or a pooler in front of it.",
    ),
    (
        PermissionError,
        "the socket of the database server may not be opened",
        "Run this as a user who may use it.",
    ),
    (
        asyncpg.UnsupportedServerFeatureError,
        "the database server lacks what DATABASE_URL asks of it",
        "Check the options in DATABASE_URL.",
    ),
)


def translate(error: BaseException, *, role: str = "") -> RefundSyncError | None:
    """Our error for it: away (it may work later), or refused; None where it is a bug of ours.

    A connection that is closed, or about to be, surfaces as InterfaceError; so do wrong calls, and
    those stay bugs.
    """
    if isinstance(error, RefundSyncError):
        return error
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        who = f"the role {role!r}" if role else "the role in DATABASE_URL"
        return DatabaseError(
            f"{who} lacks a privilege: {said(error)}",
            hint="Grant it, or run `refund-sync migrate` as the owner of the schema.",
        )
    if "statement pooling" in str(error):
        return DatabaseError(
            "the pooler before Postgres is in statement mode, which allows no transactions",
            hint="Set pool_mode = session or transaction in PgBouncer, or connect to Postgres itself.",
        )
    for kind, message, hint in _REFUSED:
        if isinstance(error, kind):
            return DatabaseError(f"{message}: {said(error)}", hint=hint)
    if isinstance(error, _AWAY) or _says_closed(error):
        return DatabaseAwayError(
            f"the database does not answer now: {said(error)}",
            hint="Check that the server runs and can be reached, and DATABASE_URL.",
        )
    return None


@contextmanager
def translated(*, role: str = "") -> Iterator[None]:
    """Around database calls: what they raise leaves as one of our errors."""
    try:
        yield
    except (
        asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError,
    ) as error:  # fmt: skip
        known = translate(error, role=role)
        if known is None:
            raise
        raise known from error


def _says_closed(error: BaseException | None) -> bool:
    """Whether it says so, or came of clearing up after what did. A value that cannot be encoded may say anything."""
    while isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        if "clos" in str(error) or isinstance(error.__context__, _AWAY):
            return True
        error = error.__context__
    return False


def said(error: BaseException) -> str:
    """The text alone: what Postgres puts into DETAIL may hold a row's values."""
    text = error.message if isinstance(error, asyncpg.PostgresError) else str(error)
    return str(text or type(error).__name__)
