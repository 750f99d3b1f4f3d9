"""What is due to be read again, handed out and put back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.adapters.postgres.queries import query
from service.adapters.postgres.rechecks.queue import (
    GONE,
    HIDDEN,
    NOT_FOUND,
    NOT_LISTED,
    QUARANTINED,
    watch_hidden,
)
from service.adapters.postgres.session.values import columns_of
from service.domain.reads import FAR, Density, Due
from service.domain.recheck import (
    CONFIRM_S,
    GIVE_UP_AFTER,
    LONGEST_S,
    QUARANTINE_AGAIN_S,
    STATES,
    UNKNOWN,
    Day,
    backoff_s,
    due_days,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.adapters.postgres.session.connect import Connection
    from service.adapters.postgres.session.database import Database

GONE_AGAIN = timedelta(days=30)
CONFIRM = timedelta(seconds=CONFIRM_S)
GONE_TRIES = 3


def _patience(due: Due) -> timedelta:
    """How long to leave alone what is still pending: what is in quarantine is looked at daily.

    What Stripe did not know is asked for by its id as soon as its second was listed without it.
    """
    if due.why == QUARANTINED:
        return timedelta(seconds=QUARANTINE_AGAIN_S)
    if due.why == UNKNOWN and due.attempts <= 1:
        return timedelta()
    return timedelta(seconds=backoff_s(due.attempts + 1))


async def days_of(
    connection: Connection,
    account_id: str,
    start: int,
    end: int,
    now: datetime,
    *,
    overdue: int = 1,
) -> list[Day]:
    """The days of that span that hold refunds; none where none is due, because counting takes its time."""
    states = list(STATES) if overdue == 1 else []
    found = await connection.fetch(query("days"), account_id, start, end, now, states)
    days = [
        Day(row["day"], 1, row["checked_s"], row["outstanding"], row["pending"]) for row in found
    ]
    if not due_days(days, now.timestamp(), overdue=overdue):
        return []
    counted = await connection.fetch(query("refunds_by_day"), account_id, start, end)
    refunds = {row["day"]: row["refunds"] for row in counted}
    return [replace(day, refunds=refunds[day.start]) for day in days if day.start in refunds]


class PostgresDue:
    """Implements ``ports.rechecks.DueStore`` and ``DayStore`` for one account: those hinted at, or the others."""

    def __init__(self, database: Database, account_id: str, *, hinted: bool) -> None:
        self._database = database
        self._account_id = account_id
        self._due = "due_hinted" if hinted else "due_otherwise"

    async def due(self, now: datetime, limit: int) -> list[Due]:
        found = await self._database.fetch(self._due, self._account_id, now, limit)
        return [Due(*r) for r in found]

    async def density(self, days: Sequence[int]) -> Density:
        hours = await self._database.fetch("refunds_by_hour", self._account_id, list(days))
        gaps = await self._database.fetch("refunds_between", self._account_id, list(days), FAR)
        return Density({row[0]: row[1] for row in hours}, {row[0]: row[1] for row in gaps})

    async def stored(self, ids: Sequence[str], why: str) -> list[Due]:
        """Those of these refunds that are stored, to be read again."""
        found = await self._database.fetch("stored_seconds", self._account_id, list(ids))
        return [Due("refund", row["id"], why, row["created"], 0, row["hidden"]) for row in found]

    async def read(self, due: Sequence[Due], observed_at: datetime, now: datetime) -> None:
        refunds = [one for one in due if one.kind == "refund"]
        charges = sorted(one.id for one in due if one.kind == "charge")
        waits = [(o.id, o.why, now + _patience(o)) for o in refunds]
        unlisted = [one.id for one in refunds if one.why in {NOT_LISTED, HIDDEN}]

        async def write(connection: Connection) -> None:
            if waits:
                await connection.execute(
                    query("reschedule"), self._account_id, *columns_of(waits), now, observed_at
                )
            if charges:
                await connection.execute(
                    query("settle_charges"), self._account_id, charges, observed_at
                )
            if unlisted:
                await watch_hidden(connection, self._account_id, unlisted, now)

        await self._database.patiently(write)

    async def unread(self, due: Due, observed_at: datetime, now: datetime) -> None:
        await self._database.execute(
            "ask_later",
            self._account_id,
            due.kind,
            due.id,
            now + _patience(due),
            due.why,
            observed_at,
        )

    async def not_found(self, due: Due, observed_at: datetime, now: datetime) -> bool:
        key = (self._account_id, due.kind, due.id)

        async def write(connection: Connection) -> bool:
            gone = await _is_gone(connection, self._account_id, due, observed_at)
            again = _asked_again(due, gone=gone)
            if again is None:
                await connection.execute(query("drop_recheck"), *key, observed_at)
            else:
                why, after = again
                await connection.execute(query("ask_later"), *key, now + after, why, observed_at)
            return bool(gone)

        return await self._database.patiently(write)

    async def days(self, start: int, end: int, now: datetime) -> list[Day]:
        return await self._database.patiently(
            lambda connection: days_of(connection, self._account_id, start, end, now)
        )

    async def days_in_turn(
        self, start: int, end: int, since: datetime, now: datetime, most: int
    ) -> list[Day]:
        found = await self._database.fetch(
            "days_in_turn", self._account_id, start, end, most, since, now
        )
        return [Day(*row) for row in found]


async def _is_gone(
    connection: Connection, account_id: str, due: Due, observed_at: datetime
) -> bool | None:
    """Whether an object is gone that Stripe just answered not to know; None where none of that id is here."""
    if due.kind != "refund":
        return None
    answer = (account_id, due.id, observed_at, CONFIRM)
    stored = await connection.fetchval(query("refund_is_unknown"), *answer)
    odd = await connection.fetchval(query("quarantined_is_unknown"), *answer)
    verdicts = [verdict for verdict in (stored, odd) if verdict is not None]
    return all(verdicts) if verdicts else None


def _asked_again(due: Due, *, gone: bool | None) -> tuple[str, timedelta] | None:
    """Why and after what time an object that Stripe does not know is asked for again; None for no more."""
    if gone is None:
        over = due.attempts >= GIVE_UP_AFTER
        return None if over else (NOT_FOUND, timedelta(seconds=backoff_s(due.attempts + 1)))
    if gone:
        over = due.why == GONE and due.attempts >= GONE_TRIES
        return None if over else (GONE, GONE_AGAIN)
    after_s = max(CONFIRM_S + CONFIRM_S // 60, backoff_s(due.attempts) if due.attempts else 0)
    return UNKNOWN, timedelta(seconds=after_s)


async def redate(database: Database, account_id: str, now: datetime) -> None:
    """Nothing stays due at a time that only a clock could have made up that was ahead."""
    await database.execute("redate_rechecks", account_id, now, timedelta(seconds=LONGEST_S))


async def expedite_quarantined(database: Database, account_id: str, now: datetime) -> None:
    """What could not be decoded is due at once: a program that has just begun may be a newer one."""
    await database.execute("expedite_rechecks", account_id, now, [QUARANTINED])
