"""Writes one batch in one transaction: reads what is known, skips what is equal, changes, adds, claims.

What is new is copied in. Should another command have added the same rows by then, the copy fails
on the primary key and the whole transaction is tried again: then they are known.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.coverage import claims
from service.adapters.postgres.queries import query
from service.adapters.postgres.rechecks import hints as hinted
from service.adapters.postgres.rechecks import queue as rechecks
from service.adapters.postgres.session.values import columns_of, copy
from service.adapters.postgres.warehouse import facts, rows
from service.adapters.postgres.warehouse.order import known_at
from service.adapters.postgres.warehouse.sorting import Sorted, latest_by_id, sort
from service.domain.batch import FETCH, Written

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    import asyncpg

    from service.adapters.postgres.session.connect import Connection
    from service.domain.batch import Batch
    from service.domain.refund import Observation

READS_OVERLAP = timedelta(seconds=120)
"""Two reads whose begins lie nearer than this may have overlapped: no request takes longer."""

FORM_BYTES = 4
"""The bytes of a content hash that name the form of decoding; the rest is a digest of what Stripe sent."""


_Changed = tuple["Observation", int, str, "Mapping[str, list[Any]]"]
"""What was observed, the version it becomes, what found it, and what differs: ``{field: [before, after]}``."""


async def write_batch(
    connection: Connection,
    account_id: str,
    run_id: UUID | None,
    batch: Batch,
    now: datetime,
    *,
    again: bool = False,
) -> Written:
    """Everything of *batch*, inside the caller's transaction. Idempotent. Due times count from *now*.

    *again* says that it was tried before, and met rows that another writer had added.
    """
    waits = await connection.fetchrow(query("anything_pending"), account_id)
    read_at = waits["now"] if waits else now
    observations = latest_by_id([o for r in batch.readings for o in r.observations], read_at)
    todo = await sort(connection, account_id, observations, now, named=batch.source == FETCH)
    same = sum(reading.same for reading in batch.readings)
    written = Written(inserted=len(todo.new), unchanged=todo.unchanged + same)
    written.returned = len(todo.returned)
    await _change(connection, account_id, todo, batch.source, written, read_at)
    await claims.queue_unlisted(connection, account_id, batch.proofs, now)
    left = again or (waits and waits["left_behind"])
    versions = await _leftovers(connection, account_id, todo.new) if left else {}
    await _add(connection, account_id, todo.new, batch.source, versions)
    await facts.write_charges(connection, account_id, observations, read_at)
    await facts.write_ledger(connection, account_id, observations, read_at)
    await rechecks.settle(connection, account_id, observations, todo.pending_rechecks)
    if waits and waits["charges"]:
        await rechecks.settle_charges(connection, account_id, todo.new)
    await rechecks.queue(connection, account_id, todo.updates, todo.ambiguous, now)
    if todo.pending_rechecks:
        await rechecks.watch_hidden(connection, account_id, list(todo.pending_rechecks), now)
    written.hinted = await hinted.keep(connection, account_id, batch, now)
    await rechecks.check(connection, account_id, batch.checks, now)
    if waits and waits["odd"]:
        await claims.release_quarantined(connection, account_id, batch)
        await claims.miss_quarantined(connection, account_id, batch)
    written.quarantined = await claims.write_quarantine(connection, account_id, batch, now)
    listed = [o.refund.created for o in todo.new if o.listed_at]
    written.late = await claims.write_claims(connection, account_id, run_id, batch.proofs, listed)
    return written


async def _change(
    connection: Connection,
    account_id: str,
    todo: Sorted,
    source: str,
    written: Written,
    now: datetime,
) -> None:
    ids = [o.refund.id for o in todo.differing]
    touched = [o.refund.id for o in todo.touched]
    locked = await locked_refunds(connection, account_id, ids, besides=touched)
    changed: list[_Changed] = []
    reformed: list[Observation] = []
    for seen in todo.differing:
        row = locked[seen.refund.id]
        if known_at(seen.observed_at, now) < row["observed_at"]:
            written.stale += 1
            _ambiguous(todo, seen, row, now)
            if seen.listed_at is not None:
                todo.touched.append(seen)
            continue
        same_form = row["content_hash"][:FORM_BYTES] == seen.content_hash[:FORM_BYTES]
        changes = rows.changes_between(dict(row.items()), seen)
        if not changes:
            written.unchanged += 1
            todo.touched.append(seen)
            reformed += [] if same_form else [seen]
            continue
        written.changed += 1
        todo.updates.append(seen)
        _ambiguous(todo, seen, row, now)
        why = source if same_form else "upgrade"
        changed.append((seen, row["version"] + 1, why, changes))
    await _update(connection, account_id, changed)
    await _reform(connection, account_id, reformed)
    await _touch(connection, account_id, todo, locked.keys())


async def locked_refunds(
    connection: Connection, account_id: str, ids: Sequence[str], *, besides: Sequence[str] = ()
) -> dict[str, asyncpg.Record]:
    """All that is compared of these refunds, by id; nobody else changes them until we commit.

    Those *besides* are locked with them: all rows of a transaction at once, in the order of their ids.
    """
    if ids or besides:
        await connection.execute(query("lock_refunds"), account_id, sorted({*ids, *besides}))
    if not ids:
        return {}
    stored = await connection.fetch(query("stored_refunds"), account_id, ids)
    return {row["id"]: row for row in stored}


def _ambiguous(todo: Sorted, seen: Observation, row: asyncpg.Record, now: datetime) -> None:
    """Which of two differing reads is right their begins do not say where they may overlap, or are unknown."""
    began_at = known_at(seen.observed_at, now)
    unclear = row["misdated"] or began_at != seen.observed_at
    if unclear or abs(began_at - row["observed_at"]) < READS_OVERLAP:
        todo.ambiguous[seen.refund.id] = rechecks.OVERLAP


async def _update(connection: Connection, account_id: str, changed: Sequence[_Changed]) -> None:
    """Links and destinations only where they changed: mostly they did not.

    A trigger keeps the versions that are followed.
    """
    if not changed:
        return
    refunds = [
        rows.changed_refund(o, version, source, json.dumps(changes, ensure_ascii=False))
        for o, version, source, changes in changed
    ]
    await connection.execute(query("update_refunds"), account_id, *columns_of(refunds))
    linked = [o for o, *_, changes in changed if not changes.keys().isdisjoint(rows.LINK_FIELDS)]
    if linked:
        links = [(o.refund.id, *o.link) for o in linked]
        await connection.execute(query("update_charge_links"), account_id, *columns_of(links))
    sent = [
        o for o, *_, changes in changed if not changes.keys().isdisjoint(rows.DESTINATION_FIELDS)
    ]
    if sent:
        ids = [o.refund.id for o in sent]
        await connection.execute(query("delete_destinations"), account_id, ids)
        await _copy_destinations(connection, account_id, sent)


async def _reform(connection: Connection, account_id: str, reformed: Sequence[Observation]) -> None:
    """Renders again what an older form of ours decoded to the same columns.

    Makes no version, as nothing changed at Stripe: those that are past keep the text they were written with.
    """
    values = [(o.refund.id, o.raw(), o.content_hash, o.received) for o in reformed]
    if values:
        await connection.execute(query("reform_refunds"), account_id, *columns_of(values))


async def _touch(
    connection: Connection, account_id: str, todo: Sorted, locked: Collection[str]
) -> None:
    """What another writer changed after the comparison is ambiguous."""
    values = [
        (o.refund.id, o.observed_at, o.listed_at, o.content_hash,
         o.listed_at is None or todo.asked_for(o.refund.id), o.refund.id in locked)
        for o in todo.touched
    ]  # fmt: skip
    if values:
        done = await connection.fetch(query("touch_refunds"), account_id, *columns_of(values))
        changed = [row["id"] for row in done if not row["as_compared"]]
        todo.ambiguous.update(dict.fromkeys(changed, rechecks.OVERLAP))


async def _leftovers(
    connection: Connection, account_id: str, new: Sequence[Observation]
) -> dict[str, int]:
    """The last version of each refund that was here once."""
    found = await connection.fetch(
        query("orphaned_versions"), account_id, [o.refund.id for o in new]
    )
    return {row["refund_id"]: row["version"] for row in found}


async def _add(
    connection: Connection,
    account_id: str,
    new: Sequence[Observation],
    source: str,
    versions: Mapping[str, int],
) -> None:
    if not new:
        return
    refunds = [
        rows.new_refund(account_id, o, versions.get(o.refund.id, 0) + 1, source) for o in new
    ]
    await copy(connection, "refund", rows.REFUND_COLUMNS, refunds)
    links = [(account_id, o.refund.id, *o.link) for o in new]
    await copy(connection, "charge_link", rows.CHARGE_LINK_COLUMNS, links)
    await _copy_destinations(connection, account_id, new)


async def _copy_destinations(
    connection: Connection, account_id: str, seen: Sequence[Observation]
) -> None:
    values = [(account_id, o.refund.id, *o.destination) for o in seen if o.destination]
    await copy(connection, "destination_details", rows.DESTINATION_COLUMNS, values)
