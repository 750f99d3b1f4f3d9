"""Without limits, on one machine: new, unchanged and changed refunds beside a plain COPY."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database, on
from tests.bench.lab import (
    KEY,
    Measured,
    Simulator,
    command,
    environment,
    simulator,
)
from tests.bench.lab import (
    run as run_command,
)

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from service.adapters.postgres.embedded import Server
    from tests.bench.report import Report

TABLES = (
    "refund",
    "charge_link",
    "destination_details",
    "charge",
    "balance_transaction",
    "refund_version",
)
NO_LIMIT = 1_000_000


def run(report: Report, server: Server, folder: Path) -> None:
    refunds = report.size(200_000)
    report.head(f"no limits, {refunds:,} refunds, simulator and Postgres on the same cores")
    with (
        simulator(refunds=refunds, limits="none", seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        new = _backfill(sim, dsn, folder)
        copied_s = on(dsn, copy_of_the_same_rows)
        on(dsn, lambda c: c.execute("DELETE FROM refund_sync.coverage"))
        unchanged = _backfill(sim, dsn, folder)
        on(dsn, _make_all_differ)
        changed = _backfill(sim, dsn, folder)
    copy_rate = refunds / copied_s
    report.line("COPY of the same rows into bare tables", copy_rate, "refunds/s")
    for name, measured in (("new", new), ("unchanged", unchanged), ("changed", changed)):
        rate = refunds / measured.told["seconds"]
        report.line(
            f"{name}, by content",
            rate,
            "refunds/s",
            at_least=40_000 if name == "unchanged" else None,
        )
        report.line(
            f"{name}, our CPU, start included",
            measured.cpu_s / refunds * 1e6,
            "µs/refund",
            at_most=40 if name == "new" else None,
        )
        report.line(f"{name}, CPU of all else", measured.others_s / refunds * 1e6, "µs/refund")
    report.line("new, of the COPY", refunds / new.told["seconds"] / copy_rate, "", at_least=0.35)
    _beside_the_afternoon(report, server, folder)


def _backfill(sim: Simulator, dsn: str, folder: Path) -> Measured:
    settings = {"endpoint_rate": NO_LIMIT, "global_rate": NO_LIMIT}
    return run_command(
        command("backfill", "--from", "2024-12-31"),
        environment(sim, dsn, folder, **settings),
        folder,
    )


def _beside_the_afternoon(report: Report, server: Server, folder: Path) -> None:
    refunds = report.size(50_000)
    report.head(f"beside the afternoon version, {refunds:,} refunds, 100 ms latency, no limits")
    with (
        simulator(refunds=refunds, limits="none", latency_ms=100, seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        ours = _backfill(sim, dsn, folder).told["seconds"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "tests.bench.afternoon", sim.url, KEY, dsn], check=True
        )
        theirs = time.perf_counter() - began
    report.line("afternoon version", refunds / theirs, "refunds/s")
    report.line("refund-sync", refunds / ours, "refunds/s")
    report.line("times as fast", theirs / ours, "x", at_least=10)


async def copy_of_the_same_rows(connection: asyncpg.Connection) -> float:
    """Seconds that it takes to copy the rows of all tables into bare tables of the same columns."""
    await connection.execute("CREATE SCHEMA bare")
    total = 0.0
    for table in TABLES:
        await connection.execute(f"CREATE TABLE bare.{table} (LIKE refund_sync.{table})")
        with tempfile.TemporaryFile() as file:
            await connection.copy_from_table(
                table, schema_name="refund_sync", output=file, format="binary"
            )
            file.seek(0)
            began = time.perf_counter()
            await connection.copy_to_table(table, schema_name="bare", source=file, format="binary")
            total += time.perf_counter() - began
    await connection.execute("DROP SCHEMA bare CASCADE")
    return total


async def _make_all_differ(connection: asyncpg.Connection) -> None:
    await connection.execute("DELETE FROM refund_sync.coverage")
    await connection.execute(
        "UPDATE refund_sync.refund SET status = 'before', observed_at = observed_at - interval '1 hour',"
        " content_hash = substring(content_hash FOR 4) || decode(md5(id), 'hex'), received_hash = NULL"
    )
    await connection.execute("VACUUM ANALYZE refund_sync.refund")
