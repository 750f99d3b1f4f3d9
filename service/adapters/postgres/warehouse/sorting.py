"""Sorts what a batch observed by what has to be done about it: add, change, sharpen, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.rechecks import queue as rechecks
from service.adapters.postgres.warehouse.order import known_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from service.adapters.postgres.session.connect import Connection
    from service.domain.refund import Observation


@dataclass(slots=True)
class Sorted:
    """The observations of a batch, by what has to be done about them."""

    new: list[Observation] = field(default_factory=list)
    differing: list[Observation] = field(default_factory=list)
    touched: list[Observation] = field(default_factory=list)
    updates: list[Observation] = field(default_factory=list)
    ambiguous: dict[str, str] = field(default_factory=dict)
    pending_rechecks: Mapping[str, bool] = field(default_factory=dict)
    """Refunds with a pending recheck: True if a hint is the reason."""
    returned: list[str] = field(default_factory=list)
    """Refunds that were marked gone or hidden, and that this read found again."""
    misdated: set[str] = field(default_factory=set)
    """Refunds whose last read lies in the future: a clock was ahead, and this read counts."""
    named: bool = False
    """Somebody asked for just these: when they were read is worth a write."""
    unchanged: int = 0

    def asked_for(self, refund_id: str) -> bool:
        """Whether it is worth a write when it was read last: somebody asked, or no clock can say so.

        Once it is known to be read, the same hint, received again, asks for nothing.
        """
        return (
            self.named or refund_id in self.misdated or self.pending_rechecks.get(refund_id, False)
        )


def latest_by_id(observations: Sequence[Observation], now: datetime) -> list[Observation]:
    """One observation for each id: the latest by the order of reads, listed when it first was.

    In the order in which refunds were created, so that what is looked for together lies together, and two
    writers never deadlock.
    """
    found: dict[str, Observation] = {}
    for seen in observations:
        known = found.setdefault(seen.refund.id, seen)
        if known is not seen:
            later = max(known, seen, key=lambda o: known_at(o.observed_at, now))
            listed = [o.listed_at for o in (known, seen) if o.listed_at]
            later.listed_at = min(listed, default=None)
            found[seen.refund.id] = later
    return sorted(found.values(), key=lambda o: (o.refund.created, o.refund.id))


async def sort(
    connection: Connection,
    account_id: str,
    seen: Sequence[Observation],
    now: datetime,
    *,
    named: bool,
) -> Sorted:
    if not seen:
        return Sorted()
    ids = [o.refund.id for o in seen]
    known = {r["id"]: r for r in await connection.fetch(query("known_refunds"), account_id, ids)}
    todo = Sorted(
        pending_rechecks=await rechecks.pending_rechecks(connection, account_id, ids, now),
        named=named,
    )
    for observation in seen:
        row = known.get(observation.refund.id)
        if row is None:
            todo.new.append(observation)
            todo.updates.append(observation)
        else:
            _place(todo, observation, row)
    return todo


def _place(todo: Sorted, seen: Observation, row: asyncpg.Record) -> None:
    refund_id = seen.refund.id
    if _came_back(seen, row):
        todo.returned.append(refund_id)
    if row["content_hash"] != seen.content_hash:
        todo.differing.append(seen)
        return
    todo.unchanged += 1
    if refund_id in todo.pending_rechecks:
        todo.updates.append(seen)
    if row["misdated"]:
        todo.misdated.add(refund_id)
    if _adds_information(seen, row, asked_for=todo.asked_for(refund_id)):
        todo.touched.append(seen)


def _came_back(seen: Observation, row: asyncpg.Record) -> bool:
    """Whether it was marked gone, or hidden from listings, and this later read says otherwise."""
    if row["gone_at"] and seen.observed_at >= row["gone_at"]:
        return True
    return bool(row["hidden_at"] and seen.listed_at and seen.listed_at >= row["hidden_at"])


def _adds_information(seen: Observation, row: asyncpg.Record, *, asked_for: bool) -> bool:
    """Whether an unchanged refund is worth a write: listed earlier than known, read on its own, or marked."""
    listed_at = row["first_listed_at"]
    if any(mark and seen.observed_at >= mark for mark in (row["gone_at"], row["unknown_at"])):
        return True
    if row["hidden_at"] and seen.listed_at and seen.listed_at >= row["hidden_at"]:
        return True
    if seen.listed_at is not None and (listed_at is None or seen.listed_at < listed_at):
        return True
    return (asked_for or seen.listed_at is None) and seen.observed_at > row["observed_at"]
