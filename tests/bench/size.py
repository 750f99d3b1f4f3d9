"""What size does: memory, pace, disk by table, reports, and a pass with nothing new."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database, on
from tests.bench.lab import UNLIMITED, command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import asyncpg

    from tests.bench.databases import Server
    from tests.bench.lab import Simulator
    from tests.bench.report import Report

SIZES = (10_000, 100_000, 1_000_000)
TIMES = 5
PART = 100_000
DISK = """
SELECT c.relname AS name, pg_total_relation_size(c.oid)::float8 AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'refund_sync' AND c.relkind = 'r' AND pg_total_relation_size(c.oid) > $1
ORDER BY 2 DESC
"""
WRITTEN = """
SELECT extract(epoch FROM recorded_at)::float8 FROM (
    SELECT recorded_at, row_number() OVER (ORDER BY recorded_at) AS n FROM refund_sync.refund
) AS numbered WHERE n = ANY($1::bigint[]) ORDER BY n
"""
REPORTS = {
    "completeness_by_month": "SELECT * FROM finance.completeness_by_month",
    "refunds of a month": "SELECT count(*) FROM finance.refunds"
    " WHERE created_at >= '2026-05-01' AND created_at < '2026-06-01'",
    "versions of the last day": "SELECT count(*) FROM refund_sync.refund_version"
    " WHERE changes IS NOT NULL AND recorded_at > now() - interval '1 day'",
}


def run(report: Report, server: Server, folder: Path) -> None:
    peaks, passes = [], []
    for full in SIZES:
        refunds = report.size(full)
        report.head(f"{refunds:,} refunds, no limits")
        with (
            simulator(refunds=refunds, limits="none", seed=report.SEED) as sim,
            fresh_database(server) as dsn,
        ):
            environ = environment(sim, dsn, folder, **UNLIMITED, since="2024-12-31")
            filled = run_command(command("sync"), environ, folder)
            peaks.append(filled.peak_mib)
            report.line("peak memory", filled.peak_mib, "MiB", at_most=200)
            passes.append(_nothing_new(report, sim, environ, folder))
            if refunds >= 2 * PART:
                _pace(report, dsn, refunds)
            if full > SIZES[0]:
                _disk(report, dsn, refunds)
                _reports(report, dsn)
    report.head("a hundred times the refunds")
    report.line("times the memory", peaks[-1] / peaks[0], "x", at_most=1.5)
    report.line("times the milliseconds of a pass", passes[-1] / passes[0], "x", at_most=1.5)


def _nothing_new(report: Report, sim: Simulator, environ: Mapping[str, str], folder: Path) -> float:
    sim.reset()
    measured = [run_command(command("sync"), environ, folder) for _ in range(TIMES)]
    reads = sum(sim.stats()["requests"].values())
    median = float(statistics.median(m.reported["seconds"] for m in measured)) * 1000
    report.line("a pass with nothing new: reads", reads / TIMES, "", at_most=2)
    report.line(f"a pass with nothing new, median of {TIMES}", median, "ms")
    return median


def _pace(report: Report, dsn: str, refunds: int) -> None:
    """By when their versions were recorded: the first that many and the last."""
    numbers = [1, PART, refunds - PART + 1, refunds]
    at = [row[0] for row in on(dsn, lambda c: c.fetch(WRITTEN, numbers))]
    first, last = PART / (at[1] - at[0]), PART / (at[3] - at[2])
    report.line(f"new, the first {PART:,}", first, "refunds/s")
    report.line(f"new, the last {PART:,}", last, "refunds/s")
    report.line("the last, of the first", last / first, "", at_least=0.85)


def _disk(report: Report, dsn: str, refunds: int) -> None:
    on(dsn, lambda c: c.execute("VACUUM"))
    tables = on(dsn, lambda c: c.fetch(DISK, refunds * 5))
    for name, size in tables:
        report.line(f"disk, {name}", size / refunds, "B/refund")
    total = sum(size for _, size in tables)
    report.line("disk, all of these with their indexes", total / refunds, "B/refund", at_most=2_400)


def _reports(report: Report, dsn: str) -> None:
    async def timed(connection: asyncpg.Connection) -> None:
        await connection.execute("ANALYZE")
        for name, sql in REPORTS.items():
            began = time.perf_counter()
            await connection.fetch(sql)
            report.line(f"report, {name}", (time.perf_counter() - began) * 1000, "ms")

    on(dsn, timed)
