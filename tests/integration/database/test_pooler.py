"""A pooler in transaction mode: noticed, and coped with; and a COPY that loses its connection."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.adapters.postgres.session.connect import connect, create_pool, is_pooled
from tests.acceptance.stage import Stage, simulated_stripe
from tests.integration.reachable import pgbouncer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def test_no_pooler_is_seen_where_there_is_none(database: str) -> None:
    connection = await connect(database)
    assert not await is_pooled(connection)
    await connection.close()


SILENT = "ignore_startup_parameters = lock_timeout, idle_in_transaction_session_timeout, default_transaction_isolation, plan_cache_mode"


@pytest.mark.parametrize("lines", [(), (SILENT,)], ids=["refusing settings", "dropping settings"])
async def test_a_pooler_in_transaction_mode_is_noticed_and_coped_with(
    database: str, open_folder: Path, lines: tuple[str, ...]
) -> None:
    with pgbouncer(open_folder, database, *lines) as dsn:
        connection = await connect(dsn)
        assert await is_pooled(connection)
        await connection.close()
        pool = await create_pool(dsn, size=6)

        async def add(number: int) -> int:
            async with pool.acquire() as one, one.transaction():
                return int(await one.fetchval("SELECT $1::int + 1", number))

        async def add_alone(number: int) -> int:
            async with pool.acquire() as one:
                return int(await one.fetchval("SELECT $1::int + 1", number))

        for work in (add, add_alone):
            assert await asyncio.gather(*map(work, range(50))) == list(range(1, 51))
        await pool.close()


async def test_a_backfill_through_a_pooler_ends_equal(database: str, open_folder: Path) -> None:
    (open_folder / "bouncer").mkdir()
    with (
        pgbouncer(open_folder / "bouncer", database) as dsn,
        simulated_stripe(refunds=800) as stripe,
    ):
        Stage(stripe, open_folder, dsn).run(
            "backfill", "--from", "2025-01-01", "--to", "2026-01-01"
        )
        await Stage(stripe, open_folder, database).assert_equal_to_stripe()
    assert await _backends_left(database) <= 1


async def _backends_left(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'refund-sync%'"
            )
        )
    finally:
        await connection.close()


async def test_a_copy_ends_when_its_connection_is_lost_while_it_waits_for_room(
    database: str,
) -> None:
    pool = await create_pool(database, size=1)
    async with pool.acquire() as one:
        backend = one.get_server_pid()

    def rows() -> Iterator[tuple[str]]:
        """The backend is stopped once COPY has begun, and is ended when it wakes."""
        os.kill(backend, signal.SIGSTOP)
        os.kill(backend, signal.SIGTERM)
        asyncio.get_running_loop().call_later(0.3, os.kill, backend, signal.SIGCONT)
        for _ in range(4_000):
            yield ("x" * 1_000,)

    async with pool.acquire() as one, asyncio.timeout(20):
        await one.execute("CREATE TEMP TABLE copied (line text)")
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await one.copy_records_to_table("copied", columns=["line"], records=rows())
    await pool.close()
