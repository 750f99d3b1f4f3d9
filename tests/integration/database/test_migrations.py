"""The schema on the oldest and the newest Postgres: from nothing, as it is, and from the future."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from service.adapters.postgres.queries import all_queries
from service.adapters.postgres.schema.migrate import offline_sql, schema_state, upgrade
from service.adapters.postgres.schema.tables import SCHEMA, metadata
from service.domain import money
from service.domain.errors import SchemaError

if TYPE_CHECKING:
    from sqlalchemy import Connection


async def on(dsn: str, sql: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def state(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return (await schema_state(connection)).name
    finally:
        await connection.close()


async def test_an_empty_database_gets_the_schema_and_a_current_one_keeps_it(
    empty_database: str,
) -> None:
    assert await state(empty_database) == "absent"
    first = await upgrade(empty_database)
    assert (first.from_revision, await state(empty_database)) == (None, "current")
    again = await upgrade(empty_database)
    assert again.from_revision == again.to_revision == first.to_revision


async def test_a_schema_of_the_future_is_refused_and_untouched(empty_database: str) -> None:
    await upgrade(empty_database)
    await on(empty_database, "UPDATE refund_sync.alembic_version SET version_num = '9999_later'")
    assert await state(empty_database) == "ahead"
    with pytest.raises(SchemaError, match="9999_later") as caught:
        await upgrade(empty_database)
    assert caught.value.exit_code == 5
    found = await on(empty_database, "SELECT version_num FROM refund_sync.alembic_version")
    assert found[0][0] == "9999_later"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE SCHEMA refund_sync; CREATE TABLE refund_sync.refund (id int)",
        "CREATE SCHEMA finance; CREATE VIEW finance.refunds AS SELECT 1 AS one",
    ],
)
async def test_what_others_made_under_our_names_is_refused_and_untouched(
    sql: str, empty_database: str
) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(sql)
    await connection.close()
    assert await state(empty_database) == "foreign"
    with pytest.raises(SchemaError, match="not ours"):
        await upgrade(empty_database)
    found = await on(empty_database, "SELECT 1 FROM pg_class WHERE relname = 'alembic_version'")
    assert not found


async def test_the_printed_sql_makes_the_same_schema(
    empty_database: str, databases_of_each_major: Any
) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(offline_sql())
    await connection.close()
    assert await state(empty_database) == "current"
    other = await databases_of_each_major.migrated()
    assert await _shape(empty_database) == await _shape(other)
    await databases_of_each_major.drop(other)


async def _shape(dsn: str) -> list[tuple[Any, ...]]:
    """Every column of every table and view, with its type, default and comment; every index."""
    columns = await on(
        dsn,
        "SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod),"
        " a.attnotnull, col_description(c.oid, a.attnum), pg_get_expr(d.adbin, d.adrelid),"
        " a.attcollation::regcollation::text"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE n.nspname IN ('refund_sync', 'finance') ORDER BY 1, a.attnum",
    )
    indexes = await on(
        dsn,
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'refund_sync' ORDER BY indexdef",
    )
    return [tuple(row) for row in (*columns, *indexes)]


async def test_the_tables_declared_in_python_are_those_that_migrations_make(
    empty_database: str,
) -> None:
    await upgrade(empty_database)

    def compared(connection: Connection) -> list[Any]:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
            "compare_server_default": True,
            "version_table_schema": SCHEMA,
        }
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    async def creator() -> Any:
        return await asyncpg.connect(empty_database)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator)
    async with engine.connect() as connection:
        differences = await connection.run_sync(compared)
    await engine.dispose()
    assert differences == []


async def test_every_table_view_and_column_explains_itself(empty_database: str) -> None:
    await upgrade(empty_database)
    silent = await on(
        empty_database,
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped"
        " WHERE n.nspname IN ('refund_sync', 'finance') AND c.relkind IN ('r', 'v')"
        " AND c.relname <> 'alembic_version' AND col_description(c.oid, a.attnum) IS NULL"
        " UNION ALL SELECT c.relname, NULL FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('refund_sync', 'finance') AND c.relkind IN ('r', 'v')"
        " AND c.relname <> 'alembic_version' AND obj_description(c.oid) IS NULL",
    )
    assert [tuple(row) for row in silent] == []


async def test_every_query_fits_the_schema(empty_database: str) -> None:
    await upgrade(empty_database)
    connection = await asyncpg.connect(empty_database)
    for name, sql in all_queries().items():
        try:
            await connection.prepare(sql)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{name}: {error}")
    await connection.close()


async def test_a_month_of_refunds_is_found_by_its_index(empty_database: str) -> None:
    await upgrade(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "INSERT INTO refund_sync.refund (account_id, id, created_at, amount_minor, currency, raw,"
        " content_hash, version, observed_at, first_seen_at)"
        " SELECT 'acct_1', 're_' || i, timestamptz '2020-01-01' + i * interval '1 hour', 1, 'usd',"
        " '{}', '', 1, now(), now() FROM generate_series(1, 40000) AS i"
    )
    await connection.execute(
        "INSERT INTO refund_sync.charge_link (account_id, refund_id)"
        " SELECT account_id, id FROM refund_sync.refund"
    )
    await connection.execute("ANALYZE refund_sync.refund, refund_sync.charge_link")
    plan = await connection.fetch(
        "EXPLAIN SELECT sum(amount) FROM finance.refunds WHERE account_id = 'acct_1'"
        " AND created_at >= '2022-01-01' AND created_at < '2022-02-01'"
    )
    await connection.close()
    reported = "\n".join(row[0] for row in plan)
    assert "refund_created" in reported, reported


async def test_currencies_in_the_database_are_those_of_the_program(empty_database: str) -> None:
    await upgrade(empty_database)
    rows = await on(empty_database, "SELECT code, exponent FROM refund_sync.currency")
    stored = {row["code"]: row["exponent"] for row in rows}
    known = {
        **dict.fromkeys(money.ZERO_DECIMALS, 0),
        **dict.fromkeys(money.TWO_DECIMALS, 2),
        **dict.fromkeys(money.THREE_DECIMALS, 3),
    }
    assert stored == known


async def test_two_migrations_at_once_make_one_schema(empty_database: str) -> None:
    import asyncio

    done = await asyncio.gather(*(upgrade(empty_database) for _ in range(4)))
    assert sorted(str(d.from_revision) for d in done).count("None") == 1
    assert await state(empty_database) == "current"


def test_printed_sql_needs_no_database_and_holds_no_placeholder() -> None:
    text = io.StringIO(offline_sql()).getvalue()
    assert "CREATE TABLE refund_sync.refund (" in text
    assert not re.search(r"%\(\w+\)s|\$\d\b", text)
