"""Compares what was read with what is stored, column by column, and revokes claims that it contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.adapters.postgres.coverage import claims, fold
from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import range_of
from service.adapters.postgres.warehouse import rows
from service.adapters.postgres.warehouse.order import known_at
from service.adapters.postgres.warehouse.sorting import latest_by_id
from service.adapters.postgres.warehouse.writer import FORM_BYTES, locked_refunds
from service.domain.batch import Compared
from service.domain.coverage.span import Span, instant, merged
from service.domain.coverage.stream import REFUNDS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database
    from service.domain.batch import Batch
    from service.domain.refund import Observation

DISTRUSTED = b"\x00"
"""What the query ``distrust`` leaves of a digest: an earlier comparison found the row altered."""
SHOWN = 20
"""Differences of a batch that are reported field by field."""


async def compare_batch(
    connection: Connection, account_id: str, run_id: UUID | None, batch: Batch
) -> Compared:
    """All of it in the caller's transaction. A read older than ours says nothing against a row."""
    now = await connection.fetchval(query("database_time"))
    seen = latest_by_id([o for r in batch.readings for o in r.observations], now)
    ids = [o.refund.id for o in seen]
    covered = await _covered(connection, account_id, seen)
    stored = await locked_refunds(connection, account_id, ids)
    found = Compared(missing=[i for i in ids if i not in stored])
    for observation in seen:
        row = stored.get(observation.refund.id)
        if row is not None:
            _compare(found, dict(row.items()), observation, now)
    if found.altered:
        await connection.execute(query("distrust"), account_id, found.altered)
    if found.returned:
        await connection.execute(query("clear_marks"), account_id, found.returned)
    found.undecodable = [
        u.object_id or f"without an id, created {instant(u.earliest)} to {instant(u.latest)}"
        for r in batch.readings
        for u in r.undecodable
    ]
    found.unlisted = await _unlisted(connection, account_id, batch)
    seconds = {o.refund.id: o.refund.created for o in seen}
    found.holes = [i for i in found.missing if seconds[i] in covered]
    holes = {seconds[i] for i in found.holes}
    found.revoked = await _revoke(connection, account_id, run_id, batch, holes) if holes else []
    return found


async def _covered(
    connection: Connection, account_id: str, seen: Sequence[Observation]
) -> frozenset[int]:
    """Which of their seconds are covered. Asked before the rows are: what they held by then is seen."""
    seconds = sorted({o.refund.created for o in seen})
    found = await connection.fetch(query("covered_seconds"), account_id, REFUNDS, seconds)
    return frozenset(row[0] for row in found)


def _compare(found: Compared, row: dict[str, Any], seen: Observation, now: datetime) -> None:
    began_at = known_at(seen.observed_at, now)
    marked_at = max((mark for mark in (row["gone_at"], row["hidden_at"]) if mark), default=None)
    if marked_at and began_at >= marked_at:
        found.returned.append(seen.refund.id)
    changes = rows.changes_between(row, seen)
    if not changes or began_at < row["observed_at"]:
        found.equal += 1
        return
    found.differing.append(seen.refund.id)
    found.seconds[seen.refund.id] = seen.refund.created
    if row["content_hash"][FORM_BYTES:] in {seen.content_hash[FORM_BYTES:], DISTRUSTED}:
        found.altered.append(seen.refund.id)
    if row["content_hash"][:FORM_BYTES] != seen.content_hash[:FORM_BYTES]:
        found.outdated.append(seen.refund.id)
    if len(found.fields) < SHOWN:
        found.fields[seen.refund.id] = changes


async def _unlisted(connection: Connection, account_id: str, batch: Batch) -> list[tuple[str, int]]:
    own = [proof for proof in batch.proofs if proof.stream == REFUNDS]
    if not own:
        return []
    listed = sorted(frozenset[str]().union(*(proof.claim.listed for proof in own)))
    found = await connection.fetch(
        query("unlisted"), account_id, [range_of(p.claim.span) for p in own],
        [p.observed_at for p in own], listed,
    )  # fmt: skip
    return [(row["id"], row["created"]) for row in found]


async def _revoke(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    batch: Batch,
    holes: Collection[int],
) -> list[Span]:
    """A refund missing in a covered second contradicts the claim: what the page proves is claimed no more."""
    spans = {p.claim.span for p in batch.proofs if any(p.claim.span.holds(s) for s in holes)}
    spans |= {Span(s, s + 1) for s in holes if not any(span.holds(s) for span in spans)}
    at = max(reading.observed_at for reading in batch.readings)
    return await claims.revoke(connection, account_id, run_id, sorted(spans), at)


class PostgresComparison:
    """Implements ``ports.warehouse.ComparingStore`` for one account and run."""

    def __init__(self, database: Database, account_id: str, run_id: UUID | None) -> None:
        self._database = database
        self._account_id = account_id
        self._run_id = run_id

    async def compare(self, batch: Batch) -> Compared:
        async def compare(connection: Connection) -> Compared:
            return await compare_batch(connection, self._account_id, self._run_id, batch)

        return await self._database.patiently(compare)

    async def hinted_since(self, ids: Sequence[str], since: datetime) -> list[str]:
        found = await self._database.fetch("hinted_since", self._account_id, list(ids), since)
        return [row[0] for row in found]

    async def unread_since(self, ids: Sequence[str], since: datetime) -> list[str]:
        """Those that are not stored, or were last read before."""
        found = await self._database.fetch("unread_since", self._account_id, list(ids), since)
        return [row[0] for row in found]

    async def revoke_contradicted(self, span: Span) -> list[Span]:
        """Revokes claims on *span* that the stored rows contradict. Returns their spans."""

        async def revoke(connection: Connection) -> list[Span]:
            await claims.lock_coverage(connection, self._account_id, STREAMS)
            return [
                contradicted
                for stream in STREAMS
                for contradicted in await fold.revoke_contradicted(
                    connection, self._account_id, stream, span
                )
            ]

        return merged(await self._database.patiently(revoke))

    async def miss(self, ids: Sequence[str], observed_at: datetime, now: datetime) -> None:
        missed = dict.fromkeys(ids, observed_at)
        await self._database.patiently(
            lambda connection: claims.miss(connection, self._account_id, missed, now)
        )
