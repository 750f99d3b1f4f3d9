"""What people ask of the warehouse: status, summary, one refund. Reads only, plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.adapters.postgres.queries import query
from service.adapters.postgres.rechecks.due import days_of
from service.adapters.postgres.session.values import json_number
from service.domain import pace
from service.domain.coverage.span import DAY_S, Span, clipped, gaps, instant
from service.domain.recheck import due_days, is_late

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from service.adapters.postgres.session.connect import Connection


OVERDUE_AFTER = timedelta(days=1)
"""Nothing is due more often than daily: what is less late than that is not overdue."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What may be read of an account in 30 days, by how many refunds, and what was, by class."""

    account_id: str
    refunds: int
    allowance: int
    by_class: dict[str, int]


async def accounts(
    connection: Connection, allowance: int | None, form: bytes
) -> list[dict[str, Any]]:
    """The status of each account; spans are ``[start, end)`` pairs of ISO instants.

    *allowance* is the reads of 30 days as they were set, if they were; *form* is how refunds are decoded now.
    """
    found = await connection.fetch(query("status_accounts"))
    return [
        _status(row, await _last_run(connection, row["id"]))
        | {"failing": _plain(await connection.fetch(query("failing_jobs"), row["id"]))}
        | {"to_decode_again": await _of_other_forms(connection, row["id"], form)}
        | await _nets(connection, row["id"], allowance)
        for row in found
    ]


async def _of_other_forms(connection: Connection, account_id: str, form: bytes) -> int:
    return int(await connection.fetchval(query("refunds_of_other_forms"), account_id, form))


async def reads_of_all(connection: Connection, allowance: int | None) -> list[Reads]:
    """The reads of each account that is stored."""
    found = await connection.fetch(query("status_accounts"))
    return [await _reads(connection, row["id"], allowance) for row in found]


async def misdated_of_all(connection: Connection) -> dict[str, dict[str, int]]:
    """By account, how many rows of each kind lie in the future."""
    found: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(query("status_accounts")):
        counts = await connection.fetchrow(query("misdated"), row["id"])
        found[row["id"]] = dict(counts.items()) if counts else {}
    return found


async def _reads(connection: Connection, account_id: str, allowance: int | None) -> Reads:
    since = datetime.now(UTC) - timedelta(days=30)
    counted = await connection.fetch(query("reads_by_class"), account_id, since.date())
    recent = await connection.fetchval(query("refunds_since"), account_id, since)
    by_class = {row["class"]: row["reads"] for row in counted}
    return Reads(account_id, recent, pace.allowance_of(allowance, recent), by_class)


async def _nets(connection: Connection, account_id: str, allowance: int | None) -> dict[str, Any]:
    """How the nets stand that catch later changes: events, rechecks, reads of 30 days."""
    now = datetime.now(UTC)
    waiting = await connection.fetchrow(query("rechecks_waiting"), account_id, now)
    waited = await connection.fetch(query("rechecks_late"), account_id, now - OVERDUE_AFTER)
    overdue = sum(is_late(row[0], row[1], row[2], now.timestamp()) for row in waited)
    gaps = await connection.fetch(query("open_event_gaps"), account_id)
    days = await days_of(connection, account_id, _day(now, 90), _day(now, 0), now, overdue=2)
    late = due_days(days, now.timestamp(), overdue=2)
    covered = await connection.fetchval(query("covered"), account_id, "events")
    settled = await connection.fetchval(query("covered"), account_id, "refunds:settled")
    misdated = await connection.fetchrow(query("misdated"), account_id)
    oldest = await connection.fetch(query("oldest_open"), account_id)
    reads = await _reads(connection, account_id, allowance)
    daemon = await connection.fetchval(query("lease_holder"), account_id)
    return {
        "events": {
            "read_through": _iso(covered[-1].upper) if covered else None,
            "expired": [
                {
                    "span": _pair(Span(g["span"].lower, g["span"].upper)),
                    "closed_at": _reported(g["closed_at"]),
                    "reason": g["reason"],
                }
                for g in gaps
            ],
        },
        "rechecks": {
            **dict(waiting.items() if waiting else ()),
            "overdue": overdue,
            "days_overdue": len(late),
        },
        "settled_through": _iso(settled[-1].upper) if settled else None,
        "misdated": dict(misdated.items()) if misdated else {},
        "oldest_open": _plain(oldest),
        "reads_30_days": reads.by_class,
        "read_allowance": reads.allowance,
        "daemon": daemon,
    }


def _day(now: datetime, ago: int) -> int:
    return int(now.timestamp()) // DAY_S * DAY_S - ago * DAY_S


async def covered_of_the_only_account(connection: Connection) -> list[Span]:
    """Coverage where one account is stored; nothing is known of which one is meant among several."""
    found = await connection.fetch(query("status_accounts"))
    if len(found) != 1:
        return []
    return [Span(part.lower, part.upper) for part in found[0]["covered"] or ()]


async def waiting(connection: Connection, account_id: str, now: datetime) -> dict[str, int]:
    """What waits of an account: objects in quarantine, and objects to read again."""
    row = await connection.fetchrow(query("waiting"), account_id, now)
    return dict(row.items()) if row else {}


async def _last_run(connection: Connection, account_id: str) -> dict[str, Any] | None:
    row = await connection.fetchrow(query("last_run"), account_id)
    return {name: _reported(value) for name, value in row.items()} if row else None


def _status(row: asyncpg.Record, last_run: dict[str, Any] | None) -> dict[str, Any]:
    wanted = _wanted(row["wanted_from"], row["settled_until"])
    known = [Span(part.lower, part.upper) for part in row["covered"] or ()]
    covered = clipped(known, wanted) if wanted else []
    missing = gaps(wanted, covered) if wanted else []
    complete = covered and wanted and covered[0].start == wanted.start
    current = covered and wanted and covered[-1].end == wanted.end
    return {
        "account_id": row["id"],
        "livemode": row["livemode"],
        "refunds": row["refunds"],
        "wanted": _pair(wanted) if wanted else None,
        "covered": [_pair(span) for span in covered],
        "gaps": [_pair(span) for span in missing],
        "complete_through": _iso(covered[0].end) if complete else None,
        "current_from": _iso(covered[-1].start) if current else None,
        "last_run": last_run,
        "quarantined": row["quarantined"],
    }


def _wanted(start: datetime | None, end: datetime | None) -> Span | None:
    if start is None or end is None or start >= end:
        return None
    return Span(int(start.timestamp()), int(end.timestamp()))


def _iso(second: int) -> str:
    return instant(second).isoformat()


def _pair(span: Span) -> list[str]:
    return [_iso(span.start), _iso(span.end)]


def _reported(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


async def by_currency(connection: Connection) -> list[dict[str, Any]]:
    return _rows(await connection.fetch(query("summary_by_currency")))


async def by_month(connection: Connection, months: int) -> list[dict[str, Any]]:
    return _rows(await connection.fetch(query("summary_by_month"), months))


def _rows(found: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    return [dict(row.items()) for row in found]


async def everything_of(connection: Connection, refund_id: str) -> list[dict[str, Any]]:
    """All that is known under this id, one entry for each account that has it."""
    found = await connection.fetch(query("show_refund"), refund_id)
    known = [await _all_of(connection, row, refund_id) for row in found]
    waiting = await connection.fetch(query("show_quarantine"), refund_id)
    if waiting and not known:
        return [{"account_id": waiting[0]["account_id"], "quarantine": _plain(waiting)}]
    for entry in known:
        entry["quarantine"] = _plain(w for w in waiting if w["account_id"] == entry["account_id"])
    return known


async def _all_of(connection: Connection, row: asyncpg.Record, refund_id: str) -> dict[str, Any]:
    account_id = row["account_id"]
    versions = await connection.fetch(query("show_versions"), account_id, refund_id)
    ledger = await connection.fetch(query("show_ledger"), account_id, refund_id)
    recheck = await connection.fetch(query("show_recheck"), account_id, refund_id)
    parts = ("refund", "charge_link", "destination_details", "charge", "raw")
    return {
        "account_id": account_id,
        "covered": row["covered"],
        **{part: _json(row[part]) for part in parts},
        "balance_transactions": [_json(line["line"]) for line in ledger],
        "recheck": _plain(recheck),
        "versions": [{**entry, "changes": _json(entry["changes"])} for entry in _plain(versions)],
    }


def _json(text: str | None) -> Any:
    return json.loads(text, parse_float=json_number) if text else None


def _plain(found: Any) -> list[dict[str, Any]]:
    return [{name: _reported(value) for name, value in row.items()} for row in found]
