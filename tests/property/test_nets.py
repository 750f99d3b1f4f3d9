"""Nothing changes unseen: any sequence of changes, outages, lost words and late objects, by simulated time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.adapters.postgres.session.connect import create_pool
from tests.acceptance.truth import broken_invariants, differences
from tests.simulated import DAY, Life, Nets, a_life

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.session.connect import Pool
    from tests.databases import Databases

KINDS = ("new", "settle", "fail", "arn", "metadata", "second_refund", "requires_action", "cancel")
TOLD = (
    "status",
    "failure_reason",
    "metadata",
    "balance_transaction",
    "failure_balance_transaction",
)
LAG = 600

MONTHS = """
SELECT m.month, m.complete FROM finance.completeness_by_month m
WHERE m.account_id = $1 AND m.complete
"""
VERSIONS = """
SELECT refund_id, raw FROM refund_sync.refund_version WHERE account_id = $1 ORDER BY refund_id, version
"""


@pytest.fixture(scope="module")
async def pool(databases: Databases) -> AsyncIterator[Pool]:
    """One database for all examples: each lives in an account of its own."""
    dsn = await databases.migrated()
    made = await create_pool(dsn, size=4)
    yield made
    await made.close()
    await databases.drop(dsn)


def changes(*, events: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just("change"), st.sampled_from(KINDS), events)


PASSES = st.tuples(
    st.just("pass"), st.sampled_from([30, LAG, 3_600, DAY, 4 * DAY]), st.just(value=False)
)
OUTAGES = st.tuples(
    st.just("pass"), st.sampled_from([3_600, 5 * DAY, 29 * DAY, 45 * DAY]), st.just(value=True)
)
LATE = st.tuples(st.just("late"), st.integers(0, LAG - 60), st.booleans())
EVERYTHING = st.lists(
    st.one_of(PASSES, OUTAGES, LATE, changes(events=st.sampled_from([True, True, False, "old"]))),
    min_size=3, max_size=18,
)  # fmt: skip


async def lived(life: Life, history: list[tuple[str, Any, Any]]) -> None:
    """The history, step by step; after each, no month is called complete that is not."""
    await life.pass_time(60)
    for what, first, second in history:
        if what == "pass":
            await life.pass_time(first, away=second)
            await assert_months_hold(life)
        elif what == "outage":
            await life.pass_time(first, away=True)
            await life.pass_time(60)
        elif what == "late":
            created = int(life.clock.second) - first
            life.change("late", created=created, events=second)
        else:
            life.change(first, events=second)


async def assert_months_hold(life: Life) -> None:
    complete = {row["month"] for row in await life.pool.fetch(MONTHS, life.account.id)}
    stored = {
        row[0]
        for row in await life.pool.fetch(
            "SELECT id FROM refund_sync.refund WHERE account_id = $1", life.account.id
        )
    }
    for plain in life.listed():
        month = life.clock.now().fromtimestamp(plain["created"], life.clock.now().tzinfo).date()
        if month.replace(day=1) in complete:
            assert plain["id"] in stored, f"{plain['id']} is missing of a complete month"


async def assert_equal(life: Life) -> None:
    async with life.pool.acquire() as connection:
        found = await differences(connection, life.listed(), account_id=life.account.id)
        assert not found, found[:5]
        assert not await broken_invariants(connection)


async def assert_versions_follow_stripe(life: Life) -> None:
    """Every version is a state that Stripe once had, in the order in which it had them."""
    at: dict[str, int] = {}
    for row in await life.pool.fetch(VERSIONS, life.account.id):
        version = _reported(json.loads(row["raw"]))
        states = [_reported(json.loads(text)) for text in life.states[row["refund_id"]]]
        place = next(
            (n for n in range(at.get(row["refund_id"], 0), len(states)) if states[n] == version),
            None,
        )
        assert place is not None, f"{row['refund_id']}: {version} after {states}"
        at[row["refund_id"]] = place


def _reported(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: plain.get(name) for name in TOLD}


FAR_ENOUGH = (60, 3_600, DAY, DAY, 8 * DAY, 31 * DAY, 31 * DAY)
RELAXED = settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck), phases=[Phase.generate],
)  # fmt: skip


@RELAXED
@given(
    EVERYTHING,
    st.booleans(),
    st.sampled_from([Nets(), Nets(webhooks=True, lost=0.5, doubled=0.5, reordered=0.5)]),
    st.integers(0, 99),
)
async def test_once_time_has_gone_far_enough_the_warehouse_is_stripe(
    pool: Pool, history: list[tuple[str, Any, Any]], permitted: bool, nets: Nets, seed: int
) -> None:
    nets = Nets(permitted, True, nets.webhooks, nets.lost, nets.doubled, nets.reordered)
    async with a_life(pool, refunds=40, seed=seed, nets=nets) as life:
        await lived(life, history)
        for seconds in FAR_ENOUGH:
            await life.pass_time(seconds)
        await assert_months_hold(life)
        await assert_equal(life)
        await assert_versions_follow_stripe(life)


TOLD_HISTORY = st.lists(
    st.one_of(PASSES, changes(events=st.just(value=True))), min_size=3, max_size=16
)
SHORT_OUTAGES = st.tuples(
    st.just("outage"), st.sampled_from([3_600, 10 * DAY, 28 * DAY]), st.just(value=True)
)


@RELAXED
@given(
    st.lists(
        st.one_of(PASSES, SHORT_OUTAGES, changes(events=st.just(value=True))),
        min_size=3, max_size=16,
    ),
    st.integers(0, 99),
)  # fmt: skip
async def test_events_alone_find_every_change_that_has_one_through_outages_under_30_days(
    pool: Pool, history: list[tuple[str, Any, Any]], seed: int
) -> None:
    async with a_life(pool, refunds=40, seed=seed, nets=Nets(rechecks=False)) as life:
        await lived(life, history)
        await life.pass_time(3_600)
        await assert_equal(life)


@RELAXED
@given(TOLD_HISTORY, st.integers(0, 99))
async def test_webhooks_alone_find_every_change_that_was_delivered_once(
    pool: Pool, history: list[tuple[str, Any, Any]], seed: int
) -> None:
    nets = Nets(events=False, rechecks=False, webhooks=True, doubled=0.5, reordered=0.5)
    async with a_life(pool, refunds=40, seed=seed, nets=nets) as life:
        await lived(life, history)
        await life.pass_time(60)
        await assert_equal(life)


@RELAXED
@given(EVERYTHING, st.integers(0, 99))
async def test_rechecks_alone_find_every_change_who_reports_it(
    pool: Pool, history: list[tuple[str, Any, Any]], seed: int
) -> None:
    async with a_life(pool, refunds=40, seed=seed, nets=Nets(events=False)) as life:
        await lived(life, history)
        for seconds in FAR_ENOUGH:
            await life.pass_time(seconds)
        await assert_equal(life)
