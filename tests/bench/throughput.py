"""Without limits, on one machine: new, unchanged and changed refunds, on each Postgres, and what that takes.

The limit that matters is Stripe's: a key of a platform may make 100 reads a second, 10,000 refunds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from service.simulator.world.seeds import IDS, PAYMENT
from tests.bench.databases import fresh_database, on, packaged_server
from tests.bench.lab import KEY, UNLIMITED, Measured, Simulator, command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from tests.bench.databases import Server
    from tests.bench.report import Report

OF_A_PLATFORM = 10_000
CORES = 2


def run(report: Report, server: Server, folder: Path) -> None:
    with packaged_server(folder / "packaged") as packaged:
        for each in (server, packaged):
            if each:
                for ids in IDS:
                    _rates(report, each, folder, ids)
    _next_to_the_naive(report, server, folder)


def _rates(report: Report, server: Server, folder: Path, ids: str) -> None:
    refunds = report.size(100_000)
    report.head(f"{server.name}: no limits, {refunds:,} refunds, ids by {ids}")
    with (
        simulator(refunds=refunds, limits="none", ids=ids, seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        new = _backfill(sim, dsn, folder)
        _report(report, "new", refunds, new, at_least=9_000 if ids == PAYMENT else None)
        both_us = (new.cpu_s + new.others_s) / refunds * 1e6
        at_most = 170 if ids == PAYMENT else None
        report.line("new: our CPU and Postgres's", both_us, "µs/refund", at_most=at_most)
        capacity = CORES * 1e6 / both_us / OF_A_PLATFORM
        report.line(f"new: what {CORES} cores do, of 10,000 refunds/s", capacity, "")
        if ids == PAYMENT:
            on(dsn, lambda c: c.execute("DELETE FROM refund_sync.coverage"))
            _report(report, "unchanged", refunds, _backfill(sim, dsn, folder), at_least=40_000)
            on(dsn, _make_all_differ)
            _report(report, "changed", refunds, _backfill(sim, dsn, folder))


def _report(
    report: Report, name: str, refunds: int, measured: Measured, at_least: int | None = None
) -> None:
    rate = refunds / measured.reported["seconds"]
    report.line(name, rate, "refunds/s", at_least=at_least)
    for whose, cpu_s in (
        ("our CPU, start included", measured.cpu_s),
        ("Postgres's CPU", measured.others_s),
        ("the simulator's CPU", measured.simulator_s),
    ):
        report.line(f"{name}: {whose}", cpu_s / refunds * 1e6, "µs/refund")


def _backfill(sim: Simulator, dsn: str, folder: Path) -> Measured:
    environ = environment(sim, dsn, folder, **UNLIMITED)
    return run_command(command("backfill", "--from", "2024-12-31"), environ, folder, sim)


def _next_to_the_naive(report: Report, server: Server, folder: Path) -> None:
    refunds = report.size(50_000)
    report.head(f"next to the naive sync, {refunds:,} refunds, 100 ms latency, no limits")
    with (
        simulator(refunds=refunds, limits="none", latency_ms=100, seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        ours = _backfill(sim, dsn, folder).reported["seconds"]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tests.bench.naive", sim.url, KEY, dsn], check=True)
        theirs = time.perf_counter() - began
    report.line("naive sync", refunds / theirs, "refunds/s")
    report.line("refund-sync", refunds / ours, "refunds/s")
    report.line("times as fast", theirs / ours, "x", at_least=10)


async def _make_all_differ(connection: asyncpg.Connection) -> None:
    await connection.execute("DELETE FROM refund_sync.coverage")
    await connection.execute(
        "UPDATE refund_sync.refund SET status = 'before', observed_at = observed_at - interval '1 hour',"
        " content_hash = substring(content_hash FOR 4) || decode(md5(id), 'hex'), received_hash = NULL"
    )
    await connection.execute("VACUUM ANALYZE refund_sync.refund")
