"""At Stripe's limits: reads against pages, and how much of 25 reads a second a whole command uses.

For accounts of ordinary size most of a first fill is the start; what a command wastes there, it wastes of the
account's allowance of reads.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database
from tests.bench.lab import Simulator, command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.databases import Server
    from tests.bench.report import Report

RATE = 25
SIZES = (200, 2_000, 20_000, 200_000)
LATENCIES_MS = (50, 100, 500)
SHAPES = ("even", "skewed")
SPAN = ("--from", "2024-12-31")
OF_THE_LIMIT = {
    100: {2_000: 0.35, 20_000: 0.80, 200_000: 0.95},
    500: {2_000: 0.20, 20_000: 0.75, 200_000: 0.93},
}
"""By latency and size, what a first fill is to reach, start of the process included."""


def run(report: Report, server: Server, folder: Path) -> None:
    for latency_ms in LATENCIES_MS:
        for shape in SHAPES:
            report.head(f"at the limits, {shape} history, {latency_ms} ms latency")
            for refunds in SIZES:
                if refunds <= 200_000 * report.scale:
                    _fill(report, server, folder, refunds, shape, latency_ms)


def _fill(
    report: Report, server: Server, folder: Path, refunds: int, shape: str, latency_ms: int
) -> None:
    options = {"refunds": refunds, "shape": shape, "latency_ms": latency_ms}
    with (
        simulator(limits="live", seed=report.SEED, **options) as sim,
        fresh_database(server) as dsn,
    ):
        environ = environment(sim, dsn, folder)
        filled = run_command(command("backfill", *SPAN), environ, folder)
        pages, reads = ceil(refunds / 100), _lists(sim)
        most = 1.03 * pages if refunds >= 200_000 else 1.05 * pages + 15
        report.line(f"{refunds:,}: reads for {pages:,} pages", reads, "", at_most=most)
        report.line(
            f"{refunds:,}: of the limit, {filled.wall_s:.1f} s in all",
            pages / RATE / filled.wall_s, "",
            at_least=OF_THE_LIMIT.get(latency_ms, {}).get(refunds),
        )  # fmt: skip
        report.line(
            f"{refunds:,}: 429s met", sum(sim.stats()["rate_limited"].values()), "", at_most=2
        )
        if refunds < 200_000:
            sim.reset()
            today = datetime.now(UTC).date().isoformat()
            run_command(command("verify", *SPAN, "--to", today), environ, folder)
            report.line(f"{refunds:,}: reads of verify", _lists(sim), "", at_most=most)


def _lists(sim: Simulator) -> int:
    return int(sim.stats()["requests"]["GET /v1/refunds"])
