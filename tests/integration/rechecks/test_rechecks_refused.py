"""What Stripe does not give by its id is rescheduled by itself: it stops no others, and is not forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.app import passes
from service.domain import pace
from service.domain.errors import StripeAwayError
from service.domain.refund import Hint
from service.ports.runs import Progress
from tests.integration.warehouse import report
from tests.simulated import DAY, Nets, a_life

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Pool
    from tests.simulated import Life

ONLY_EVENTS = Nets(rechecks=False)


async def hints(life: Life) -> dict[str, int]:
    """What we had word of and did not read, and how often we tried."""
    found = await life.pool.fetch(
        "SELECT object_id, attempts FROM refund_sync.recheck"
        " WHERE account_id = $1 AND hinted_at IS NOT NULL",
        life.account.id,
    )
    return {row[0]: row[1] for row in found}


async def oldest(life: Life, count: int) -> list[str]:
    """Refunds of as many days, so that each is read by itself."""
    found = await life.pool.fetch(
        "SELECT DISTINCT ON (date_trunc('day', created_at, 'UTC')) id FROM refund_sync.refund"
        " WHERE account_id = $1 ORDER BY date_trunc('day', created_at, 'UTC') LIMIT $2",
        life.account.id,
        count,
    )
    ids = [row[0] for row in found]
    assert len(ids) == count
    return ids


async def hint_at(life: Life, *ids: str, kind: str = "refund") -> None:
    """A little later, word of these comes, of one after the other."""
    life.clock.second += 60
    hints = [Hint(kind, i, life.clock.now() + timedelta(seconds=n)) for n, i in enumerate(ids)]
    await report(life.account.store(), *hints)
    life.clock.second += 60


async def test_an_object_at_which_stripe_fails_for_ever_costs_the_others_neither_turn_nor_budget(
    pool: Pool,
) -> None:
    async with a_life(
        pool, refunds=40, nets=ONLY_EVENTS, read_allowance=10_000, concurrency=1
    ) as life:
        await life.pass_time(60)
        bad, *others = await oldest(life, 6)
        life.stripe.faults.statuses = {bad: 500}
        life.change("metadata", ids=[bad])
        await life.pass_time(1_800)
        assert await hints(life) == {bad: 1}
        spent = life.reads[pace.HINTS]
        assert spent <= 7
        for refund_id in others:
            life.change("metadata", ids=[refund_id])
        await life.pass_time(1_800)
        assert await hints(life) == {bad: 1}
        assert spent < life.reads[pace.HINTS] <= spent + len(others)
        await life.pass_time(3_600)
        assert await hints(life) == {bad: 2}
        life.stripe.faults.statuses = {}
        await life.pass_time(DAY / 2)
        assert await hints(life) == {}


async def test_what_failing_reads_take_counts_against_what_may_be_read(pool: Pool) -> None:
    async with a_life(pool, refunds=1_200, concurrency=1) as life:
        await life.pass_time(60)
        bad, *others = (await oldest(life, 198))[::22]  # too far apart to be listed
        life.stripe.faults.statuses = {bad: 500}
        await hint_at(life, bad, *others)
        progress = Progress()
        assert await passes.read_hints(life.account, progress, 10) == 4
        assert progress.requests == 10
        assert len(await hints(life)) == 1 + len(others) - 3


async def test_an_outage_ends_the_pass_and_puts_nothing_off(pool: Pool) -> None:
    async with a_life(pool, refunds=40, deadline_s=1) as life:
        await life.pass_time(60)
        ids = await oldest(life, 6)
        await hint_at(life, *ids)
        life.stripe.faults.reset = 1.0
        with pytest.raises(StripeAwayError):
            await life.rounds.read_hints()
        assert await hints(life) == dict.fromkeys(ids, 0)
        life.stripe.faults.reset = 0
        await life.rounds.read_hints()
        assert await hints(life) == {}


async def test_an_outage_that_ends_in_time_is_waited_for_and_puts_nothing_off(pool: Pool) -> None:
    async with a_life(pool, refunds=40, concurrency=1) as life:
        await life.pass_time(60)
        ids = await oldest(life, 3)
        await hint_at(life, *ids)
        life.stripe.faults.set({"reset": 1.0, "next": 4})
        assert await life.rounds.read_hints() == 3
        assert await hints(life) == {}


@pytest.mark.parametrize("status", [400, 500])
async def test_word_of_a_charge_whose_refunds_stripe_does_not_give_is_kept(
    status: int, pool: Pool
) -> None:
    async with a_life(pool, refunds=20, deadline_s=0.4) as life:
        await life.pass_time(60)
        charge_id = await pool.fetchval(
            "SELECT charge_id FROM refund_sync.charge_link"
            " WHERE account_id = $1 AND charge_id IS NOT NULL ORDER BY 1 LIMIT 1",
            life.account.id,
        )
        await hint_at(life, charge_id, kind="charge")
        life.stripe.faults.statuses = {charge_id: status}
        await life.rounds.read_hints()
        assert await hints(life) == {charge_id: 1}
        life.stripe.faults.statuses = {}
        await life.rounds.read_hints()
        assert await hints(life) == {charge_id: 1}, "not before its time"
        life.clock.second += 3_601
        assert await life.rounds.read_hints() == 1
        assert await hints(life) == {}
