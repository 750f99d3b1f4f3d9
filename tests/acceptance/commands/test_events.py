"""Events report to ``sync`` what changed: each change is found in few reads, and nothing of an event is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.stage import Stage, Stripe, days_ago, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUNDS = 600
LIST, BY_ID, EVENTS = "GET /v1/refunds", "GET /v1/refunds/{id}", "GET /v1/events"


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    """Refunds of the last two months."""
    options = {"refunds": REFUNDS, "from": days_ago(60), "to": days_ago(0)}
    with simulated_stripe(**options) as stripe:
        yield stripe


@pytest.fixture
async def stage(stripe: Stripe, database: str, open_folder: Path) -> Stage:
    """Synced once, ten minutes ago."""
    stage = Stage(stripe, open_folder, database, {"since": days_ago(60)})
    stage.run("sync")
    await a_while_later(stage)
    return stage


async def a_while_later(stage: Stage) -> None:
    """As if what is stored had been read ten minutes earlier: reads less apart may have overlapped."""
    for table in ("refund", "refund_superseded", "span_check"):
        await stage.execute(
            f"UPDATE refund_sync.{table} SET observed_at = observed_at - interval '10 minutes'"
        )


def a_moment_ago() -> int:
    """Longer ago than a read has to begin after an event to be sure to see its change."""
    return int(time.time()) - 5


async def sources_of(stage: Stage) -> dict[str, list[str]]:
    """The sources of each refund's later versions."""
    found = await stage.select(
        "SELECT refund_id, array_agg(source ORDER BY version) FROM refund_sync.refund_version"
        " WHERE version > 1 GROUP BY 1"
    )
    return {row[0]: row[1] for row in found}


async def test_each_change_is_found_in_one_read_however_many_events_reported_it_and_none_is_kept(
    stage: Stage, stripe: Stripe
) -> None:
    changed = [
        *stripe.change("fail", count=3), *stripe.change("arn", count=3), *stripe.change("settle"),
        *stripe.change("requires_action", count=2),
    ]  # fmt: skip
    for _ in range(3):
        stripe.change("metadata", ids=changed[:2])
    stripe.change("second_refund", count=3)
    stripe.change("new", count=3)
    asked = stripe.requests_of(lambda: stage.run("sync"))
    await stage.assert_equal_to_stripe()
    assert asked[EVENTS] == 1
    assert asked[LIST] + asked[BY_ID] <= 1 + len(changed)
    assert max(stripe.stats()["reads_by_id"].values()) == 1
    assert await sources_of(stage) == {refund_id: ["hint"] for refund_id in changed}
    assert await tables_with(stage, "succeeded"), "the search must find what is there"
    assert await tables_with(stage, "evt_") == []
    assert await tables_with(stage, "previous_attributes") == []


async def tables_with(stage: Stage, text: str) -> list[str]:
    tables = await stage.select(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname IN ('refund_sync', 'finance')"
    )
    found = []
    for (table,) in tables:
        rows = await stage.select(
            f"SELECT 1 FROM {table} t WHERE to_jsonb(t)::text LIKE $1 LIMIT 1", f"%{text}%"
        )
        found += [table] * len(rows)
    return found


async def test_hundreds_of_events_are_few_reads_and_quiet_passes_one_of_each_list(
    stage: Stage, stripe: Stripe
) -> None:
    quiet = {EVENTS: 1, LIST: 1}
    assert stripe.requests_of(lambda: stage.run("sync")) == quiet
    ids = [plain["id"] for plain in stripe.truth()[:400]]
    stripe.change("metadata", ids=ids)
    asked = stripe.requests_of(lambda: stage.run("sync"))
    await stage.assert_equal_to_stripe()
    assert asked.get(BY_ID, 0) + asked[LIST] <= 50
    assert set(await sources_of(stage)) == set(ids)


async def test_events_of_charges_alone_are_read_by_charge_only_where_no_list_named_the_refund(
    stage: Stage, stripe: Stripe
) -> None:
    """As the events of accounts of an old API version are."""
    before = a_moment_ago()
    (listed,) = stripe.change("new", events="old", created=before)
    (updated,) = stripe.change("fail", ids=[with_charge(stripe)], events="old", created=before)
    asked = stripe.requests_of(lambda: stage.run("sync"))
    assert asked == {EVENTS: 1, LIST: 1, BY_ID: 1}
    assert (await sources_of(stage)).keys() == {updated}
    assert await stage.select("SELECT FROM refund_sync.refund WHERE id = $1", listed)

    (late,) = stripe.change("late", events="old", created=before - 86_400)
    await stage.execute(
        "INSERT INTO refund_sync.recheck (account_id, kind, object_id, due_at, hinted_at, why)"
        " SELECT id, 'charge', $1, now(), now(), 'hint' FROM refund_sync.account",
        next(plain["charge"] for plain in stripe.truth() if plain["id"] == late),
    )
    asked = stripe.requests_of(lambda: stage.run("sync"))
    assert (asked[LIST], asked.get(BY_ID)) == (2, None)
    assert not await stage.select("SELECT FROM refund_sync.recheck WHERE kind = 'charge'")
    await stage.assert_equal_to_stripe()


async def test_a_first_sync_reads_nothing_twice(
    stripe: Stripe, database: str, open_folder: Path
) -> None:
    for events in (True, "old"):
        stripe.change("new", count=40, events=events)
        stripe.change("metadata", count=20, events=events)
    stage = Stage(stripe, open_folder, database, {"since": days_ago(60), "concurrency": 2})
    asked = stripe.requests_of(lambda: stage.run("sync"))
    assert stripe.stats()["reads_by_id"] == {}
    assert asked[LIST] <= REFUNDS / 100 + 4
    assert not await stage.select("SELECT FROM refund_sync.recheck WHERE hinted_at IS NOT NULL")
    await stage.assert_equal_to_stripe()


async def test_neither_a_missing_permission_nor_an_unknown_refund_keeps_sync_from_its_work(
    stage: Stage, stripe: Stripe
) -> None:
    before = a_moment_ago()
    gone = stripe.change("new", created=before)
    stripe.change("delete", ids=gone, events=False)
    failed = stripe.change("fail", count=2, created=before)
    stripe.change("new", count=3, created=before)
    stripe.faults(permissions_removed=["rak_event_read"])
    ran = stage.run("sync")
    assert ran.reported["inserted"] == 3
    assert "events.not_permitted" in ran.err
    assert "Events: Read" in ran.err
    stripe.heal()

    assert stage.run("sync").reported["changed"] == 2
    assert set(await sources_of(stage)) == set(failed)
    (waiting,) = await stage.select(
        "SELECT why, attempts, due_at > now() FROM refund_sync.recheck WHERE object_id = $1",
        gone[0],
    )
    assert tuple(waiting) == ("not found", 1, True)
    assert "1 that Stripe does not know" in text_of(stage, "status")
    asked = stripe.requests_of(lambda: stage.run("sync"))
    assert BY_ID not in asked, "the same event, listed again, is no news"
    await stage.assert_equal_to_stripe()


def the_account(stage: Stage) -> dict[str, Any]:
    return dict(stage.run("status").reported["accounts"][0])


def with_charge(stripe: Stripe) -> str:
    return next(
        str(plain["id"])
        for plain in stripe.truth()
        if plain["status"] == "succeeded" and plain["charge"] and plain["balance_transaction"]
    )


def text_of(stage: Stage, *arguments: str) -> str:
    """What a person reads: without --json."""
    return stage.run(*arguments, as_json=False).out


async def met_days_ago(stage: Stage, days: int) -> None:
    """As if the account had been met then, and no event been read since."""
    await stage.execute(
        "UPDATE refund_sync.account SET created_at = now() - $1 * interval '1 day'", days
    )
    for table in ("coverage", "coverage_claim"):
        await stage.execute(f"DELETE FROM refund_sync.{table} WHERE stream LIKE 'events%'")


async def test_events_that_expired_unread_become_a_gap_that_is_shown_made_up_for_and_closed(
    database: str, open_folder: Path
) -> None:
    """With Stripe's clock a little ahead: what is below its floor is no new gap each time."""
    options = {"refunds": 800, "from": days_ago(200), "to": days_ago(0)}
    with simulated_stripe(**options) as stripe:
        stage = Stage(stripe, open_folder, database, {"since": days_ago(200)})
        stage.run("sync")
        changed = change_unreported(stripe, reach=60 + 90)
        await met_days_ago(stage, 60)
        stripe.faults(permissions_removed=["rak_charge_read"], wrong_date_s=3)
        stage.run("sync", expect=4)
        stripe.faults(permissions_removed=[])
        (gap,) = the_account(stage)["events"]["expired"]
        assert gap["closed_at"] is None
        assert gap["span"][0][:10] in {days_ago(60), days_ago(61)}
        assert gap["span"][1][:10] in {days_ago(30), days_ago(29)}

        stage.run("sync")
        await stage.assert_equal_to_stripe()
        (gap,) = await stage.select("SELECT closed_at, reason FROM refund_sync.event_gap")
        assert gap["closed_at"]
        assert "read again" in gap["reason"]
        assert gap["reason"] in text_of(stage, "status")
        assert set(await sources_of(stage)) == set(changed)
        short = await stage.select("SELECT job, error FROM refund_sync.run WHERE outcome <> 'ok'")
        assert [row["job"] for row in short] == ["sync"]

        asked = stripe.requests_of(lambda: stage.run("sync"))
        assert len(await stage.select("SELECT FROM refund_sync.event_gap")) == 1
        assert (asked[LIST], asked[EVENTS], asked.get(BY_ID, 0)) == (1, 1, 0)


def change_unreported(stripe: Stripe, *, reach: int) -> list[str]:
    """Changes without events, a month ago and earlier: of those in reach, and older ones not final."""
    bound, month = time.time() - reach * 86_400, time.time() - 31 * 86_400
    truth = stripe.truth()
    young = [plain for plain in truth if bound < plain["created"] < month]
    pending = [p["id"] for p in truth if p["created"] < bound and p["status"] == "pending"]
    booked = [p["id"] for p in young if p["status"] == "succeeded" and p["charge"]]
    assert pending
    return [
        *stripe.change("settle", ids=pending[:3], events=False),
        *stripe.change("fail", ids=booked[::40], events=False),
        *stripe.change("metadata", ids=[p["id"] for p in young[1::40]], events=False),
    ]


async def test_sync_stores_what_is_new_though_events_cannot_be_had_and_ends_with_6(
    stage: Stage, stripe: Stripe
) -> None:
    before = await stage.select("SELECT count(*) FROM refund_sync.refund")
    new = stripe.change("new", 2)
    stripe.faults(statuses={"/v1/events": 500})
    stage.settings["deadline_s"] = 1
    ran = stage.run("sync", expect=6)
    assert "/v1/events" in ran.err
    assert ran.reported["inserted"] == len(new)
    stripe.heal()
    stage.run("sync")
    after = await stage.select("SELECT count(*) FROM refund_sync.refund")
    assert after[0][0] == before[0][0] + len(new)


async def test_rechecks_overdue_by_twice_their_interval_are_shown_and_checked(stage: Stage) -> None:
    stage.run("status", "--check")
    await stage.execute(
        "UPDATE refund_sync.span_check SET checked_at = checked_at - interval '3 days'"
    )
    await stage.execute(
        "UPDATE refund_sync.recheck SET due_at = now() - interval '8 days' WHERE why = 'open'"
    )
    ran = stage.run("status", "--check", expect=7)
    assert "rechecks are overdue by twice their interval" in ran.err
    rechecks = ran.reported["accounts"][0]["rechecks"]
    assert rechecks["overdue"] > 0
    assert rechecks["days_overdue"] > 0
    stage.run("sync")
    stage.run("status", "--check")
