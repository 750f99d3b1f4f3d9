"""A sync with nothing new: how many requests, and whether the size of the warehouse matters."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database
from tests.bench.lab import command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from pathlib import Path

    from service.adapters.postgres.embedded import Server
    from tests.bench.report import Report

NO_LIMIT = 1_000_000
TIMES = 5


def run(report: Report, server: Server, folder: Path) -> None:
    report.head("a sync with nothing new")
    medians = []
    for full in (10_000, 1_000_000):
        refunds = report.size(full)
        with (
            simulator(refunds=refunds, limits="none", seed=report.SEED) as sim,
            fresh_database(server) as dsn,
        ):
            settings = {"endpoint_rate": NO_LIMIT, "global_rate": NO_LIMIT, "since": "2024-12-31"}
            environ = environment(sim, dsn, folder, **settings)
            run_command(command("sync"), environ, folder)
            sim.reset()
            measured = [run_command(command("sync"), environ, folder) for _ in range(TIMES)]
            requests = sum(sim.stats()["requests"].values())
        medians.append(statistics.median(m.told["seconds"] for m in measured) * 1000)
        report.line(f"{refunds:,} rows: requests", requests / TIMES, "", at_most=2)
        report.line(f"{refunds:,} rows: the pass itself, median of {TIMES}", medians[-1], "ms")
    report.line(
        "a hundred times the rows, times the milliseconds",
        medians[1] / medians[0],
        "x",
        at_most=1.5,
    )
