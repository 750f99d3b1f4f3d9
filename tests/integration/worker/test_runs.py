"""Runs on record: those that were killed say so, those that live end as they do, old ones are forgotten."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from service.adapters.postgres.operations.runs import LOST_LATELY, Runs, tidy_runs
from service.adapters.postgres.queries import query
from service.adapters.postgres.session.database import Database
from service.adapters.postgres.warehouse.store import PostgresStore
from service.domain.batch import Written
from service.ports.runs import Progress
from tests.builders import an_observation, batch_of
from tests.integration.warehouse import ACCOUNT, rows

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool


@pytest.fixture
def warehouse(pool: Pool) -> Database:
    return Database(pool, deadline_s=20)


async def begun(
    warehouse: Database,
    *,
    ago: timedelta = timedelta(),
    silent: timedelta = timedelta(),
    account_id: str = ACCOUNT,
) -> UUID:
    """A run that began so long ago and has reported no progress for so long."""
    run_id = uuid4()
    await Runs(warehouse).begin(run_id, "sync", account_id, None)
    await warehouse.pool.execute(
        "UPDATE refund_sync.run SET started_at = now() - $2::interval, updated_at = now() - $3::interval"
        " WHERE id = $1",
        run_id, ago, silent,
    )  # fmt: skip
    return run_id


async def outcome_of(pool: Pool, run_id: UUID) -> tuple[str, str | None]:
    (found,) = [run for run in await rows(pool, "run") if run["id"] == run_id]
    return found["outcome"], found["error"]


async def test_who_begins_ends_the_runs_of_its_account_that_were_killed_lately(
    pool: Pool, warehouse: Database
) -> None:
    hour, year = timedelta(hours=1), timedelta(days=300)
    killed = await begun(warehouse, ago=hour, silent=hour)
    living = await begun(warehouse, ago=hour)
    other = await begun(warehouse, ago=hour, silent=hour, account_id="acct_1Other")
    before = await begun(warehouse, ago=year, silent=year)
    await begun(warehouse)
    assert await outcome_of(pool, killed) == ("stopped", "killed before it could end")
    for run_id in (living, other, before):
        assert await outcome_of(pool, run_id) == ("running", None)
    await tidy_runs(warehouse, ACCOUNT, datetime.now(UTC))
    assert await outcome_of(pool, before) == ("stopped", "killed before it could end")
    assert await outcome_of(pool, living) == ("running", None)


async def test_a_run_that_was_taken_to_be_killed_and_lives_ends_as_it_does_and_only_once(
    pool: Pool, warehouse: Database
) -> None:
    run_id = await begun(warehouse, ago=timedelta(hours=1), silent=timedelta(hours=1))
    await tidy_runs(warehouse, ACCOUNT, datetime.now(UTC))
    assert (await outcome_of(pool, run_id))[0] == "stopped"
    await Runs(warehouse).end(run_id, "ok")
    await Runs(warehouse).end(run_id, "failed", "told twice")
    assert await outcome_of(pool, run_id) == ("ok", None)


async def test_runs_that_ended_long_ago_are_forgotten_unless_a_claim_names_them(
    pool: Pool, warehouse: Database
) -> None:
    long_ago = timedelta(days=401)
    _, claiming, recent, other = [
        await begun(warehouse, ago=ago, silent=ago, account_id=account_id)
        for ago, account_id in (
            (long_ago, ACCOUNT),
            (long_ago, ACCOUNT),
            (timedelta(days=399), ACCOUNT),
            (long_ago, "acct_1Other"),
        )
    ]
    going_on = await begun(warehouse, ago=long_ago)
    await pool.execute(
        "UPDATE refund_sync.run SET outcome = 'ok', ended_at = updated_at WHERE id <> $1", going_on
    )
    await PostgresStore(warehouse, ACCOUNT, claiming).write(
        batch_of(an_observation(), claimed=True)
    )
    await tidy_runs(warehouse, ACCOUNT, datetime.now(UTC))
    assert {run["id"] for run in await rows(pool, "run")} == {claiming, recent, other, going_on}


async def test_runs_of_recurring_jobs_become_one_a_day_after_three_days(
    pool: Pool, warehouse: Database
) -> None:
    now = datetime.now(UTC)
    noon = (now - timedelta(days=10)).replace(hour=12, minute=0)
    runs = Runs(warehouse)
    for day in range(10):
        for minute, (job, outcome) in enumerate(
            [
                ("events", "ok"),
                ("events", "ok"),
                ("events", "failed"),
                ("backfill", "ok"),
                ("backfill", "ok"),
            ]
        ):
            run_id = await begun(warehouse)
            done = Progress(requests=2, written=Written(inserted=1))
            await runs.progress(run_id, done)
            await runs.end(run_id, outcome)
            await pool.execute(
                "UPDATE refund_sync.run SET job = $2, started_at = $3, ended_at = $3 WHERE id = $1",
                run_id, job, noon + timedelta(days=day, minutes=minute),
            )  # fmt: skip
    await tidy_runs(warehouse, ACCOUNT, now)
    kept = await rows(pool, "run", "started_at")
    folded = [run for run in kept if run["passes"] > 1]
    days = sum(noon + timedelta(days=n, minutes=1) < now - timedelta(days=3) for n in range(10))
    assert [(r["job"], r["passes"], r["requests"], r["inserted"]) for r in folded] == [
        ("events", 2, 4, 2)
    ] * days
    assert len(kept) == 50 - days
    await tidy_runs(warehouse, ACCOUNT, now)
    assert await rows(pool, "run", "started_at") == kept


async def test_who_begins_looks_at_no_runs_but_the_latest(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO refund_sync.run (id, account_id, job, outcome, started_at)"
        " SELECT gen_random_uuid(), $1, 'hints', 'ok', now() - n * interval '1 hour'"
        " FROM generate_series(1, 5000) AS n",
        ACCOUNT,
    )
    plan = await pool.fetch(
        f"EXPLAIN (ANALYZE, TIMING off) {query('end_lost_runs')}", ACCOUNT, LOST_LATELY
    )
    text = "\n".join(row[0] for row in plan)
    (passed_over,) = re.findall(r"Rows Removed by Filter: (\d+)", text)
    assert int(passed_over) <= LOST_LATELY / timedelta(hours=1), text
