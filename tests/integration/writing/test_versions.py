"""Each version is stored once, and stays: in its refund's row while it is current, in a table of its own after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from service.adapters.postgres.schema import by_alembic
from service.adapters.postgres.schema.migrate import downgrade, upgrade
from service.adapters.postgres.schema.moving import move_versions
from service.adapters.postgres.session.connect import create_pool
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.errors import SchemaError
from tests.builders import a_refund, an_observation, batch_of
from tests.databases import back_to
from tests.integration.warehouse import ACCOUNT, audit, rows, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.session.connect import Connection, Pool

IDS = [f"re_{n:02}" for n in range(10)]
SEEN = "SELECT * FROM refund_sync.refund_version ORDER BY refund_id, version"


async def history(store: PostgresStore) -> None:
    """Ten refunds; every third of them changed once, and every sixth twice."""
    await store.write(batch_of(*[an_observation(a_refund(i)) for i in IDS], claimed=True))
    for step, status in ((3, "failed"), (6, "canceled")):
        changed = [an_observation(a_refund(i, status=status), seen=step) for i in IDS[::step]]
        await store.write(batch_of(*changed))


@pytest.fixture
async def pool_of_old(empty_database: str) -> AsyncIterator[Pool]:
    """A warehouse in the shape of before: each current version has a copy next to its refund."""
    await upgrade(empty_database)
    pool = await create_pool(empty_database, size=2)
    await pool.execute("DROP ROLE IF EXISTS reads_versions")
    await pool.execute("CREATE ROLE reads_versions")
    await pool.execute("GRANT SELECT ON refund_sync.refund_version TO reads_versions")
    await history(a_store(pool))
    await back_to(empty_database, "0004")
    yield pool
    await pool.execute("DROP OWNED BY reads_versions")
    await pool.execute("DROP ROLE reads_versions")
    await pool.close()


def a_store(pool: Pool) -> PostgresStore:
    return PostgresStore(Database(pool, deadline_s=20), ACCOUNT, None)


async def seen(connection: Connection | Pool) -> list[dict[str, Any]]:
    return [dict(row.items()) for row in await connection.fetch(SEEN)]


async def reshape(dsn: str) -> None:
    """The revision, without the move that follows it."""
    await by_alembic.migrate(dsn, None, lock_timeout_s=3, begun=lambda pid: None)


class KilledError(Exception):
    """In place of a signal between two steps."""


async def test_versions_are_moved_in_steps_and_are_all_seen_at_each_of_them(
    empty_database: str, pool_of_old: Pool
) -> None:
    before = await seen(pool_of_old)
    assert len(before) == 10 + 4 + 2
    await reshape(empty_database)
    assert await seen(pool_of_old) == before
    reported: list[str] = []
    connection = await asyncpg.connect(empty_database)

    async def looks_right() -> None:
        assert await seen(pool_of_old) == before

    def report(news: str) -> None:
        reported.append(news)
        if len(reported) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        await move_versions(connection, report, step_rows=3)
    await looks_right()
    assert len(await rows(pool_of_old, "refund_superseded")) == 16 - 6
    assert await move_versions(connection, reported.append, step_rows=3) == 4
    await looks_right()
    assert reported == [
        "versions: 3 of 10 moved", "versions: 6 of 10 moved", "versions: 3 of 4 moved",
    ]  # fmt: skip
    assert len(await rows(pool_of_old, "refund_superseded")) == 6
    assert await move_versions(connection, reported.append) == 0
    await connection.close()


async def test_a_migration_moves_them_and_the_way_back_leaves_all_as_it_was(
    empty_database: str, pool_of_old: Pool
) -> None:
    before = await seen(pool_of_old)
    for _ in range(2):
        await upgrade(empty_database)
        assert await seen(pool_of_old) == before
        assert len(await rows(pool_of_old, "refund_superseded")) == 6
        assert await may_read(pool_of_old)
        await back_to(empty_database, "0004")
        assert await seen(pool_of_old) == before
        assert await may_read(pool_of_old)


@pytest.mark.usefixtures("pool_of_old")
async def test_a_revision_that_cannot_be_taken_back_is_refused(empty_database: str) -> None:
    with pytest.raises(SchemaError) as refused:
        await downgrade(empty_database)
    assert "at revision 0004" in str(refused.value)
    assert refused.value.hint == "Only these revisions can be rolled back: 0005, 0006."


async def may_read(pool: Pool) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("GRANT USAGE ON SCHEMA refund_sync TO reads_versions")
        await connection.execute("SET LOCAL ROLE reads_versions")
        return bool(await connection.fetchval("SELECT count(*) FROM refund_sync.refund_version"))


async def test_what_changes_while_they_are_being_moved_goes_on_from_its_own_version(
    empty_database: str, pool_of_old: Pool
) -> None:
    await reshape(empty_database)
    connection = await asyncpg.connect(empty_database)

    def stop(_: str) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        await move_versions(connection, stop, step_rows=5)
    later = [an_observation(a_refund(i, status="pending"), seen=20) for i in (IDS[0], IDS[9])]
    new = an_observation(a_refund("re_new"), seen=20)
    await a_store(pool_of_old).write(batch_of(*later, new))
    assert not await audit(pool_of_old)
    assert await move_versions(connection, print) == 4
    assert not await audit(pool_of_old)
    assert [r["version"] for r in await seen(pool_of_old) if r["refund_id"] == IDS[9]] == [1, 2, 3]
    await connection.close()


async def test_a_current_version_that_somebody_deleted_keeps_nothing_from_being_moved(
    empty_database: str, pool_of_old: Pool
) -> None:
    await pool_of_old.execute("DELETE FROM refund_sync.refund_version WHERE refund_id = 're_01'")
    await upgrade(empty_database)
    refund, *_ = [r for r in await rows(pool_of_old, "refund") if r["id"] == "re_01"]
    assert (refund["source"], refund["version_observed_at"]) == ("list", refund["observed_at"])


async def test_a_refund_that_is_deleted_here_leaves_its_versions_behind_and_goes_on_counting(
    store: PostgresStore, pool: Pool
) -> None:
    await history(store)
    before = await seen(pool)
    for table, key in (("refund", "id"), ("charge_link", "refund_id")):
        await pool.execute(f"DELETE FROM refund_sync.{table} WHERE {key} = 're_00'")
    assert await seen(pool) == before
    again = an_observation(a_refund("re_00", status="succeeded"), seen=30)
    assert await store.write(batch_of(again)) == written(inserted=1, late=1)
    versions = [r["version"] for r in await seen(pool) if r["refund_id"] == "re_00"]
    assert versions == [1, 2, 3, 4]


async def test_a_first_version_has_one_row_and_a_read_that_finds_it_again_moves_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    await store.write(batch_of(an_observation()))
    before = await seen(pool)
    await store.write(batch_of(an_observation(seen=50), source="fetch"))
    assert await seen(pool) == before
    assert not await rows(pool, "refund_superseded")
