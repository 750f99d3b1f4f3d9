"""At Stripe's limits: how much of the 25 requests a second, and of 2,500 refunds a second, is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.databases import fresh_database
from tests.bench.lab import command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from pathlib import Path

    from service.adapters.postgres.embedded import Server
    from tests.bench.report import Report

RATE = 25
REFUNDS_S = 2_500


def run(report: Report, server: Server, folder: Path) -> None:
    refunds = report.size(200_000)
    for latency_ms in (100, 500):
        for shape in ("even", "skewed"):
            report.head(f"at the limits: {refunds:,} refunds, {shape}, {latency_ms} ms latency")
            with (
                simulator(
                    refunds=refunds,
                    limits="live",
                    latency_ms=latency_ms,
                    shape=shape,
                    seed=report.SEED,
                ) as sim,
                fresh_database(server) as dsn,
            ):
                sim.reset()
                measured = run_command(
                    command("backfill", "--from", "2024-12-31"),
                    environment(sim, dsn, folder),
                    folder,
                )
                stats = sim.stats()
            requests = stats["requests"]["GET /v1/refunds"]
            busy_s = stats["last_request_at"] - stats["first_request_at"]
            report.line(
                "requests a second, of 25, from first to last",
                (requests - 1) / busy_s / RATE,
                "",
                at_least=0.97,
            )
            report.line(
                "refunds a second, of 2,500", refunds / busy_s / REFUNDS_S, "", at_least=0.93
            )
            report.line("reads for each 100 refunds", requests / refunds * 100, "requests")
            report.line("429s met", sum(stats["rate_limited"].values()), "", at_most=2)
            report.line("the whole command", measured.wall_s, "s")
