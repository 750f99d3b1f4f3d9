"""Brings the schema up to date, forward only, and tells where it stands."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

import service
from service.adapters.postgres.connect import connect
from service.adapters.postgres.faults import translated
from service.adapters.postgres.queries import query
from service.domain.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection as SyncConnection

    from service.adapters.postgres.connect import Connection

ABSENT, BEHIND, CURRENT, AHEAD, FOREIGN = "absent", "behind", "current", "ahead", "foreign"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands: *name* is absent, behind, current, ahead or foreign."""

    name: str
    revision: str | None
    newest: str
    foreign: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.name == BEHIND:
            return f"behind: at revision {self.revision}, this program needs {self.newest}"
        if self.name == AHEAD:
            return f"ahead: at revision {self.revision}, this program knows {self.newest} as the newest"
        if self.name == FOREIGN:
            return f"not ours: {', '.join(self.foreign[:3])} stands there already"
        return self.name


@dataclass(frozen=True, slots=True)
class Upgraded:
    from_revision: str | None
    to_revision: str


def migrations_folder() -> Path:
    """Beside the checkout's package, else inside the wheel's; never by working directory.

    An editable install may leave an old copy in site-packages: the checkout's own comes first.
    """
    package = Path(service.__file__).resolve().parent
    beside = package.parent / "migrations"
    return beside if (beside / "env.py").exists() else package / "_migrations"


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _revisions() -> tuple[str, ...]:
    """All that this program knows, newest first."""
    return tuple(s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions())


async def schema_state(connection: Connection) -> SchemaState:
    newest = _revisions()[0]
    if not await connection.fetchval(query("schema_version_table")):
        return await _state_without_version(connection, newest)
    revision = await connection.fetchval(query("schema_revision"))
    if revision == newest:
        return SchemaState(CURRENT, revision, newest)
    return SchemaState(BEHIND if revision in _revisions() else AHEAD, revision, newest)


async def _state_without_version(connection: Connection, newest: str) -> SchemaState:
    foreign = [row[0] for row in await connection.fetch(query("foreign_objects"))]
    there = [row[0] for row in await connection.fetch(query("schemas_there"))]
    if foreign or "finance" in there:
        return SchemaState(FOREIGN, None, newest, tuple(foreign or there))
    return SchemaState(ABSENT, None, newest)


async def upgrade(dsn: str) -> Upgraded:
    """To the newest revision, one process at a time.

    Raises SchemaError where the schema is ahead of this program, or holds what we did not make.
    """
    guard = await connect(dsn, command_limit_s=None)
    try:
        with translated():
            await guard.execute("SET lock_timeout = '300s'")
            await guard.execute(query("lock_migrations"))
            state = await schema_state(guard)
            _refuse(state)
            if state.name != CURRENT:
                async with _engine_connection(dsn) as connection:
                    await connection.run_sync(_upgrade)
        return Upgraded(state.revision, state.newest)
    finally:
        await guard.close()


def _refuse(state: SchemaState) -> None:
    if state.name == AHEAD:
        raise SchemaError(
            f"the database schema is {state}",
            hint="Install the refund-sync that made it, or a newer one.",
        )
    if state.name == FOREIGN:
        raise SchemaError(
            f"the schemas refund_sync and finance are {state}",
            hint="Use another database, or rename what is there: nothing was touched.",
        )


@asynccontextmanager
async def _engine_connection(dsn: str) -> AsyncIterator[Any]:
    async def creator() -> Any:
        return await connect(dsn, command_limit_s=None)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def _upgrade(connection: SyncConnection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def offline_sql() -> str:
    """The SQL of all migrations, for an empty database; needs no connection."""
    output = io.StringIO()
    command.upgrade(_config(output), "head", sql=True)
    return output.getvalue()
