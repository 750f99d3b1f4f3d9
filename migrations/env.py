"""How alembic runs: on a connection that the program made, or offline, printing SQL."""

from __future__ import annotations

from typing import Any

from alembic import context

from service.adapters.postgres.schema import SCHEMA, metadata

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

with context.begin_transaction():
    context.execute("SET LOCAL lock_timeout = '30s'")
    context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")  # alembic's own table lives in it
    context.run_migrations()
