"""What grows with time: rows and bytes by table, of an account at rest and of one with a refund a minute.

A database of its own goes through the writes of a daemon, minute by minute, without Stripe: the clocks that
claims and runs are kept by are moved, and day after day what is stored grows older with them.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from service.adapters.postgres.coverage.fold import fold_claims
from service.adapters.postgres.operations.runs import Runs, tidy_runs
from service.adapters.postgres.session.connect import create_pool
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.batch import Batch, Check, Proof, Reading
from service.domain.coverage.span import Span
from service.domain.coverage.walk import Key, Page, claim_of
from service.ports.runs import Progress
from tests.bench.databases import fresh_database
from tests.builders import a_charge, a_line, a_link, a_refund, an_observation

if TYPE_CHECKING:
    from pathlib import Path

    from service.adapters.postgres.session.connect import Pool
    from service.domain.refund import Observation
    from tests.bench.databases import Server
    from tests.bench.report import Report

ACCOUNT = "acct_1Rows"
DAY = 86_400
LAG_S = 600
BEGIN = 1_760_000_000 // DAY * DAY
GROWING = (
    "refund",
    "refund_version",
    "charge_link",
    "charge",
    "destination_details",
    "balance_transaction",
)
"""Tables of refunds and their versions: these grow with them."""

SIZES = """
SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'refund_sync' AND c.relkind = 'r' AND c.relname NOT IN ('alembic_version', 'currency')
ORDER BY 1
"""


def run(report: Report, server: Server, _: Path) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    days = max(20, int(365 * report.scale))
    for name, every_s, refunds in (("at rest", 1_800, False), ("a refund a minute", 60, True)):
        report.head(
            f"{days} days of an account with {name}, polled every {every_s} s: rows, kB by table"
        )
        with fresh_database(server) as dsn:
            asyncio.run(_lived(report, dsn, days, every_s, refunds=refunds))


async def _lived(report: Report, dsn: str, days: int, every_s: int, *, refunds: bool) -> None:
    pool = await create_pool(dsn, size=2)
    try:
        life = _Life(pool, every_s, refunds=refunds)
        marks = {days // 2: "half", days: "end"}
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for day in range(1, days + 1):
            await life.day()
            if day in marks:
                found[marks[day]] = await _sizes(pool)
        for table, (rows, size) in found["end"].items():
            half, half_size = found["half"][table]
            report.line(f"{table}: rows, at half the time {half:,}", rows, "")
            report.line(f"{table}: kB, at half the time {half_size / 1024:,.0f}", size / 1024, "kB")
        rest = [
            sum(found[at][t][1] for t in found[at] if t not in GROWING) for at in ("half", "end")
        ]
        report.line(
            "all but refunds and their versions: bytes at the end, of those at half",
            rest[1] / rest[0], "", at_most=1.2,
        )  # fmt: skip
    finally:
        await pool.close()


async def _sizes(pool: Pool) -> dict[str, tuple[int, int]]:
    await pool.execute("VACUUM")
    found = await pool.fetch(SIZES)
    return {
        r["name"]: (
            await pool.fetchval(f"SELECT count(*) FROM refund_sync.{r['name']}"),
            r["bytes"],
        )
        for r in found
    }


class _Life:
    """The writes of one daemon, day by day."""

    def __init__(self, pool: Pool, every_s: int, *, refunds: bool) -> None:
        self._pool = pool
        self._database = Database(pool, deadline_s=60)
        self._every_s = every_s
        self._refunds = refunds
        self._second = BEGIN
        self._runs = Runs(self._database)

    async def day(self) -> None:
        for _ in range(DAY // self._every_s):
            self._second += self._every_s
            await self._poll("events", [])
            await self._poll("newest part", self._new() if self._refunds else [])
        await self._second_look()
        now = datetime.fromtimestamp(self._second, UTC)
        await fold_claims(self._database, ACCOUNT, now)
        await self._grow_older()

    def _new(self) -> list[Observation]:
        """The refund of this minute, settled by now."""
        second, name = self._second - LAG_S - 1, f"{self._second:x}"
        refund = a_refund(f"re_{name}", created=second, metadata='{"order_id": "1"}')
        link = a_link(charge_id=f"ch_{name}", balance_transaction_id=f"txn_{name}")
        seen = self._second - BEGIN - 200 * DAY
        return [
            an_observation(
                refund, seen=seen, link=link, charge=a_charge(f"ch_{name}"),
                ledger=[a_line(f"txn_{name}", refund.id)],
            )
        ]  # fmt: skip

    async def _poll(self, job: str, new: list[Observation]) -> None:
        end = self._second - LAG_S
        span = Span(end - self._every_s, end)
        keys = [Key(o.refund.created, o.refund.id) for o in new]
        await self._write(job, span, keys, new, "events" if job == "events" else "refunds")

    async def _second_look(self) -> None:
        """The day before is listed again, and every day of the last two weeks."""
        day = self._second // DAY * DAY - 2 * DAY
        if day < BEGIN + LAG_S:
            return
        found = await self._pool.fetch(
            "SELECT extract(epoch FROM created_at)::bigint, id FROM refund_sync.refund"
            " WHERE created_at >= to_timestamp($1::bigint) AND created_at < to_timestamp($2::bigint)",
            day, day + DAY,
        )  # fmt: skip
        keys = sorted((Key(*row) for row in found), reverse=True)
        span = Span(day, day + DAY)
        for stream in ("refunds:settled", "events:settled"):
            await self._write("second look", span, keys if "refunds" in stream else [], [], stream)
        checks = [Check("refunds", span, datetime.now(UTC))]
        await PostgresStore(self._database, ACCOUNT, None).write(Batch([], [], "recheck", checks))

    async def _write(
        self, job: str, span: Span, keys: list[Key], new: list[Observation], stream: str
    ) -> None:
        run_id, progress = uuid4(), Progress(requests=1)
        await self._runs.begin(run_id, job, ACCOUNT, span)
        at = new[0].observed_at if new else datetime.now(UTC) - timedelta(days=1)
        reading = Reading(Page(keys, False, span.end), at, new)
        proof = Proof(stream, claim_of(span, keys), at)
        store = PostgresStore(self._database, ACCOUNT, run_id)
        progress.written.add(await store.write(Batch([reading], [proof], "list")))
        await self._runs.progress(run_id, progress)
        await self._runs.end(run_id, "ok")

    async def _grow_older(self) -> None:
        """Runs are kept by the database's own clock: they are dated back as days pass."""
        await self._pool.execute(
            "UPDATE refund_sync.run SET started_at = started_at - interval '1 day',"
            " updated_at = updated_at - interval '1 day', ended_at = ended_at - interval '1 day',"
            " first_started_at = first_started_at - interval '1 day'"
        )
        await tidy_runs(self._database, ACCOUNT, datetime.now(UTC))
