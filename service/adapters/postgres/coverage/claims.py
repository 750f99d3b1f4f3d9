"""Writes what a batch proves, and what it had to set aside."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import columns_of, range_of, time_of
from service.domain.coverage.span import Span, merged
from service.domain.coverage.stream import REFUNDS, STREAMS
from service.domain.coverage.walk import digest_of
from service.domain.recheck import CONFIRM_S, QUARANTINE_AGAIN_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Range

    from service.adapters.postgres.session.connect import Connection
    from service.domain.batch import Batch, Proof
    from service.domain.refund import Undecodable


async def write_claims(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    proofs: Sequence[Proof],
    new_seconds: Sequence[int],
) -> int:
    """Numbers the claims and adds their spans to coverage, last of all in the transaction.

    A claim counts every stored refund of its span that a list ever named: also one that cannot be decoded
    any more, or that is listed no more and not gone. Returns how many of *new_seconds* were covered before: objects that arrived late.
    """
    late = 0
    streams = sorted({proof.stream for proof in proofs})
    for stream in streams:
        await connection.execute(query("open_coverage"), account_id, stream)
    await lock_coverage(connection, account_id, streams)
    if new_seconds:
        late = await connection.fetchval(query("count_late"), account_id, REFUNDS, new_seconds)
    others = await _counted_besides(connection, account_id, proofs)
    for stream in streams:
        own = [proof for proof in proofs if proof.stream == stream]
        added = await _claim(connection, account_id, run_id, stream, own, others)
        if added:
            await connection.execute(query("add_coverage"), account_id, stream, added)
    return late


async def _claim(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    stream: str,
    proofs: Sequence[Proof],
    others: Sequence[_Other],
) -> list[Range[int]]:
    """The spans that are claimed now: by claims of their own, or where nothing was listed by a longer one."""
    counted = [_counted(p, others if stream.startswith(REFUNDS) else []) for p in proofs]
    spans = merged([p.claim.span for p in proofs])
    if len(spans) == 1 and not any(rows for rows, _ in counted) and not _lists_anything(proofs):
        began_at = min(p.observed_at for p in proofs)
        longer = await connection.fetch(
            query("extend_claim"), account_id, stream, range_of(spans[0]), began_at
        )
        if longer:
            return [row["span"] for row in longer]
    claimed = await connection.fetch(
        query("add_claims"), account_id, stream, run_id, [range_of(p.claim.span) for p in proofs],
        [rows for rows, _ in counted], [digest for _, digest in counted],
        [p.observed_at for p in proofs],
    )  # fmt: skip
    return [row["span"] for row in claimed]


def _lists_anything(proofs: Sequence[Proof]) -> bool:
    return any(proof.claim.rows or proof.claim.listed for proof in proofs)


async def lock_coverage(connection: Connection, account_id: str, streams: Sequence[str]) -> None:
    """Until we commit nobody else numbers claims of these streams; what others numbered is seen from here on."""
    if streams:
        await connection.execute(query("lock_coverage"), account_id, streams)


class _Other(NamedTuple):
    """A refund about which a listing of its second says too little.

    It is in quarantine (*second* is None), stored from an earlier read or not; or it is not listed any more.
    """

    id: str
    first_listed_at: datetime | None
    second: int | None = None

    def is_stored_by(self, observed_at: datetime) -> bool:
        return self.first_listed_at is not None and self.first_listed_at <= observed_at


async def _counted_besides(
    connection: Connection, account_id: str, proofs: Sequence[Proof]
) -> list[_Other]:
    if not proofs:
        return []
    listed = frozenset[str]().union(
        *(p.claim.listed for p in proofs if p.stream.startswith(REFUNDS))
    )
    odd = await connection.fetch(query("in_quarantine"), account_id, REFUNDS, list(listed))
    spans = [range_of(span) for span in merged([p.claim.span for p in proofs])]
    unlisted = await connection.fetch(query("stored_though_unlisted"), account_id, spans)
    return [_Other(*row) for row in odd] + [_Other(r[0], r[2], r[1]) for r in unlisted]


def _counted(proof: Proof, others: Sequence[_Other]) -> tuple[int, int]:
    """Rows and digest of what a claim holds: what was kept, and is stored."""
    claim = proof.claim
    more, fewer = set(), set()
    for other in others:
        is_stored = other.is_stored_by(proof.observed_at)
        if other.second is not None:
            is_counted = (
                is_stored and other.id not in claim.listed and claim.span.holds(other.second)
            )
            more |= {other.id} if is_counted else set()
        elif other.id in claim.odd and is_stored:
            more.add(other.id)
        elif other.id in claim.listed - claim.odd and not is_stored:
            fewer.add(other.id)
    return claim.rows + len(more) - len(fewer), claim.digest ^ digest_of(more | fewer)


async def queue_unlisted(
    connection: Connection, account_id: str, proofs: Sequence[Proof], now: datetime
) -> list[str]:
    """Asks by id for stored refunds that a listing of their whole second did not return; returns which."""
    own = [proof for proof in proofs if proof.stream == REFUNDS]
    if not own:
        return []
    found = await connection.fetch(
        query("missed"), account_id, [range_of(p.claim.span) for p in own],
        [p.observed_at for p in own], _listed(own),
    )  # fmt: skip
    missed = dict(tuple(row) for row in found)
    await miss(connection, account_id, missed, now)
    return list(missed)


async def miss(
    connection: Connection, account_id: str, missed: Mapping[str, datetime], now: datetime
) -> None:
    """Marks refunds as hidden that a listing which began then did not return, and asks for each by its id."""
    if missed:
        ids = sorted(missed)
        await connection.execute(query("lock_refunds"), account_id, ids)
        times = [missed[refund_id] for refund_id in ids]
        await connection.execute(query("miss"), account_id, now, ids, times)


async def revoke(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    spans: Sequence[Span],
    observed_at: datetime,
) -> list[Span]:
    """Takes back what was claimed of these spans, in both streams of refunds. Returns what that was."""
    taken: list[Span] = []
    await lock_coverage(connection, account_id, STREAMS)
    for stream in STREAMS:
        ranges = [range_of(span) for span in spans]
        found = await connection.fetch(
            query("revoke"), account_id, stream, run_id, ranges, observed_at
        )
        await connection.execute(query("subtract_coverage"), account_id, stream, ranges)
        if stream == REFUNDS:
            taken = [Span(row[0].lower, row[0].upper) for row in found]
    return taken


async def write_quarantine(
    connection: Connection, account_id: str, batch: Batch, now: datetime
) -> int:
    """Keeps what could not be decoded, to be read again in a day."""
    found = [(bad, r.observed_at) for r in batch.readings for bad in r.undecodable]
    for bad, observed_at in found:
        await _keep(connection, account_id, bad, observed_at)
    named = sorted({bad.object_id for bad, _ in found if bad.object_id})
    if named:
        due_at = now + timedelta(seconds=QUARANTINE_AGAIN_S)
        why, at = ["in quarantine"] * len(named), [due_at] * len(named)
        await connection.execute(query("queue_rechecks"), account_id, named, why, at)
        await connection.execute(query("watch_quarantined"), account_id, named, due_at)
    return len(found)


async def release_quarantined(connection: Connection, account_id: str, batch: Batch) -> None:
    """Releases what could be decoded this time."""
    seen = [(o.refund.id, o.observed_at) for r in batch.readings for o in r.observations]
    if seen:
        await connection.execute(
            query("resolve_quarantine"), account_id, REFUNDS, *columns_of(seen)
        )


async def miss_quarantined(connection: Connection, account_id: str, batch: Batch) -> None:
    """Notes which objects in quarantine the listings of this batch lack, and releases those that are gone."""
    own = [proof for proof in batch.proofs if proof.stream == REFUNDS]
    if own:
        nameless = [b.payload for r in batch.readings for b in r.undecodable if b.object_id is None]
        spans = [(range_of(p.claim.span), p.observed_at) for p in own]
        await connection.execute(
            query("miss_quarantined"), account_id, REFUNDS, *columns_of(spans), _listed(own),
            nameless, timedelta(seconds=CONFIRM_S),
        )  # fmt: skip


def _listed(proofs: Sequence[Proof]) -> list[str]:
    return sorted(frozenset[str]().union(*(proof.claim.listed for proof in proofs)))


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
