"""Folds old claims by month: the proof of a month in few rows, however many reads it took."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.claims import lock_coverage
from service.adapters.postgres.queries import query

if TYPE_CHECKING:
    from datetime import datetime

    from service.adapters.postgres.connect import Connection
    from service.adapters.postgres.store import Database

log = structlog.get_logger(__name__)

OLD = timedelta(days=35)
"""Claims of a month stay as they were made for so long after it."""
FEW = 32
"""A month with no more claims than this is left alone."""


async def fold_claims(database: Database, account_id: str, now: datetime) -> int:
    """Folds the claims of months that ended long ago. Returns how many months that were.

    What is covered stays the same. Claims that the stored rows do not bear out are not folded.
    """
    folded = 0
    for stream, span in await database.fetch("foldable_months", account_id, now - OLD, FEW):

        async def fold(connection: Connection, stream: str = stream, span: object = span) -> bool:
            await lock_coverage(connection, account_id, [stream])
            if await connection.fetchval(query("taken_back"), account_id, stream, span):
                return False
            broken = await connection.fetchval(query("broken_claims"), account_id, stream, span)
            if broken:
                log.error(
                    "claims.not_borne_out", account_id=account_id, stream=stream, claims=broken
                )
                return False
            await connection.execute(query("fold_claims"), account_id, stream, span)
            return True

        folded += await database.patiently(fold)
    return folded
