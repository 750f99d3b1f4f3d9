"""How alembic runs: on a connection that the program made, or offline, printing SQL."""

from __future__ import annotations

from typing import Any

from alembic import context

from service.adapters.postgres.schema.tables import SCHEMA, metadata

options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table_schema": SCHEMA,
    "include_schemas": True,
    "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
    "compare_server_default": True,
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
else:
    context.configure(connection=context.config.attributes["connection"], **options)

LOCK_TIMEOUT = context.config.attributes.get("lock_timeout", "3s")
UNLESS_THERE = (
    "DO $$ BEGIN IF to_regnamespace('{0}') IS NULL THEN CREATE SCHEMA {0}; END IF; END $$"
)

with context.begin_transaction():
    context.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    # IF NOT EXISTS asks for the privilege even where there is nothing to do; alembic's table lives in it.
    context.execute(UNLESS_THERE.format(SCHEMA))
    context.run_migrations()
