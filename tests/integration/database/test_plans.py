"""No statement of a pass depends on statistics: rows looked at are in proportion to the rows asked for.

Tried on the oldest and the newest Postgres, on tables that were never analyzed, analyzed when empty, and
analyzed when full, for an account with many refunds and its neighbour with ten, with the settings that a DBA
may have turned.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from service.adapters.postgres.queries import all_queries, query
from service.adapters.postgres.session.connect import _POOLED, _opened, _Wanted, connect, understood
from tests.integration.database.statements import (
    APART_S,
    ASKED,
    EXEMPT,
    FILLED,
    LARGE,
    LONG_AGO,
    OF_SMALL,
    REFUNDS,
    SMALL,
    START,
    TABLES,
    asked,
    looked_at,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator

    from tests.databases import Databases

TURNED = {
    "as it is": "",
    "for a slow disk": "random_page_cost = 40",
    "for a fast one, jit on": "random_page_cost = 1.0; ALTER DATABASE {name} SET jit_above_cost = 0",
    "with plans that are kept": "plan_cache_mode = 'force_generic_plan'",
}
"""Databases as a DBA may have turned them: what a session of ours sets comes first."""


def test_every_statement_is_looked_at_or_exempt_for_a_reason() -> None:
    tried = set(asked(LARGE, ["re_1"], [START]))
    assert not tried & EXEMPT
    assert tried | EXEMPT == set(all_queries())


STATISTICS = {
    "never analyzed": "",
    "analyzed when empty": "UPDATE pg_class SET relpages = 0, reltuples = 0"
    " WHERE relnamespace = 'refund_sync'::regnamespace AND relkind IN ('r', 'i')",
    "analyzed when full": "ANALYZE",
}
"""What is known of the tables: of an empty one ANALYZE notes that it is, and nothing else."""


@pytest.fixture(scope="session")
async def full(databases_of_each_major: Databases) -> AsyncIterator[str]:
    """A database with two accounts, one of which has nearly all; no statistics were ever gathered."""
    dsn = await databases_of_each_major.migrated()
    connection = await connect(dsn, command_limit_s=None)
    for table in TABLES:
        await connection.execute(f"ALTER TABLE refund_sync.{table} SET (autovacuum_enabled = off)")
    await connection.execute("SET synchronous_commit = off")
    values = {"start": START, "apart": APART_S, "refunds": REFUNDS, "small": OF_SMALL}
    await connection.execute(FILLED.format(**values, seen=f"timestamptz '{LONG_AGO}'"))
    await connection.close()
    yield dsn
    await databases_of_each_major.drop(dsn)


@pytest.fixture(scope="session", params=STATISTICS)
async def filled(
    request: pytest.FixtureRequest, full: str, databases_of_each_major: Databases
) -> AsyncIterator[str]:
    dsn = await databases_of_each_major.copy_of(full)
    if sql := STATISTICS[request.param]:
        connection = await connect(dsn, command_limit_s=None)
        await connection.execute(sql)
        await connection.close()
    yield dsn
    await databases_of_each_major.drop(dsn)


async def plans(connection: Any, account_id: str) -> dict[str, Counter[str]]:
    """What each statement looks at; nothing of it stays."""
    found = await connection.fetch(
        "SELECT id, extract(epoch FROM created_at)::bigint FROM refund_sync.refund WHERE account_id = $1"
        " ORDER BY md5(id) LIMIT $2", account_id, ASKED,
    )  # fmt: skip
    ids = sorted(row[0] for row in found)
    seconds = [row[1] for row in found]
    looks = {}
    for name, values in asked(account_id, ids, seconds).items():
        transaction = connection.transaction()
        await transaction.start()
        try:
            plan = await connection.fetchval(
                f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {query(name)}", *values
            )
        except asyncpg.PostgresError as error:
            pytest.fail(f"{name}: {error}")
        finally:
            await transaction.rollback()
        looks[name] = looked_at(json.loads(plan)[0]["Plan"])
    return looks


@asynccontextmanager
async def turned_to(dsn: str, turned: str) -> AsyncIterator[None]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        name = await pool.fetchval("SELECT current_database()")
        if turned:
            await pool.execute(f"ALTER DATABASE {name} SET {turned.format(name=name)}")
        yield
        await pool.execute(f"ALTER DATABASE {name} RESET ALL")


# First the server, then its statistics: else it would be filled again for each of them.
@pytest.mark.usefixtures("databases_of_each_major")
@pytest.mark.parametrize("turned", TURNED)
@pytest.mark.parametrize("account_id", [LARGE, SMALL])
async def test_rows_looked_at_are_in_proportion_to_rows_asked_for(
    filled: str, account_id: str, turned: str
) -> None:
    async with turned_to(filled, TURNED[turned]):
        connection = await connect(filled, command_limit_s=None)
        try:
            looks = await plans(connection, account_id)
        finally:
            await connection.close()
    far = too_many(looks, 2_500 if account_id == LARGE else 1_000)
    assert not far, far


@pytest.mark.usefixtures("databases_of_each_major")
async def test_they_are_so_through_a_pooler_too_that_passes_no_settings(filled: str) -> None:
    connection = await _opened(_Wanted(understood(filled), "refund-sync", None), _POOLED)
    try:
        for account_id in (LARGE, SMALL):
            far = too_many(await plans(connection, account_id), 2_500)
            assert not far, far
    finally:
        await connection.close()


def too_many(looks: dict[str, Counter[str]], most: int) -> str:
    return "\n".join(
        f"{name}: {dict(seen)}"
        for name, seen in looks.items()
        if max(seen.values(), default=0) > most
    )
