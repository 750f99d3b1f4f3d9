"""What must hold at any instant, looked at from outside while everything goes on; and what must hold in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from service.domain.coverage.span import Span
from tests.acceptance.truth import broken_invariants, differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.stage import Stage, Stripe

COVERED = """
SELECT stream, lower(s)::bigint AS start, upper(s)::bigint AS "end"
FROM refund_sync.coverage, unnest(covered) AS s WHERE stream IN ('refunds', 'refunds:settled')
"""
KNOWN = """
SELECT id FROM refund_sync.refund UNION ALL SELECT object_id FROM refund_sync.quarantine WHERE object_id IS NOT NULL
"""
COMPLETE = "SELECT month::text FROM finance.completeness_by_month WHERE state = 'complete'"
LEFT_OVER = {
    "hints that nobody followed": "SELECT count(*) FROM refund_sync.recheck WHERE hinted_at IS NOT NULL",
    "overdue rechecks": "SELECT count(*) FROM refund_sync.recheck WHERE due_at < now() - interval '1 day'",
}
QUARANTINED = """
SELECT q.object_id, q.error, q.created_at, q.seen_at, q.unknown_at, q.unlisted, c.why, c.due_at, c.attempts
FROM refund_sync.quarantine q LEFT JOIN refund_sync.recheck c
    ON c.account_id = q.account_id AND c.kind = 'refund' AND c.object_id = q.object_id
WHERE q.resolved_at IS NULL
"""
MOST_ROWS = {"run": 3_000, "coverage_claim": 6_000, "recheck": 5_000, "span_check": 1_000}


@dataclass
class Watcher:
    """*moved* are refunds that were hidden, or came later than any first listing could know."""

    stripe: Stripe
    stage: Stage
    moved: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    looks: int = 0
    wrong: list[str] = field(default_factory=list)

    async def look(self) -> None:
        """That no refund which is listed lacks in what is covered, or in a month that is called complete."""
        truth = self.stripe.truth()
        try:
            async with (
                self.stage.connection() as connection,
                connection.transaction(isolation="repeatable_read"),
            ):
                covered = await connection.fetch(COVERED)
                known = {row["id"] for row in await connection.fetch(KNOWN)}
                complete = {row["month"][:7] for row in await connection.fetch(COMPLETE)}
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return  # the database was stopped: there is nothing to be seen
        self.looks += 1
        missing = [p for p in truth if p["id"] not in known and p["id"] not in self.moved]
        for plain in missing:
            self._judge(plain, covered, complete)

    def _judge(
        self, plain: dict[str, Any], covered: Sequence[asyncpg.Record], complete: set[str]
    ) -> None:
        second = plain["created"]
        for row in covered:
            claimed = Span(row["start"], row["end"]).holds(second)
            if claimed and (row["stream"] != "refunds" or plain["id"] not in self.late):
                self.wrong.append(
                    f"{plain['id']} is missing in what {row['stream']} claims: {second}"
                )
        if month_of(second) in complete:
            self.wrong.append(f"{plain['id']} is missing in a complete month: {second}")


def month_of(second: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m")


async def wrong_in_the_end(stripe: Stripe, stage: Stage) -> list[str]:
    """Every way in which warehouse and truth differ once all is quiet."""
    truth = stripe.truth()
    listed = {plain["id"] for plain in truth}
    async with stage.connection() as connection:
        everything = [
            json_line for json_line in await differences(connection, truth)
            if not json_line.endswith("is not Stripe's")
        ]  # fmt: skip
        shown = {row[0] for row in await connection.fetch("SELECT refund_id FROM finance.refunds")}
        hidden = {
            row[0]
            for row in await connection.fetch(
                "SELECT id FROM refund_sync.refund WHERE hidden_at IS NOT NULL OR gone_at IS NOT NULL"
            )
        }
        wrong = everything + await broken_invariants(connection)
        wrong += [f"{i} is shown, and Stripe does not list it" for i in shown - listed - hidden]
        wrong += [f"{i} is listed, and not shown" for i in listed - shown]
        wrong += [f"in quarantine: {dict(row)}" for row in await connection.fetch(QUARANTINED)]
        for what, sql in LEFT_OVER.items():
            if count := await connection.fetchval(sql):
                wrong.append(f"{count} {what}")
        for table, most in MOST_ROWS.items():
            count = await connection.fetchval(f"SELECT count(*) FROM refund_sync.{table}")
            if count > most:
                wrong.append(f"{count} rows in {table}")
    return wrong
