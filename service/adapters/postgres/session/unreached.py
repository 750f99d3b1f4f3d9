"""What it means that a connection could not be made, and what to look at."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from service.adapters.postgres.address.dsn import SETTING
from service.adapters.postgres.session.driver import password_origin
from service.adapters.postgres.session.faults import said, translate
from service.domain.errors import DatabaseAwayError, DatabaseError, RefundSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.adapters.postgres.address.address import Address


@contextmanager
def connecting(address: Address) -> Iterator[None]:
    """Around the making of a connection: what it raises leaves as one of our errors."""
    try:
        yield
    except (
        asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError,
    ) as error:  # fmt: skip
        known = _refusal(error, address) or _absence(error, address) or translate(error)
        if known is None and isinstance(error, asyncpg.PostgresError):
            known = DatabaseError(
                f"the database server refuses the connection: {said(error)}",
                hint=f"Check options= and the rest of {SETTING}.",
            )
        if known is None:
            raise
        raise known from error


def _refusal(error: BaseException, address: Address) -> RefundSyncError | None:
    """What stays so until somebody changes something."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return DatabaseError(
            f"the database server refuses user or password: {said(error)}",
            hint=f"{password_origin(address)}. A # / ? @ % in it is percent-encoded in an address.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseError(
            f"the certificate of the database server is not trusted: {error.verify_message}",
            hint=_authority(address),
        )
    if "rejected SSL upgrade" in str(error):
        return DatabaseError(
            f"the database server speaks no TLS, and sslmode={address.sslmode} asks for it",
            hint="Turn it on there (ssl = on), or write sslmode=prefer.",
        )
    ours = isinstance(error, asyncpg.InternalClientError | asyncpg.InterfaceError)
    if ours and "authentication" in str(error).lower():
        return DatabaseError(
            f"the database server asks for what the driver cannot: {said(error)}",
            hint="Let it ask this role for a password (scram-sha-256) in its pg_hba.conf.",
        )
    return None


def _authority(address: Address) -> str:
    hint = f"Name the right authority with sslrootcert= in {SETTING}, and the host as it is named there."
    if address.binds_by_certificate and address.get("sslmode") != "verify-full":
        hint = (
            "channel_binding=require is met by verifying the certificate: name its authority with"
            " sslrootcert=, or write channel_binding=prefer and do without."
        )
    return hint


def _absence(error: BaseException, address: Address) -> RefundSyncError | None:
    """What may be otherwise later."""
    where = ", ".join(f"{host.name}:{host.port}" for host in address.hosts if not host.is_socket)
    if isinstance(error, socket.gaierror):
        return DatabaseAwayError(
            f"the name of the database server cannot be looked up ({where}): {said(error)}",
            hint=f"Check the host in {SETTING}, and DNS on this machine.",
        )
    if isinstance(error, ssl.SSLError):
        return DatabaseAwayError(
            f"TLS with the database server fails: {error.reason or said(error)}",
            hint="Check sslmode, ssl_min_protocol_version and sslcert, and what the server asks for.",
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return DatabaseAwayError(
            f"no server in {SETTING} is of the kind that target_session_attrs asks for",
            hint="Name the primary, or wait until one is promoted.",
        )
    return None
