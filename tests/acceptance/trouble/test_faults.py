"""No matter what Stripe, the network or Postgres does: it finishes equal, or says that it did not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.stage import SINCE, UNTIL, Stage, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SPAN = ("backfill", "--from", SINCE, "--to", UNTIL)


async def test_errors_resets_and_truncated_pages_change_nothing_in_the_end(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=6_000) as stripe:
        stage = Stage(stripe, open_folder, database)
        stripe.faults(error_500=0.05, reset=0.02, truncate=0.02)
        reported = stage.run(*SPAN).reported
        stripe.heal()
        assert reported["inserted"] == 6_000
        await stage.assert_equal_to_stripe()


async def test_a_storm_of_429s_slows_it_and_loses_nothing(database: str, open_folder: Path) -> None:
    with simulated_stripe(refunds=12_000, limits="test") as stripe:
        stage = Stage(stripe, open_folder, database, {"endpoint_rate": 120, "global_rate": 120})
        stage.run(*SPAN)
        assert sum(stripe.stats()["rate_limited"].values()) > 0
        await stage.assert_equal_to_stripe()


async def test_a_run_past_its_deadline_is_not_ok_and_the_next_one_goes_on(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=3_000) as stripe:
        stage = Stage(stripe, open_folder, database, {"deadline_s": 3})
        stripe.faults(error_503=1.0)
        stage.run(*SPAN, expect=6)
        async with stage.connection() as connection:
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM refund_sync.run WHERE outcome = 'ok'"
                )
                == 0
            )
        stripe.heal()
        stage.run(*SPAN)
        await stage.assert_equal_to_stripe()


@pytest.mark.parametrize("fault", ["empty_after_cursor", "skip_second_after_cursor"])
async def test_lists_that_skip_after_a_cursor_lose_nothing(
    fault: str, database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=3_000, hot_second=450) as stripe:
        stage = Stage(stripe, open_folder, database)
        stripe.faults(**{fault: 1.0})
        stage.run(*SPAN)
        stripe.heal()
        await stage.assert_equal_to_stripe()


@pytest.mark.parametrize("shift_s", [-86_400, 86_400])
async def test_a_wrong_date_never_stretches_a_claim(
    shift_s: int, database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=500) as stripe:
        stage = Stage(stripe, open_folder, database)
        stripe.faults(wrong_date_s=shift_s)
        stage.run("sync")
        async with stage.connection() as connection:
            beyond = await connection.fetchval(
                "SELECT count(*) FROM refund_sync.coverage"
                " WHERE upper(covered) > extract(epoch FROM now() - interval '600 seconds')"
            )
        assert beyond == 0


async def test_all_ways_of_hydrating_end_in_identical_tables(
    new_database: Callable[[], Awaitable[str]], open_folder: Path
) -> None:
    with simulated_stripe(refunds=400) as stripe:
        tables = []
        for way in ("expand", "retrieve", "parts"):
            stage = Stage(stripe, open_folder, await new_database(), {"hydrate": way})
            stage.run(*SPAN)
            await stage.assert_equal_to_stripe()
            tables.append(await everything(stage))
        assert tables[0] == tables[1]
        assert tables[0] == tables[2]
        assert all(len(rows) > 100 for rows in tables[0].values())


async def test_slow_expansions_fall_back_to_other_ways_and_the_same_tables(
    new_database: Callable[[], Awaitable[str]], open_folder: Path
) -> None:
    with simulated_stripe(refunds=300) as stripe:
        plain = Stage(stripe, open_folder, await new_database())
        plain.run(*SPAN)
        stripe.faults(expand_timeout=10)
        fallback = Stage(stripe, open_folder, await new_database())
        fallback.run(*SPAN)
        stripe.heal()
        assert await everything(plain) == await everything(fallback)


TABLES = {
    "refund": "observed_at first_seen_at first_listed_at received_hash version_observed_at recorded_at source",
    "charge_link": "",
    "charge": "observed_at",
    "destination_details": "",
    "balance_transaction": "observed_at",
}


async def everything(stage: Stage) -> dict[str, list[str]]:
    """Every row of every table, but for when and how it was read."""
    found = {}
    async with stage.connection() as connection:
        for table, times in TABLES.items():
            drop = "".join(f" - '{name}'" for name in times.split())
            rows = await connection.fetch(
                f"SELECT (to_jsonb(t){drop})::text FROM refund_sync.{table} t"
            )
            found[table] = sorted(row[0] for row in rows)
    return found


async def test_two_commands_at_once_are_never_wrong(database: str, open_folder: Path) -> None:
    with simulated_stripe(refunds=5_000, latency_ms=10) as stripe:
        stage = Stage(stripe, open_folder, database)
        both = [stage.start(*SPAN), stage.start(*SPAN), stage.start("sync")]
        for process in both:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert json.loads(out)["requests"] > 0
        await stage.assert_equal_to_stripe()


async def test_two_commands_at_once_on_the_embedded_database_are_never_wrong(
    open_folder: Path,
) -> None:
    with simulated_stripe(refunds=3_000, latency_ms=10) as stripe:
        stage = Stage(stripe, open_folder)
        both = [stage.start(*SPAN), stage.start(*SPAN)]
        for process in both:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        status = stage.run("status").reported
        assert status["accounts"][0]["refunds"] == 3_000
