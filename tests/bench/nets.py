"""The nets at work: hints drained at the limit, hints of one day, and from a webhook to the warehouse."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from tests.bench.databases import fresh_database, on
from tests.bench.lab import command, environment, simulator
from tests.bench.lab import run as run_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import asyncpg

    from tests.bench.databases import Server
    from tests.bench.lab import Simulator
    from tests.bench.report import Report

RATE = 25
SECRET = "whsec_bench0000000000000000"
CHANGES = 100
NEVER = "2026-11-01"
"""Later than anything simulated here: nothing is covered, and each hint is read by itself."""

HINT = (
    "INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, hinted_at, why)"
    " SELECT a.id, 'refund', n.id, now(), now(), 'hint' FROM refund_sync.account a, unnest($1::text[]) AS n(id)"
    " ON CONFLICT (account_id, kind, object_id) DO UPDATE SET hinted_at = now(), due_at = now(), why = 'hint'"
)


def run(report: Report, server: Server, folder: Path) -> None:
    _scattered(report, server, folder)
    _of_one_day(report, server, folder)
    _fresh(report, server, folder)


def _ids(sim: Simulator) -> list[tuple[str, int]]:
    reported = (json.loads(line) for line in sim.text("truth").splitlines())
    return [(plain["id"], plain["created"]) for plain in reported]


def _drained(
    sim: Simulator, dsn: str, folder: Path, ids: Sequence[str], **settings: object
) -> dict[str, Any]:
    """What a sync asked of Stripe that found these hints waiting."""
    environ = environment(sim, dsn, folder, **settings)
    run_command(command("sync"), environ, folder)
    on(dsn, lambda c: c.execute(HINT, list(ids)))
    sim.reset()
    run_command(command("sync"), environ, folder)
    left = on(
        dsn,
        lambda c: c.fetchval(
            "SELECT count(*) FROM refund_sync.recheck WHERE hinted_at IS NOT NULL"
        ),
    )
    assert left == 0, f"{left} hints were not read"
    return sim.stats()


def _scattered(report: Report, server: Server, folder: Path) -> None:
    hints = report.size(10_000)
    report.head(f"{hints:,} scattered hints, at the limits, 100 ms latency")
    with (
        simulator(
            refunds=hints, limits="live", latency_ms=100, seed=report.SEED, to="2026-10-01"
        ) as sim,
        fresh_database(server) as dsn,
    ):
        stats = _drained(sim, dsn, folder, [i for i, _ in _ids(sim)], since=NEVER)
    reads = stats["requests"]["GET /v1/refunds/{id}"]
    busy_s = stats["last_request_at"] - stats["first_request_at"]
    report.line("reads by id a second, of 25", (reads - 1) / busy_s / RATE, "", at_least=0.97)
    report.line("reads for each hint", reads / hints, "requests")
    report.line("429s met", sum(stats["rate_limited"].values()), "", at_most=2)


def _of_one_day(report: Report, server: Server, folder: Path) -> None:
    hints = report.size(10_000)
    report.head(f"{hints:,} hints of one day")
    with (
        simulator(refunds=3 * hints, limits="none", shape="skewed", seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        days: dict[int, list[str]] = {}
        for object_id, created in _ids(sim):
            days.setdefault(created // 86_400, []).append(object_id)
        of_a_day = max(days.values(), key=len)
        stats = _drained(
            sim, dsn, folder, of_a_day, since="2024-12-31", endpoint_rate=1e6, global_rate=1e6
        )
    report.line("hints", len(of_a_day), "")
    reads = sum(stats["requests"].values())
    report.line("reads of any kind", reads, "", at_most=len(of_a_day) / 100 * 1.3 + 10)


def _fresh(report: Report, server: Server, folder: Path) -> None:
    report.head(
        f"{CHANGES} changes reported by webhooks, 100 ms latency, test-mode limits, idle otherwise"
    )
    with (
        simulator(refunds=2_000, limits="test", latency_ms=100, seed=report.SEED) as sim,
        fresh_database(server) as dsn,
    ):
        settings = {"since": "2024-12-31", "webhook_secrets": SECRET, "http": "127.0.0.1:0",
                    "sync_interval_s": 3_600, "log_format": "json"}  # fmt: skip
        environ = environment(sim, dsn, folder, **settings)
        run_command(command("sync"), environ, folder)
        with _daemon(environ, folder) as address:
            time.sleep(3)
            sim.post("webhooks", url=f"http://{address}/webhooks/stripe", secret=SECRET)
            waits = [_until_seen(sim, dsn) for _ in range(CHANGES)]
    waits.sort()
    report.line("from the change to the warehouse, median", statistics.median(waits), "s")
    report.line("95th percentile", waits[int(len(waits) * 0.95) - 1], "s", at_most=2)


def _until_seen(sim: Simulator, dsn: str) -> float:
    """Seconds until a change that has just been made is a version of its own in the warehouse."""
    before = on(dsn, lambda c: c.fetchval("SELECT count(*) FROM refund_sync.refund_version"))
    time.sleep(Random(before).uniform(0, 0.2))
    began = time.monotonic()
    sim.post("change", kind="metadata", count=1)

    async def seen(connection: asyncpg.Connection) -> float:
        while time.monotonic() - began < 60:
            if await connection.fetchval(
                "SELECT count(*) > $1 FROM refund_sync.refund_version", before
            ):
                break
            time.sleep(0.01)
        return time.monotonic() - began

    return float(on(dsn, seen))


@contextmanager
def _daemon(environ: Mapping[str, str], folder: Path) -> Iterator[str]:
    """A running daemon, and where it listens."""
    log = folder / "daemon.log"
    arguments = [part for part in command("run") if part != "-q"]
    with log.open("wb") as err:
        process = subprocess.Popen(arguments, env=dict(environ), stderr=err, stdout=err)
    try:
        for _ in range(600):
            reported = [
                json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")
            ]
            started = [line for line in reported if line.get("event") == "daemon.started"]
            if started:
                yield started[0]["http"]
                return
            time.sleep(0.05)
        raise SystemExit(f"the daemon did not start: {log.read_text()[-2000:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
