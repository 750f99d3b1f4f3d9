"""Leases for the tests: wanted, held, and stood in the way of."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from service.adapters.postgres.operations.lease import Lease, held_by
from service.adapters.postgres.queries import query
from tests.integration.warehouse import ACCOUNT, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from service.adapters.postgres.session.connect import Pool

LEASE_S = 1.0


class Telling(list[str]):
    """What a standby said, and the moment when it begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    def __call__(self, news: str) -> None:
        self.append(news)
        self.waits.set()


class Leases:
    """Leases of one database, released when the test ends."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.made: list[Lease] = []

    def __call__(self, holder: str, account_id: str = ACCOUNT, lease_s: float = LEASE_S) -> Lease:
        self.made.append(Lease(self.dsn, account_id, holder, lease_s=lease_s))
        return self.made[-1]

    async def taken(
        self, holder: str, account_id: str = ACCOUNT, lease_s: float = LEASE_S
    ) -> Lease:
        lease = self(holder, account_id, lease_s)
        await take(lease)
        return lease


async def take(lease: Lease) -> int:
    return await lease.take(wait=False, report=pytest.fail)


@asynccontextmanager
async def in_the_background(work: Any) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def let_expire(pool: Pool) -> None:
    await pool.execute("UPDATE refund_sync.lease_renewal SET expires_at = now()")


async def holder_of(pool: Pool, account_id: str = ACCOUNT) -> str | None:
    async with pool.acquire() as connection:
        return await held_by(connection, account_id)


async def renewed(pool: Pool, *, seconds: float = LEASE_S) -> None:
    """When the lease has come to run so much longer than now it does."""
    before = await expiry(pool)
    async with asyncio.timeout(15):
        while (await expiry(pool) - before).total_seconds() < seconds:
            await asyncio.sleep(0.02)


async def expiry(pool: Pool) -> datetime:
    (found,) = (r for r in await rows(pool, "lease_renewal", "1") if r["account_id"] == ACCOUNT)
    expires_at: datetime = found["expires_at"]
    return expires_at


@asynccontextmanager
async def sessions(
    dsn: str, *names: str, **options: Any
) -> AsyncIterator[list[asyncpg.Connection[asyncpg.Record]]]:
    there = [
        await asyncpg.connect(dsn, server_settings={"application_name": name}, **options)
        for name in names
    ]
    try:
        yield there
    finally:
        for session in there:
            session.terminate()


@asynccontextmanager
async def locked_by(session: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    async with session.transaction():
        await session.execute(query("fence"), ACCOUNT, 1)
        yield


@asynccontextmanager
async def a_role(pool: Pool, name: str) -> AsyncIterator[str]:
    await pool.execute(
        f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA refund_sync TO {name};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA refund_sync TO {name}"
    )
    try:
        yield name
    finally:
        await pool.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def connections(pool: Pool) -> int:
    counted: int = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'refund-sync lease' AND datname = current_database()"
    )
    return counted
