"""What a database may refuse to a migration: each ends in one line that says what to grant, none in a traceback."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from service.adapters.postgres.address.dsn import SETTING
from service.adapters.postgres.schema.migrate import schema_state, upgrade
from service.adapters.postgres.server import postmaster
from service.domain.errors import DatabaseError, SchemaError
from tests.integration.reachable import pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.databases import Databases, OwnServer

EVENT_TRIGGER = """
CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'changes go through the board' USING ERRCODE = '{code}'; END $$;
CREATE EVENT TRIGGER no_ddl ON ddl_command_start WHEN TAG IN ('{tag}') EXECUTE FUNCTION public.no_ddl();
"""
SLOW = """
CREATE FUNCTION public.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION public.slow();
"""


async def run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def named(dsn: str) -> str:
    return dsn.partition("@/")[2].partition("?")[0]


def as_role(dsn: str, role: str) -> str:
    return dsn.replace("//postgres@", f"//{role}@")


@asynccontextmanager
async def a_role(dsn: str, *statements: str) -> AsyncIterator[str]:
    """The name of a role that may log in; {role} and {database} stand for the names in *statements*."""
    role = f"role_{uuid4().hex[:12]}"
    given = [text.format(role=role, database=named(dsn)) for text in statements]
    await run(dsn, f"CREATE ROLE {role} LOGIN", *given)
    yield role
    await run(dsn, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


async def refusal(dsn: str) -> str:
    with pytest.raises(DatabaseError) as raised:
        await upgrade(dsn)
    assert raised.value.exit_code == 5
    assert "\n" not in str(raised.value)
    return f"{raised.value}\n{raised.value.hint}"


async def state(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return (await schema_state(connection)).name
    finally:
        await connection.close()


async def test_a_role_that_may_not_create_schemas_gets_both_ways_out(
    empty_database: str,
) -> None:
    async with a_role(empty_database) as role:
        reported = await refusal(as_role(empty_database, role))
        assert f"the role {role} may not create schemas in the database" in reported
        first, second = reported.partition("As an administrator: ")[2].split("; or ")
        await run(empty_database, f"{first};")
        assert (await upgrade(as_role(empty_database, role))).from_revision is None
        assert await state(empty_database) == "current"
        assert second.startswith("CREATE SCHEMA refund_sync AUTHORIZATION")


async def test_schemas_made_beforehand_are_taken_where_they_are_empty_and_ours(
    empty_database: str,
) -> None:
    async with a_role(empty_database) as role:
        reported = await refusal(as_role(empty_database, role))
        await run(empty_database, reported.partition("; or ")[2])
        assert await state(empty_database) == "absent"
        assert (await upgrade(as_role(empty_database, role))).from_revision is None
        assert await state(empty_database) == "current"


@pytest.mark.parametrize("schema", ["refund_sync", "finance"])
async def test_one_schema_made_beforehand_is_taken_as_well(
    empty_database: str, schema: str
) -> None:
    granted = "GRANT CREATE ON DATABASE {database} TO {role}"
    made = f"CREATE SCHEMA {schema} AUTHORIZATION {{role}}"
    async with a_role(empty_database, granted, made) as role:
        await upgrade(as_role(empty_database, role))
        assert await state(empty_database) == "current"


async def test_an_empty_schema_of_another_role_is_not_taken(empty_database: str) -> None:
    made = (
        "GRANT CREATE ON DATABASE {database} TO {role}",
        "CREATE SCHEMA finance AUTHORIZATION {role}",
    )
    async with a_role(empty_database, *made) as owner:
        reported = await refusal(empty_database)
        assert f"the schema finance belongs to the role {owner}" in reported
        async with a_role(empty_database, made[0]) as stranger:
            assert f"belongs to the role {owner}" in await refusal(
                as_role(empty_database, stranger)
            )
        async with a_role(empty_database, made[0], f"GRANT {owner} TO {{role}}") as member:
            await upgrade(as_role(empty_database, member))
        assert await state(empty_database) == "absent"  # what the member owned went with it


@pytest.mark.parametrize(
    "made",
    [
        "CREATE FUNCTION finance.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE finance.color AS ENUM ('red')",
        "CREATE DOMAIN finance.money AS bigint",
    ],
)
async def test_what_is_no_table_counts_as_theirs_too(empty_database: str, made: str) -> None:
    await run(empty_database, "CREATE SCHEMA finance", made)
    with pytest.raises(SchemaError, match="not ours"):
        await upgrade(empty_database)


async def test_another_role_than_the_owner_gets_the_owner(empty_database: str) -> None:
    granted = "GRANT CREATE ON DATABASE {database} TO {role}"
    async with a_role(empty_database, granted) as owner, a_role(empty_database, granted) as other:
        await upgrade(as_role(empty_database, owner))
        await run(
            empty_database,
            "UPDATE refund_sync.alembic_version SET version_num = '0001'",
            f"GRANT USAGE ON SCHEMA refund_sync TO {other}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA refund_sync TO {other}",
        )
        reported = await refusal(as_role(empty_database, other))
    assert f"the tables belong to the role {owner}" in reported


@pytest.mark.parametrize("whose", ["ROLE {role}", "DATABASE {database}"])
async def test_a_database_that_is_read_only_is_called_that(empty_database: str, whose: str) -> None:
    granted = "GRANT CREATE ON DATABASE {database} TO {role}"
    async with a_role(empty_database, granted) as role:
        where = whose.format(role=role, database=named(empty_database))
        await run(empty_database, f"ALTER {where} SET default_transaction_read_only = on")
        reported = await refusal(as_role(empty_database, role))
        assert f"read-only for the role {role}" in reported
        assert "SET default_transaction_read_only = off" in reported
        connection = await asyncpg.connect(
            empty_database, server_settings={"default_transaction_read_only": "off"}
        )
        await connection.execute(f"ALTER {where} RESET default_transaction_read_only")
        await connection.close()


async def test_a_standby_is_called_that(own_server: OwnServer) -> None:
    own_server.stop()
    signal = own_server.folder / "data" / "standby.signal"
    signal.touch()
    postmaster.server_account().own(signal)
    own_server.start()
    assert "is a standby" in await refusal(own_server.dsn)


@pytest.mark.parametrize(
    ("code", "tag"),
    [("P0001", "CREATE SCHEMA"), ("42501", "CREATE VIEW"), ("42601", "CREATE TABLE")],
)
async def test_a_trigger_that_raises_is_quoted_no_matter_what_code_it_raises(
    empty_database: str, code: str, tag: str
) -> None:
    await run(empty_database, EVENT_TRIGGER.format(code=code, tag=tag))
    reported = await refusal(empty_database)
    assert (
        "a trigger of the database refuses the migration: changes go through the board" in reported
    )
    assert "no_ddl()" in reported
    assert await state(empty_database) == "absent"


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII"])
async def test_another_encoding_than_utf8_is_refused_with_the_way_to_make_one(
    databases_of_each_major: Databases, encoding: str
) -> None:
    server, name = databases_of_each_major.server, f"encoded_{uuid4().hex}"
    options = f"TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    await run(server.dsn, f"CREATE DATABASE {name} {options}")
    dsn = server.dsn.replace("/refund_sync?", f"/{name}?")
    reported = await refusal(dsn)
    assert f"encoded in {encoding}; UTF8 is needed" in reported
    create = reported.partition("another: ")[2].partition(f", and name it in {SETTING}")[0]
    await run(server.dsn, create)
    await upgrade(server.dsn.replace("/refund_sync?", "/refunds?"))
    await run(
        server.dsn, f"DROP DATABASE {name} WITH (FORCE)", "DROP DATABASE refunds WITH (FORCE)"
    )


async def test_limits_of_a_role_do_not_end_a_migration(empty_database: str) -> None:
    """The database is made slower than they allow."""
    connection = await asyncpg.connect(empty_database)
    newer = connection.get_server_version().major >= 17
    await connection.close()
    limits = ["statement_timeout", "idle_in_transaction_session_timeout"] + [
        "transaction_timeout"
    ] * newer
    short = [f"ALTER ROLE {{role}} SET {limit} = '500ms'" for limit in limits]
    await run(empty_database, SLOW)
    async with a_role(
        empty_database, "GRANT CREATE ON DATABASE {database} TO {role}", *short
    ) as role:
        await upgrade(as_role(empty_database, role))
        assert await state(empty_database) == "current"


async def test_a_pooler_in_statement_mode_is_called_that(
    databases: Databases, open_folder: Path
) -> None:
    database = await databases.empty()
    with pgbouncer(open_folder, database, mode="statement") as dsn:
        reported = await refusal(dsn)
    await databases.drop(database)
    assert "statement mode" in reported
    assert "pool_mode = session or transaction" in reported


async def test_through_a_pooler_in_transaction_mode_nothing_stays_behind(
    databases: Databases, open_folder: Path
) -> None:
    database = await databases.empty()
    with pgbouncer(open_folder, database) as dsn:
        await upgrade(dsn)
        connection = await asyncpg.connect(database)
        held = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        )
        await connection.close()
        assert held == 0
        assert (await upgrade(dsn)).from_revision is not None
    await databases.drop(database)


def test_the_command_ends_with_5_and_no_traceback(own_server: OwnServer, tmp_path: Path) -> None:
    import sys

    psql: list[str | Path] = [
        own_server.installed.folder / "psql",
        "-h",
        own_server.folder,
        "-U",
        "postgres",
    ]
    subprocess.run([*psql, "-c", "CREATE ROLE reader LOGIN"], check=True, capture_output=True)
    dsn = f"postgresql://reader@/postgres?host={own_server.folder}"
    environ: dict[str, Any] = {"DATABASE_URL": dsn, "HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "service", "migrate"], env=environ, cwd=tmp_path, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (5, 2)
    assert lines[0].startswith("refund-sync: the role reader may not create schemas")
