"""The roles of deploy/README.md, run as it says: by an administrator, then by an owner who may create nothing."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from service.adapters.postgres.schema.migrate import upgrade
from service.adapters.postgres.session.connect import create_pool
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from tests.builders import an_observation, batch_of
from tests.integration.warehouse import ACCOUNT, written
from tests.integration.writing.test_finance import QUERIES

OWNER, SERVICE, FINANCE = (f"refund_sync_{who}" for who in ("owner", "service", "finance"))
README = Path(__file__).resolve().parents[3] / "deploy" / "README.md"


def blocks() -> list[str]:
    """The SQL of the administrator, and that of the owner."""
    section = README.read_text().partition("## Roles")[2].partition("\n## ")[0]
    found: list[str] = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return found


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def test_an_owner_who_may_create_neither_roles_nor_schemas_migrates_and_grants(
    empty_database: str,
) -> None:
    def as_role(role: str) -> str:
        return empty_database.replace("//postgres@", f"//{role}@")

    administrators, owners = blocks()
    await execute(empty_database, "CREATE ROLE clerk LOGIN CREATEROLE")
    try:
        name = empty_database.partition("@/")[2].partition("?")[0]
        await execute(empty_database, f"GRANT CREATE ON DATABASE {name} TO clerk")
        await execute(as_role("clerk"), administrators)
        await upgrade(as_role(OWNER))
        await execute(as_role(OWNER), owners)
        pool = await create_pool(as_role(SERVICE), size=2)
        store = PostgresStore(Database(pool, deadline_s=20), ACCOUNT, None)
        changed = [an_observation(seen=n, form=b"%04d" % n) for n in range(3)]
        assert await store.write(batch_of(changed[0])) == written(inserted=1)
        await store.write(batch_of(changed[1]))
        await pool.close()
        finance = await asyncpg.connect(as_role(FINANCE))
        for schema in ("finance", "refund_sync"):
            await execute(as_role(OWNER), f"CREATE VIEW {schema}.of_a_later_version AS SELECT 1")
            await finance.fetch(f"TABLE {schema}.of_a_later_version")
        for sql in QUERIES:
            await finance.fetch(sql)
        assert await finance.fetchval("SELECT count(*) FROM finance.refunds") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await finance.execute("DELETE FROM refund_sync.refund")
        await finance.close()
    finally:
        for role in (SERVICE, FINANCE, OWNER, "clerk"):
            await execute(empty_database, f"DROP OWNED BY {role} CASCADE")
            await execute(empty_database, f"DROP ROLE {role}")
