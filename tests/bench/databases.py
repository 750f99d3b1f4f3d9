"""Databases of their own on the bench's server."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from service.adapters.postgres.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from service.adapters.postgres.embedded import Server


@contextmanager
def fresh_database(server: Server) -> Iterator[str]:
    name = f"bench_{uuid4().hex}"
    on(server.dsn, lambda c: c.execute(f"CREATE DATABASE {name}"))
    parts = urlsplit(server.dsn)
    dsn = parts._replace(path=f"/{name}").geturl()
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
