"""An address in asyncpg's words, and what asyncpg leaves to its user: passwords of files, keepalives."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from service.adapters.postgres.address.dsn import SETTING
from service.adapters.postgres.address.libpq_files import home, password_of, problem_of
from service.adapters.postgres.session.tls import context_of
from service.domain.errors import SettingError

if TYPE_CHECKING:
    import asyncpg

    from service.adapters.postgres.address.address import Address, Host

_OURS = ("sslcert", "sslkey", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")
_KEEPALIVES = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


def driver_arguments(address: Address, host: Host) -> dict[str, Any]:
    """What ``asyncpg.connect`` takes for one host. Raises SettingError."""
    user = address.get("user") or _account()
    dbname = address.get("dbname") or user
    password = address.get("password") or password_of(password_file(address), host, dbname, user)
    return {
        "host": host.address,
        "port": host.port,
        "user": user,
        "database": dbname,
        "password": password or "",  # for None it would look in the environment and files itself
        "krbsrvname": address.get("krbsrvname") or None,
        "gsslib": address.get("gsslib") or None,
        "direct_tls": address.get("sslnegotiation") == "direct" and not host.is_socket,
        **_tls(address, host),
    }


def _tls(address: Address, host: Host) -> dict[str, Any]:
    """Where TLS may be missing, asyncpg tries both ways; else what is asked for holds."""
    if host.is_socket or address.sslmode == "disable":
        return {"ssl": False}
    context = context_of(address, host)
    if address.needs_tls:
        return {"ssl": context}
    ours = {name: address.get(name) for name in _OURS if address.get(name)}
    return {"dsn": f"postgresql://?{urlencode(ours)}", "ssl": address.sslmode}


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise SettingError(
            f"{SETTING} names no user, and this account has no name",
            hint="Write the user into it: postgresql://USER@HOST/DATABASE",
        ) from None


def password_file(address: Address) -> Path:
    named = address.get("passfile")
    return Path(named) if named else home(".pgpass")


def password_origin(address: Address) -> str:
    """Where the password was read, or why none was, for a message."""
    given = address.values.get("password")
    if given is not None:
        return f"The password was read from {given.where}"
    file = password_file(address)
    return f"{SETTING} holds no password, and {file} {problem_of(file) or 'was looked in'}"


def keep_alive(connection: asyncpg.Connection[Any], address: Address) -> None:
    """As libpq does: on, unless it is said otherwise; a silent loss is noticed."""
    if address.get("keepalives") == "0":
        return
    transport = cast(Any, connection)._transport  # noqa: SLF001 - asyncpg has no other way to it
    with transport.get_extra_info("socket").dup() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, option in _KEEPALIVES.items():
            value = int(address.get(name) or 0)
            if value > 0 and hasattr(socket, option):
                with suppress(OSError):
                    ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
