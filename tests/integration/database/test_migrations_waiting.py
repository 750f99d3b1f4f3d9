"""A migration next to an open transaction: it says who stands in the way, and gets through, or gives up untouched."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.adapters.postgres.schema.migrate import schema_state, upgrade
from service.adapters.postgres.schema.obstacles import Patience
from service.domain.errors import DatabaseError
from tests.databases import back_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BRIEF = Patience(try_s=0.3, pause_s=0.2, total_s=60)


@asynccontextmanager
async def open_transaction(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Somebody's session that has read refunds and sits there."""
    reader = await asyncpg.connect(dsn)
    await reader.execute("BEGIN")
    await reader.fetchval("SELECT count(*) FROM refund_sync.refund")
    try:
        yield reader
    finally:
        await reader.close()


async def revision(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return (await schema_state(connection)).name
    finally:
        await connection.close()


async def test_it_names_who_is_in_the_way_and_goes_on_once_that_ends(empty_database: str) -> None:
    await upgrade(empty_database)
    await back_to(empty_database, "0004")
    reported: asyncio.Queue[str] = asyncio.Queue()
    async with open_transaction(empty_database) as reader:
        pid = reader.get_server_pid()
        migrating = asyncio.create_task(
            upgrade(empty_database, patience=BRIEF, report=reported.put_nowait)
        )
        says = await asyncio.wait_for(reported.get(), 60)
        assert f"pid {pid} (role postgres, in a transaction for" in says
        # In the pauses others are let through: who asks only reads waits for no migration.
        other = await asyncpg.connect(empty_database)
        assert await other.fetchval("SELECT count(*) FROM refund_sync.refund", timeout=60) == 0
        await other.close()
        assert not migrating.done()
        await reader.execute("ROLLBACK")
        assert (await asyncio.wait_for(migrating, 60)).to_revision == "0006"
    assert await revision(empty_database) == "current"


async def test_it_gives_up_in_the_end_and_has_changed_nothing(empty_database: str) -> None:
    await upgrade(empty_database)
    await back_to(empty_database, "0004")
    brief = Patience(try_s=0.3, pause_s=0.2, total_s=1)
    async with open_transaction(empty_database) as reader:
        with pytest.raises(DatabaseError, match=rf"after 1 s: pid {reader.get_server_pid()} "):
            await upgrade(empty_database, patience=brief, report=lambda _: None)
    assert await revision(empty_database) == "behind"
