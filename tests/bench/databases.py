"""The servers of the bench, and databases of their own on them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from service.adapters.postgres.schema.migrate import upgrade
from service.adapters.postgres.server.binaries import find_binaries
from service.adapters.postgres.server.embedded import open_server
from service.domain.errors import DatabaseError
from tests.databases import OLDEST, OwnServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Server:
    """A Postgres, and what to call it."""

    name: str
    dsn: str


@contextmanager
def embedded_server(folder: Path) -> Iterator[Server]:
    with open_server(folder) as server:
        yield Server(f"Postgres {server.binaries.version}, embedded", server.dsn)


@contextmanager
def packaged_server(folder: Path) -> Iterator[Server | None]:
    """The oldest Postgres that is supported, set up as its package sets it up; None where it is not here."""
    try:
        installed = find_binaries(OLDEST)
    except DatabaseError:
        yield None
        return
    folder.mkdir()
    server = OwnServer(folder, installed)
    server.create()
    server.start()
    try:
        yield Server(f"Postgres {installed.version}, settings as packaged", server.dsn)
    finally:
        server.stop()


@contextmanager
def fresh_database(server: Server) -> Iterator[str]:
    name = f"bench_{uuid4().hex}"
    on(server.dsn, lambda c: c.execute(f"CREATE DATABASE {name}"))
    dsn = urlsplit(server.dsn)._replace(path=f"/{name}").geturl()
    try:
        asyncio.run(upgrade(dsn))
        yield dsn
    finally:
        on(server.dsn, lambda c: c.execute(f"DROP DATABASE {name} WITH (FORCE)"))


def on(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    """Does one thing on a connection of its own."""

    async def do() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(do())
