"""Writes what a batch proves, and what it had to set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpg import Range

from service.adapters.postgres.queries import query
from service.adapters.postgres.rows import time_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.adapters.postgres.connect import Connection
    from service.domain.refund import Undecodable
    from service.domain.span import Span
    from service.ports import Batch, Proof

REFUNDS = "refunds"


def range_of(span: Span) -> Range[int]:
    return Range(span.start, span.end)


async def write_claims(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    proofs: Sequence[Proof],
    new_seconds: Sequence[int],
) -> int:
    """Numbers the claims and adds their spans to coverage, last of all in the transaction.

    Returns how many of *new_seconds* were covered before: objects that turned up late.
    """
    late = 0
    if new_seconds:
        late = await connection.fetchval(query("count_late"), account_id, REFUNDS, new_seconds)
    for stream in sorted({proof.stream for proof in proofs}):
        own = [proof for proof in proofs if proof.stream == stream]
        spans = [range_of(p.claim.span) for p in own]
        await connection.execute(query("open_coverage"), account_id, stream)
        claimed = await connection.execute(
            query("add_claims"), account_id, stream, run_id, spans,
            [p.claim.rows for p in own], [p.claim.digest for p in own],
            [p.observed_at for p in own],
        )  # fmt: skip
        if claimed != "INSERT 0 0":
            await connection.execute(query("add_coverage"), account_id, stream, spans)
    return late


async def write_quarantine(connection: Connection, account_id: str, batch: Batch) -> int:
    """Keeps what could not be decoded, and releases what could be this time."""
    ids = [o.refund.id for r in batch.readings for o in r.observations]
    await connection.execute(query("resolve_quarantine"), account_id, REFUNDS, ids)
    found = [(bad, r.observed_at) for r in batch.readings for bad in r.undecodable]
    await _release_nameless(connection, account_id, batch, [bad for bad, _ in found])
    for bad, observed_at in found:
        await _keep(connection, account_id, bad, observed_at)
    return len(found)


async def _release_nameless(
    connection: Connection, account_id: str, batch: Batch, found: Sequence[Undecodable]
) -> None:
    if batch.proofs:
        spans = [range_of(p.claim.span) for p in batch.proofs if p.stream == REFUNDS]
        times = [p.observed_at for p in batch.proofs if p.stream == REFUNDS]
        payloads = [bad.payload for bad in found if bad.object_id is None]
        await connection.execute(
            query("resolve_nameless_quarantine"), account_id, REFUNDS, spans, times, payloads
        )


async def _keep(
    connection: Connection, account_id: str, bad: Undecodable, observed_at: datetime
) -> None:
    if bad.object_id is None and await connection.fetchval(
        query("see_nameless_again"), account_id, REFUNDS, bad.payload, observed_at
    ):
        return
    created = time_of(bad.earliest) if bad.earliest == bad.latest else None
    await connection.execute(
        query("quarantine"), account_id, REFUNDS, bad.object_id, bad.payload, bad.error, created,
        time_of(bad.earliest), time_of(bad.latest), observed_at,
    )  # fmt: skip
