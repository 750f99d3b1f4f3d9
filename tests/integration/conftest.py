"""A warehouse of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.session.connect import create_pool
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.session.connect import Pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, size=8)
    yield pool
    await pool.close()


@pytest.fixture
def store(pool: Pool) -> PostgresStore:
    return PostgresStore(Database(pool, deadline_s=20), ACCOUNT, None)
