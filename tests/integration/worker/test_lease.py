"""The lease on a real Postgres: who gets it, who waits, who has lost it, and what stands in the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from service.adapters.postgres.queries import query
from service.adapters.postgres.session.database import Database, Fence
from service.domain.errors import (
    LeaseHeldError,
    LeaseLostError,
)
from tests.integration.leases import (
    LEASE_S,
    Leases,
    Telling,
    expiry,
    holder_of,
    in_the_background,
    let_expire,
    renewed,
    take,
)  # fmt: skip
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.operations.lease import Lease
    from service.adapters.postgres.session.connect import Connection, Pool


@pytest.fixture
async def leases(database: str) -> AsyncIterator[Leases]:
    leases = Leases(database)
    yield leases
    for lease in leases.made:
        await lease.release()


async def test_a_free_lease_is_taken_at_once_and_each_time_under_a_greater_epoch(
    leases: Leases, pool: Pool
) -> None:
    assert await holder_of(pool) is None
    for epoch in (1, 2, 3):
        lease = leases(f"daemon {epoch}")
        assert await take(lease) == epoch
        assert await holder_of(pool) == f"daemon {epoch}"
        await lease.release()
        assert await holder_of(pool) is None


async def test_who_does_not_want_to_wait_learns_who_holds_it_and_until_when(
    leases: Leases, pool: Pool
) -> None:
    await leases.taken("first:1", lease_s=600)
    until = await expiry(pool)
    with pytest.raises(LeaseHeldError, match="first:1 works for acct_1Warehouse") as refused:
        await take(leases("second:2"))
    assert f"{until:%Y-%m-%d %H:%M:%S} UTC" in str(refused.value)
    assert refused.value.exit_code == 9
    assert refused.value.hint


async def test_each_account_has_a_lease_of_its_own(leases: Leases, pool: Pool) -> None:
    assert await take(leases("one", "acct_1")) == await take(leases("two", "acct_2")) == 1
    assert await holder_of(pool, "acct_1") == "one"
    assert await holder_of(pool, "acct_3") is None


async def test_a_standby_waits_as_long_as_the_holder_renews_and_says_so_once(
    leases: Leases, pool: Pool
) -> None:
    holder, report = await leases.taken("holder"), Telling()
    async with in_the_background(holder.keep()) as keeping:
        standby = leases("standby").take(wait=True, report=report)
        async with in_the_background(standby) as standing:
            await report.waits.wait()
            await renewed(pool)
            assert not standing.done()
            keeping.cancel()
            assert await asyncio.wait_for(standing, LEASE_S) == 2
    assert report == ["standing by: holder works for acct_1Warehouse"]
    assert await holder_of(pool) == "standby"


async def test_a_released_lease_is_taken_by_the_standby_long_before_it_would_expire(
    leases: Leases,
) -> None:
    holder, report = await leases.taken("holder", lease_s=600), Telling()
    async with in_the_background(leases("standby").take(wait=True, report=report)) as standing:
        await report.waits.wait()
        await holder.release()
        assert await asyncio.wait_for(standing, 2 * LEASE_S) == 2


async def test_of_many_that_want_an_expired_lease_exactly_one_gets_it(
    leases: Leases, pool: Pool
) -> None:
    await leases.taken("dead", lease_s=600)
    for epoch in range(2, 8):
        await let_expire(pool)
        tried = [take(leases(f"{epoch}:{n}", lease_s=600)) for n in range(8)]
        found = await asyncio.gather(*tried, return_exceptions=True)
        assert [e for e in found if isinstance(e, int)] == [epoch], found
        assert sum(isinstance(e, LeaseHeldError) for e in found) == 7, found


async def test_many_that_come_and_go_never_share_an_epoch(leases: Leases) -> None:
    given: list[int] = []

    async def come_and_go(lease: Lease) -> None:
        for _ in range(2):
            given.append(await lease.take(wait=True, report=lambda _: None))
            await lease.release()

    await asyncio.gather(*(come_and_go(leases(str(n))) for n in range(5)))
    assert given == list(range(1, 11))


async def test_who_was_succeeded_learns_it_at_the_next_renewal_and_releases_nothing(
    leases: Leases, pool: Pool
) -> None:
    first = await leases.taken("first")
    await let_expire(pool)
    await leases.taken("second", lease_s=600)
    with pytest.raises(LeaseLostError, match="second works for") as lost:
        await asyncio.wait_for(first.keep(), LEASE_S)
    assert lost.value.exit_code == 9
    await first.release()
    assert await holder_of(pool) == "second"


async def test_an_epoch_raised_by_hand_ends_the_holder_and_is_never_given_again(
    leases: Leases, pool: Pool
) -> None:
    holder = await leases.taken("holder")
    async with in_the_background(holder.keep()) as keeping:
        await pool.execute("UPDATE refund_sync.lease SET epoch = 41")
        with pytest.raises(LeaseLostError):
            await asyncio.wait_for(keeping, 2 * LEASE_S)
    await let_expire(pool)
    assert await take(leases("next")) == 42
    await leases.made[-1]._renew()


async def test_renewals_do_not_wait_for_a_long_transaction_of_the_holder(
    leases: Leases, pool: Pool
) -> None:
    holder = await leases.taken("holder")

    async def long_write(connection: Connection) -> None:
        await connection.execute(query("fence"), ACCOUNT, 1)
        async with in_the_background(holder.keep()):
            await renewed(pool)

    await Database(pool, deadline_s=5, fence=Fence(ACCOUNT, 1)).once(long_write)
