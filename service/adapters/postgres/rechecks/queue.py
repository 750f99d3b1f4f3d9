"""What is to be read again: queued and settled with the rows of a batch."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.values import columns_of, range_of, time_of
from service.domain.recheck import (
    STATES,
    next_due_s,
    state_of,
)
from service.domain.refund import without_echoes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from service.adapters.postgres.session.connect import Connection
    from service.domain.batch import Check
    from service.domain.refund import Hint, Observation

UNHYDRATED, OVERLAP, QUARANTINED = "unhydrated", "overlapping reads differ", "in quarantine"
NOT_LISTED, HIDDEN, NOT_FOUND, GONE = "not listed", "hidden", "not found", "gone"
HIDDEN_AGAIN = timedelta(days=7)


async def pending_rechecks(
    connection: Connection, account_id: str, ids: Sequence[str], now: datetime
) -> dict[str, bool]:
    """Those of *ids* that a read made now helps: due, hinted at (True), or waiting for more than time."""
    found = await connection.fetch(query("pending_rechecks"), account_id, ids, now, list(STATES))
    return {row["object_id"]: row["hinted"] for row in found}


async def settle(
    connection: Connection, account_id: str, seen: Sequence[Observation], waited: Collection[str]
) -> None:
    """What was read whole is not pending any more."""
    values = [(o.refund.id, o.observed_at) for o in seen if o.hydrated and o.refund.id in waited]
    if values:
        await connection.execute(query("settle_rechecks"), account_id, *columns_of(values))


async def settle_charges(
    connection: Connection, account_id: str, new: Sequence[Observation]
) -> None:
    """Word that a charge was refunded is settled by its new refund."""
    values = [(o.link.charge_id, o.observed_at) for o in new if o.link.charge_id]
    if values:
        await connection.execute(query("settle_charge_hints"), account_id, *columns_of(values))


async def queue(
    connection: Connection,
    account_id: str,
    seen: Sequence[Observation],
    ambiguous: Mapping[str, str],
    now: datetime,
) -> None:
    """When each of these is due again, by its state, or at once where it is ambiguous."""
    due = {object_id: (why, now) for object_id, why in ambiguous.items()}
    for observation in seen:
        if observation.refund.id not in due and (again := _again(observation, now)):
            due[observation.refund.id] = again
    if due:
        values = [(object_id, why, at) for object_id, (why, at) in due.items()]
        await connection.execute(query("queue_rechecks"), account_id, *columns_of(values))


async def watch_hidden(
    connection: Connection, account_id: str, ids: Sequence[str], now: datetime
) -> None:
    """No list returns these, so that they are due by themselves."""
    hidden = await connection.fetch(query("still_hidden"), account_id, ids)
    if hidden:
        values = [(row[0], HIDDEN, now + HIDDEN_AGAIN) for row in hidden]
        await connection.execute(query("queue_rechecks"), account_id, *columns_of(values))


def _again(seen: Observation, now: datetime) -> tuple[str, datetime] | None:
    if not seen.hydrated:
        return UNHYDRATED, now
    state = state_of(seen.refund, seen.link, seen.destination)
    due_s = next_due_s(state, seen.refund.created, now.timestamp())
    return None if state is None or due_s is None else (state, time_of(due_s))


async def hint(
    connection: Connection, account_id: str, hints: Sequence[Hint], now: datetime
) -> int:
    """Keeps hints. Returns how many were new."""
    if not hints:
        return 0
    values = [(h.kind, h.object_id, h.at) for h in without_echoes(hints)]
    done = await connection.execute(query("queue_hints"), account_id, now, *columns_of(values))
    return int(done.rpartition(" ")[2])


async def check(
    connection: Connection, account_id: str, checks: Sequence[Check], now: datetime
) -> None:
    if checks:
        values = [(c.stream, range_of(c.span), c.observed_at) for c in checks]
        await connection.execute(query("check_spans"), account_id, now, *columns_of(values))
