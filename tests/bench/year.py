"""Simulated time: what each net takes to converge, and a year of a small account within its share of reads."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import structlog

from service.adapters.postgres.session.connect import create_pool
from service.domain import pace
from tests.acceptance.truth import differences
from tests.bench.databases import fresh_database
from tests.simulated import DAY, Nets, a_life

if TYPE_CHECKING:
    from pathlib import Path

    from service.adapters.postgres.session.connect import Pool
    from tests.bench.databases import Server
    from tests.bench.report import Report
    from tests.simulated import Life

KINDS = ("settle", "fail", "arn", "metadata")
STEP_S = 1_800
REFUNDS_A_DAY = 20
LONGEST_S = 100 * DAY
SHARE = 0.5


def run(report: Report, server: Server, _: Path) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with fresh_database(server) as dsn:
        asyncio.run(_run(report, dsn))


async def _run(report: Report, dsn: str) -> None:
    pool = await create_pool(dsn, size=6)
    try:
        await _alone(report, pool)
        await _year(report, pool)
    finally:
        await pool.close()


async def _alone(report: Report, pool: Pool) -> None:
    report.head(
        "each net alone: 40 changes of 2,000 refunds of 200 days, simulated time and reads until equal"
    )
    nets = {
        "events": Nets(rechecks=False),
        "webhooks": Nets(events=False, rechecks=False, webhooks=True),
        "rechecks, of changes that nothing reports": Nets(events=False),
    }
    for name, spread in nets.items():
        async with a_life(pool, refunds=2_000, nets=spread, sync_interval_s=STEP_S) as life:
            await life.pass_time(60)
            await life.pass_time(DAY)
            before = sum(life.reads.values())
            for n in range(40):
                life.change(KINDS[n % 4], events="rechecks" not in name)
            began = life.clock.second
            step = 60 if spread.webhooks else STEP_S
            while await _differs(life) and life.clock.second - began < LONGEST_S:
                await life.pass_time(step)
            took_h = (life.clock.second - began) / 3_600
            report.line(f"{name}: simulated hours", took_h, "h", at_most=LONGEST_S / 3_600)
            report.line(f"{name}: reads, of any kind", sum(life.reads.values()) - before, "")


async def _differs(life: Life) -> bool:
    async with life.pool.acquire() as connection:
        return bool(await differences(connection, life.listed(), account_id=life.account.id))


async def _year(report: Report, pool: Pool) -> None:
    """At Stripe's floor: the least that any account may read."""
    days = max(31, int(365 * report.scale))
    report.head(
        f"{days} simulated days of a small account, {REFUNDS_A_DAY} refunds a day and as many changes,"
        f" allowance {pace.FLOOR:,} reads in 30 days, share {SHARE:.0%}"
    )
    by_day: list[dict[str, int]] = []
    async with a_life(
        pool, refunds=REFUNDS_A_DAY * 100, read_allowance=pace.FLOOR, read_share=SHARE,
        sync_interval_s=60,
    ) as life:  # fmt: skip
        for _ in range(days):
            for hour in range(48):
                if hour % 2 == 0 and hour < 2 * REFUNDS_A_DAY:
                    life.change("new")
                    life.change(KINDS[hour // 2 % 4], events=hour % 8 != 0)
                await life.pass_time(STEP_S)
            by_day.append(dict(life.reads))
        left = await _left(life)
    _reported(report, by_day)
    report.line("refunds that differ at the end, of changes that nothing reported", left, "")


async def _left(life: Life) -> int:
    async with life.pool.acquire() as connection:
        found = await differences(connection, life.listed(), account_id=life.account.id)
    return len({text.partition(".")[0] for text in found})


def _reported(report: Report, by_day: list[dict[str, int]]) -> None:
    share = pace.FLOOR * SHARE
    classes = sorted({kind for day in by_day for kind in day})

    def recurring(first: int, last: int) -> int:
        start = by_day[first - 1] if first else {}
        return sum(by_day[last].get(k, 0) - start.get(k, 0) for k in pace.RECURRING)

    worst = max(recurring(max(0, last - 29), last) for last in range(len(by_day)))
    for kind in classes:
        per_month = by_day[-1].get(kind, 0) / len(by_day) * 30
        report.line(f"{kind}, reads in 30 days", per_month, "")
    report.line("recurring reads in the worst 30 days, of the share", worst / share, "", at_most=1)
