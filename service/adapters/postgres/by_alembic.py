"""Runs the migrations, by alembic: whether to run them is decided elsewhere."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from service.adapters.postgres.connect import connect
from service.adapters.postgres.migrate import migrations_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection as SyncConnection


def configuration(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(dsn: str) -> None:
    """All that is missing, in one transaction."""
    async with _engine_connection(dsn) as connection:
        await connection.run_sync(_upgrade)


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
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def offline_sql() -> str:
    output = io.StringIO()
    command.upgrade(configuration(output), "head", sql=True)
    return output.getvalue()
