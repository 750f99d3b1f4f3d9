"""Peak memory of our process, whatever the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database
from tests.bench.lab import command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from pathlib import Path

    from service.adapters.postgres.embedded import Server
    from tests.bench.report import Report

NO_LIMIT = 1_000_000


def run(report: Report, server: Server, folder: Path) -> None:
    report.head("peak memory of our process, no limits")
    peaks = []
    for full in (100_000, 1_000_000):
        refunds = report.size(full)
        with (
            simulator(refunds=refunds, limits="none", seed=report.SEED) as sim,
            fresh_database(server) as dsn,
        ):
            settings = {"endpoint_rate": NO_LIMIT, "global_rate": NO_LIMIT}
            arguments = command("backfill", "--from", "2024-12-31")
            measured = run_command(arguments, environment(sim, dsn, folder, **settings), folder)
        report.line(f"{refunds:,} refunds", measured.peak_mib, "MiB", at_most=200)
        peaks.append(measured.peak_mib)
    report.line("ten times the history, times the memory", peaks[1] / peaks[0], "x", at_most=1.25)
