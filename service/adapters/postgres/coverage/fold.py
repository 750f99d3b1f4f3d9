"""Folds old claims by day, then by month: the proof in few rows, however many reads it took."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.coverage.claims import lock_coverage, revoke
from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import range_of
from service.domain.coverage.span import Span, merged

if TYPE_CHECKING:
    from datetime import datetime

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database

log = structlog.get_logger(__name__)

UNITS = (("day", timedelta(days=3)), ("month", timedelta(days=35)))
"""Units to fold by, and for how long after the end of each its claims stay as they were made."""


async def fold_claims(database: Database, account_id: str, now: datetime) -> int:
    """Folds old claims. Returns how many days and months that were.

    What is covered stays the same, but for claims that the stored rows contradict: those are revoked, so
    that their spans are read again.
    """
    folded = 0
    for unit, age in UNITS:
        found = await database.fetch("foldable_spans", account_id, now - age, unit)
        for stream, span in found:
            fold = partial(
                _fold, account_id=account_id, stream=stream, unit=Span(span.lower, span.upper)
            )
            folded += await database.patiently(fold)
    return folded


async def _fold(connection: Connection, account_id: str, stream: str, unit: Span) -> bool:
    await lock_coverage(connection, account_id, [stream])
    if await revoke_contradicted(connection, account_id, stream, unit):
        return False
    await connection.execute(query("fold_claims"), account_id, stream, range_of(unit))
    return True


async def revoke_contradicted(
    connection: Connection, account_id: str, stream: str, span: Span
) -> list[Span]:
    """Revokes claims on *span* that the stored rows contradict. Returns their spans.

    Coverage then has a gap there, which is read and claimed again like any other.
    """
    found = await connection.fetch(query("broken_claims"), account_id, stream, range_of(span))
    if not found:
        return []
    spans = merged(Span(row["span"].lower, row["span"].upper) for row in found)
    log.error(
        "claims.contradicted", account_id=account_id, stream=stream, spans=[str(s) for s in spans]
    )
    now = await connection.fetchval(query("database_time"))
    await revoke(connection, account_id, None, spans, now)
    return spans
