"""The lease on a real Postgres: who gets it, who waits, who has lost it, and what stands in the way."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.adapters.postgres.lease import Lease, application_name
from service.adapters.postgres.migrate import upgrade
from service.adapters.postgres.queries import query
from service.adapters.postgres.store import Database, Fence
from service.domain.errors import (
    DatabaseAwayError,
    DatabaseError,
    LeaseHeldError,
    LeaseLostError,
)
from tests.integration.leases import (
    LEASE_S,
    Leases,
    Telling,
    a_role,
    connections,
    expiry,
    holder_of,
    in_the_background,
    let_expire,
    locked_by,
    renewed,
    sessions,
    take,
)  # fmt: skip
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.adapters.postgres.connect import Connection, Pool
    from tests.databases import OwnServer


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


async def test_who_does_not_want_to_wait_is_told_who_holds_it_and_until_when(
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
    holder, tell = await leases.taken("holder"), Telling()
    async with in_the_background(holder.keep()) as keeping:
        standby = leases("standby").take(wait=True, tell=tell)
        async with in_the_background(standby) as standing:
            await tell.waits.wait()
            await renewed(pool)
            assert not standing.done()
            keeping.cancel()
            assert await asyncio.wait_for(standing, LEASE_S) == 2
    assert tell == ["standing by: holder works for acct_1Warehouse"]
    assert await holder_of(pool) == "standby"


async def test_a_released_lease_is_taken_by_the_standby_long_before_it_would_expire(
    leases: Leases,
) -> None:
    holder, tell = await leases.taken("holder", lease_s=600), Telling()
    async with in_the_background(leases("standby").take(wait=True, tell=tell)) as standing:
        await tell.waits.wait()
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
            given.append(await lease.take(wait=True, tell=lambda _: None))
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


async def test_a_takeover_ends_sessions_of_older_epochs_of_this_account_and_no_other(
    leases: Leases, pool: Pool
) -> None:
    await leases.taken("first", lease_s=600)
    await let_expire(pool)
    old, names = application_name(ACCOUNT, 1), [
        application_name(ACCOUNT, 2), application_name(ACCOUNT + "9", 1), "refund-sync", "psql",
    ]  # fmt: skip
    async with sessions(leases.dsn, old, *names) as (first, *others):
        assert await take(leases("second")) == 2
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await first.execute("SELECT 1")
        for other in others:
            await other.execute("SELECT 1")


async def test_names_of_sessions_fit_and_tell_accounts_apart() -> None:
    names = [
        application_name(account, 2**63 - 1)
        for account in (ACCOUNT, "acct_" + "x" * 100, "acct_" + "x" * 99 + "y", "acct_é", "acct_e")
    ]
    assert len(set(names)) == len(names)
    assert all(len(name.encode()) <= 63 and name.isascii() for name in names)
    assert re.fullmatch(r"refund-sync acct_1Warehouse#9223372036854775807", names[0])


async def test_a_lease_that_a_stranger_holds_locked_is_said_and_taken_when_he_lets_go(
    leases: Leases, pool: Pool
) -> None:
    await leases.taken("first", lease_s=600)
    await let_expire(pool)
    tell = Telling()
    async with sessions(leases.dsn, "psql") as (stranger,), locked_by(stranger):
        with pytest.raises(DatabaseAwayError, match="stays locked") as stuck:
            await take(leases("second"))
        assert "pg_locks" in stuck.value.hint
        standing = asyncio.ensure_future(leases("third").take(wait=True, tell=tell))
        await asyncio.wait_for(tell.waits.wait(), 4 * LEASE_S)
        assert "stays locked" in tell[0]
    assert await asyncio.wait_for(standing, 4 * LEASE_S) == 2


async def test_sessions_that_our_role_may_not_end_are_said_where_they_stand_in_the_way(
    leases: Leases, pool: Pool
) -> None:
    """Roles belong to the server, so that their names are this test's own."""
    await leases.taken("first", lease_s=600)
    await let_expire(pool)
    async with a_role(pool, "lease_ours") as ours, a_role(pool, "lease_theirs") as theirs:
        as_ours = Lease(leases.dsn.replace("//postgres@", f"//{ours}@"), ACCOUNT, "x", lease_s=1)
        async with sessions(leases.dsn, application_name(ACCOUNT, 1), user=theirs) as (old,):
            async with locked_by(old):
                with pytest.raises(DatabaseError, match=r"another role \(lease_theirs\)") as stuck:
                    await take(as_ours)
                assert "pg_signal_backend" in stuck.value.hint
            assert await take(as_ours) == 2  # it is there still, and no longer in the way
            await let_expire(pool)
            await pool.execute(f"GRANT pg_signal_backend TO {ours}")
            await old.execute("BEGIN; SELECT 1 FROM refund_sync.lease FOR SHARE")
            assert await take(as_ours) == 3
        await as_ours.release()


class Stopped(Lease):
    """Is stopped when the database has given it the lease, and before it hears of that."""

    taking: asyncio.Task[int]

    async def _take_over(self, connection: Connection) -> None:
        await super()._take_over(Unheard(connection, self.taking))  # type: ignore[arg-type]


class Unheard:
    def __init__(self, connection: Connection, taking: asyncio.Task[int]) -> None:
        self._connection = connection
        self._taking = taking

    async def fetchval(self, *asked: object) -> object:
        found = await self._connection.fetchval(*asked)  # type: ignore[arg-type]
        self._taking.cancel()
        await asyncio.sleep(0)
        return found


async def test_who_is_stopped_as_the_lease_becomes_its_own_releases_it(
    leases: Leases, pool: Pool
) -> None:
    lease = Stopped(leases.dsn, ACCOUNT, "stopped", lease_s=600)
    lease.taking = asyncio.create_task(lease.take(wait=True, tell=pytest.fail))
    with pytest.raises(asyncio.CancelledError):
        await lease.taking
    assert await holder_of(pool) == "stopped"
    await lease.release()
    assert await holder_of(pool) is None
    assert await take(leases("next")) == 2


async def test_a_standby_that_gives_up_leaves_no_connection(leases: Leases, pool: Pool) -> None:
    await leases.taken("holder", lease_s=600)
    tell, standby = Telling(), leases("standby")
    async with in_the_background(standby.take(wait=True, tell=tell)):
        await tell.waits.wait()
        assert await connections(pool) == 2
    await standby.release()
    async with asyncio.timeout(10):
        while await connections(pool) > 1:
            await asyncio.sleep(0.02)
    assert await holder_of(pool) == "holder"


async def test_holder_and_standby_outlast_a_restart_of_the_database(own_server: OwnServer) -> None:
    await upgrade(own_server.dsn)
    holder, standby = (Lease(own_server.dsn, ACCOUNT, n, lease_s=6) for n in ("holder", "standby"))
    tell = Telling()
    other = Lease(own_server.dsn, "acct_other", "other", lease_s=6)
    assert await take(holder) == await take(other) == 1
    async with in_the_background(standby.take(wait=True, tell=tell)) as standing:
        async with in_the_background(holder.keep()) as keeping:
            await tell.waits.wait()
            tell.waits.clear()
            own_server.stop_immediately()
            with pytest.raises(DatabaseAwayError):
                await take(Lease(own_server.dsn, ACCOUNT, "third", lease_s=6))
            await other.release()  # as far as the database can be told
            async with asyncio.timeout(5):
                await tell.waits.wait()
                while holder._connection:  # dropped by the first renewal that fails
                    await asyncio.sleep(0.02)
            own_server.start()
            async with await asyncpg.create_pool(own_server.dsn, min_size=1, max_size=1) as pool:
                await renewed(pool, seconds=0.1)
                assert await holder_of(pool) == "holder"
            assert not keeping.done()
            assert not standing.done()
        await holder.release()
        assert await asyncio.wait_for(standing, 5) == 2
    assert "does not answer" in tell[1]
    await standby.release()
