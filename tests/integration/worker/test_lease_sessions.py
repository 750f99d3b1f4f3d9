"""The lease and the sessions of older epochs, standbys that give up, and restarts."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.adapters.postgres.operations.lease import Lease, application_name
from service.adapters.postgres.schema.migrate import upgrade
from service.domain.errors import (
    DatabaseAwayError,
    DatabaseError,
)
from tests.integration.leases import (
    LEASE_S,
    Leases,
    Telling,
    a_role,
    connections,
    holder_of,
    in_the_background,
    let_expire,
    locked_by,
    renewed,
    sessions,
    take,
)  # fmt: skip
from tests.integration.warehouse import ACCOUNT
from tests.integration.worker.test_lease import leases  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from service.adapters.postgres.session.connect import Connection, Pool
    from tests.databases import OwnServer


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


async def test_names_of_sessions_fit_and_distinguish_accounts() -> None:
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
    report = Telling()
    async with sessions(leases.dsn, "psql") as (stranger,), locked_by(stranger):
        with pytest.raises(DatabaseAwayError, match="stays locked") as stuck:
            await take(leases("second"))
        assert "pg_locks" in stuck.value.hint
        standing = asyncio.ensure_future(leases("third").take(wait=True, report=report))
        await asyncio.wait_for(report.waits.wait(), 4 * LEASE_S)
        assert "stays locked" in report[0]
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
    lease.taking = asyncio.create_task(lease.take(wait=True, report=pytest.fail))
    with pytest.raises(asyncio.CancelledError):
        await lease.taking
    assert await holder_of(pool) == "stopped"
    await lease.release()
    assert await holder_of(pool) is None
    assert await take(leases("next")) == 2


async def test_a_standby_that_gives_up_leaves_no_connection(leases: Leases, pool: Pool) -> None:
    await leases.taken("holder", lease_s=600)
    report, standby = Telling(), leases("standby")
    async with in_the_background(standby.take(wait=True, report=report)):
        await report.waits.wait()
        assert await connections(pool) == 2
    await standby.release()
    async with asyncio.timeout(10):
        while await connections(pool) > 1:
            await asyncio.sleep(0.02)
    assert await holder_of(pool) == "holder"


async def test_holder_and_standby_outlast_a_restart_of_the_database(own_server: OwnServer) -> None:
    await upgrade(own_server.dsn)
    holder, standby = (Lease(own_server.dsn, ACCOUNT, n, lease_s=6) for n in ("holder", "standby"))
    report = Telling()
    other = Lease(own_server.dsn, "acct_other", "other", lease_s=6)
    assert await take(holder) == await take(other) == 1
    async with in_the_background(standby.take(wait=True, report=report)) as standing:
        async with in_the_background(holder.keep()) as keeping:
            await report.waits.wait()
            report.waits.clear()
            own_server.stop_immediately()
            with pytest.raises(DatabaseAwayError):
                await take(Lease(own_server.dsn, ACCOUNT, "third", lease_s=6))
            await other.release()  # if the database can be reached
            async with asyncio.timeout(5):
                await report.waits.wait()
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
    assert "does not answer" in report[1]
    await standby.release()
