"""What a migration needs of a database, looked at before anything is changed; and what refuses one all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.faults import said, translate
from service.domain.errors import DatabaseError, RefundSyncError

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Connection

ENCODING = "UTF8"
_OF_STATEMENTS = "42"
"""SQLSTATEs of what stands in a statement: where no function raised it, that is a bug of ours."""


def wrong_encoding(encoding: str) -> DatabaseError | None:
    if encoding == ENCODING:
        return None
    return DatabaseError(
        f"the database is encoded in {encoding}; UTF8 is needed",
        hint="Create another: CREATE DATABASE refunds TEMPLATE template0 ENCODING 'UTF8'"
        " LC_COLLATE 'C' LC_CTYPE 'C', and name it in DATABASE_URL.",
    )


async def check_ground(connection: Connection, *, first: bool) -> None:
    """Raises DatabaseError that says what to grant; *first* is a migration from nothing."""
    ground = await connection.fetchrow(query("migration_ground"))
    if ground is None:
        raise RuntimeError("a SELECT without FROM gave no row")
    for problem in (
        wrong_encoding(ground["encoding"]),
        _cannot_write(ground),
        _cannot_create(ground) if first else None,
    ):
        if problem:
            raise problem
    owner = await (_other_owner(connection) if first else _owner_of_tables(connection))
    if owner:
        raise owner


def _cannot_write(ground: asyncpg.Record) -> DatabaseError | None:
    if ground["standby"]:
        return DatabaseError(
            "the database server is a standby, where nothing can be changed",
            hint="Name the primary in DATABASE_URL; with several hosts, target_session_attrs=read-write.",
        )
    if ground["read_only"]:
        return DatabaseError(
            f"the database is read-only for the role {ground['role']}",
            hint=f"ALTER ROLE {ground['role']} SET default_transaction_read_only = off;"
            " it may be set for the database or the server, too.",
        )
    return None


def _cannot_create(ground: asyncpg.Record) -> DatabaseError | None:
    role, missing = ground["role"], ground["missing"]
    if ground["may_create"] or not missing:
        return None
    made = " ".join(f"CREATE SCHEMA {schema} AUTHORIZATION {role};" for schema in missing)
    return DatabaseError(
        f"the role {role} may not create schemas in the database {ground['database']}",
        hint=f'As an administrator: GRANT CREATE ON DATABASE "{ground["database"]}" TO {role}; or {made}',
    )


async def _other_owner(connection: Connection) -> DatabaseError | None:
    found = await connection.fetchrow(query("schemas_of_others"))
    if found is None:
        return None
    return DatabaseError(
        f"the schema {found['schema']} belongs to the role {found['owner']}",
        hint="Run `refund-sync migrate` as that role, which then owns all of it.",
    )


async def _owner_of_tables(connection: Connection) -> DatabaseError | None:
    owner = await connection.fetchval(query("tables_of_another"))
    if owner is None:
        return None
    return DatabaseError(
        f"the tables belong to the role {owner}",
        hint="Run `refund-sync migrate` as that role.",
    )


def refusal_of(error: asyncpg.PostgresError) -> RefundSyncError | None:
    """What refuses a migration; None where that is a bug of ours."""
    by_function = "function" in (error.context or "")
    if by_function or isinstance(error, asyncpg.RaiseError):
        where = f" ({str(error.context).splitlines()[0]})" if error.context else ""
        return DatabaseError(
            f"a trigger of the database refuses the migration: {said(error)}{where}",
            hint="Ask who looks after the database to let it pass: SELECT evtname FROM pg_event_trigger.",
        )
    known = translate(error)
    if known is None and not (error.sqlstate or _OF_STATEMENTS).startswith(_OF_STATEMENTS):
        known = DatabaseError(f"the database refuses the migration: {said(error)}")
    return known
