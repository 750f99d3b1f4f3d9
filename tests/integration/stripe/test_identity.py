"""Whose refunds these are: nothing is written for an account that the key is not known to belong to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.operations import runs
from service.adapters.stripe.http.errors import StripeAccessError
from service.adapters.stripe.identity import Identity, resolve_account
from service.app import accounts
from service.domain.errors import SettingError
from service.settings import Settings
from tests.builders import CREATED, a_refund, an_observation, batch_of
from tests.integration.loopback import a_stripe, a_world
from tests.integration.warehouse import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.adapters.postgres.session.connect import Pool
    from service.adapters.postgres.session.database import Database
    from service.adapters.postgres.warehouse.store import PostgresStore
    from service.simulator.http.server import Simulator

OURS = "acct_1Simulated"
ACCOUNT_HIDDEN: dict[str, Any] = {"permissions_removed": ["rak_accounts_read"]}
NAMELESS = ACCOUNT_HIDDEN | {"account_unknown": True}


@asynccontextmanager
async def asked(
    faults: dict[str, Any], *, setting: str | None = None, stored: Sequence[str] = ()
) -> AsyncIterator[tuple[Identity, Simulator]]:
    """Who we are, by a Stripe that answers so."""
    world = a_world(20)

    async def newest(account_id: str) -> list[str]:
        assert account_id == setting
        return [world.plain(19)["id"] if one == "its newest" else one for one in stored]

    async with a_stripe(world) as (stripe, client):
        stripe.faults.set(faults)
        yield (
            await resolve_account(
                client, account_id_setting=setting, livemode=False, newest_stored=newest
            ),
            stripe,
        )


async def test_stripe_is_asked_for_the_account_of_the_key() -> None:
    async with asked({}) as (identity, stripe):
        assert identity == Identity(OURS, livemode=False, confirmed=True)
        assert dict(stripe.stats.requests) == {"GET /v1/account": 1}


async def test_a_key_that_may_not_ask_learns_its_account_by_the_refusal() -> None:
    async with asked(ACCOUNT_HIDDEN) as (identity, _):
        assert identity == Identity(OURS, livemode=False, confirmed=True)


async def test_where_stripe_names_no_account_the_setting_does() -> None:
    async with asked(NAMELESS, setting="acct_set") as (identity, stripe):
        assert identity == Identity("acct_set", livemode=False, confirmed=False)
        assert dict(stripe.stats.requests) == {"GET /v1/account": 1}


async def test_where_nothing_names_the_account_the_setting_is_asked_for() -> None:
    with pytest.raises(SettingError, match="no setting names it") as raised:
        async with asked(NAMELESS):
            pass
    assert "REFUND_SYNC_ACCOUNT_ID" in (raised.value.hint or "")
    assert raised.value.exit_code == 3


@pytest.mark.parametrize("faults", [{}, ACCOUNT_HIDDEN])
async def test_a_setting_that_agrees_with_stripe_is_fine_and_another_is_refused(
    faults: dict[str, Any],
) -> None:
    async with asked(faults, setting=OURS) as (identity, _):
        assert identity.confirmed
    with pytest.raises(SettingError, match=f"belongs to {OURS}.* says acct_other"):
        async with asked(faults, setting="acct_other"):
            pass


async def test_a_key_that_is_wrong_is_no_reason_to_believe_the_setting() -> None:
    with pytest.raises(StripeAccessError, match="Invalid API Key"):
        async with asked({"unauthorized": True}, setting=OURS):
            pass


@pytest.mark.parametrize("stored", [["its newest"], ["re_deleted", "re_gone", "its newest"]])
async def test_an_account_that_is_only_set_must_know_one_of_the_newest_stored_refunds(
    stored: list[str],
) -> None:
    async with asked(NAMELESS, setting=OURS, stored=stored) as (identity, _):
        assert identity == Identity(OURS, livemode=False, confirmed=False)
    with pytest.raises(SettingError, match=r"re_of_another.*another account"):
        async with asked(NAMELESS, setting=OURS, stored=["re_of_another", "re_of_others"]):
            pass


def settings_for(stripe: Simulator, **values: Any) -> Settings:
    given = {"stripe_api_key": "rk_test_identity0000", "stripe_api_base": stripe.url}
    return Settings.model_validate(given | values)


async def test_a_key_of_another_account_writes_nothing(store: PostgresStore, pool: Pool) -> None:
    """The refund that is stored for the account is not one that this key can see."""
    database = store._database
    await runs.register_account(database, ACCOUNT, livemode=False, wanted_from=CREATED)
    await store.write(batch_of(an_observation(a_refund("re_of_another"))))
    async with a_stripe() as (stripe, _):
        stripe.faults.set(NAMELESS)
        with pytest.raises(SettingError, match="another account"):
            async with accounts.open_account(settings_for(stripe, account_id=ACCOUNT), database):
                pass
        stripe.faults.set({"permissions_removed": []})
        with pytest.raises(SettingError, match=f"belongs to {OURS}"):
            async with accounts.open_account(settings_for(stripe, account_id=ACCOUNT), database):
                pass
    assert await pool.fetchval("SELECT array_agg(id) FROM refund_sync.account") == [ACCOUNT]
    assert await pool.fetchval("SELECT count(*) FROM refund_sync.run") == 0


@pytest.mark.parametrize(("held", "key"), [(True, "rk_test_0000"), (False, "rk_live_0000")])
async def test_a_key_of_the_other_mode_is_refused_before_stripe_is_asked(
    held: bool, key: str, store: PostgresStore, pool: Pool
) -> None:
    database = store._database
    await runs.register_account(database, ACCOUNT, livemode=held, wanted_from=CREATED)
    async with a_stripe() as (stripe, _):
        with pytest.raises(SettingError, match="mode"):
            async with accounts.open_account(settings_for(stripe, stripe_api_key=key), database):
                pass
        assert not stripe.stats.requests
    assert await pool.fetchval("SELECT array_agg(id) FROM refund_sync.account") == [ACCOUNT]


async def opened(stripe: Simulator, database: Database, **values: Any) -> str:
    async with accounts.open_account(settings_for(stripe, **values), database) as account:
        return account.id


async def test_stripe_is_asked_once_for_the_account_of_a_key(
    store: PostgresStore, pool: Pool
) -> None:
    database = store._database
    async with a_stripe() as (stripe, _):
        for key in ("rk_test_first0000", "rk_test_second0000"):
            for _ in range(3):
                assert await opened(stripe, database, stripe_api_key=key) == OURS
        assert dict(stripe.stats.requests) == {"GET /v1/account": 2}
        with pytest.raises(SettingError, match=f"belongs to {OURS}.* says acct_other"):
            await opened(stripe, database, stripe_api_key=key, account_id="acct_other")
    held = await pool.fetch("SELECT id, key_digests FROM refund_sync.account")
    assert [(row["id"], len(row["key_digests"])) for row in held] == [(OURS, 2)]


async def test_of_many_keys_the_newest_are_remembered(store: PostgresStore, pool: Pool) -> None:
    database = store._database
    async with a_stripe() as (stripe, _):
        for number in range(18):
            await opened(stripe, database, stripe_api_key=f"rk_test_many{number:04}")
        for key, asked in (("rk_test_many0017", 18), ("rk_test_many0000", 19)):
            await opened(stripe, database, stripe_api_key=key)
            assert dict(stripe.stats.requests) == {"GET /v1/account": asked}
    assert await pool.fetchval("SELECT cardinality(key_digests) FROM refund_sync.account") == 16


async def test_an_account_that_is_only_set_is_asked_for_each_time(
    store: PostgresStore, pool: Pool
) -> None:
    async with a_stripe() as (stripe, _):
        stripe.faults.set(NAMELESS)
        for _ in range(2):
            await opened(stripe, store._database, account_id=ACCOUNT)
        assert dict(stripe.stats.requests) == {"GET /v1/account": 2}
    assert await pool.fetchval("SELECT key_digests FROM refund_sync.account") == []


async def test_a_key_is_remembered_for_the_api_that_knew_it(store: PostgresStore) -> None:
    async with a_stripe() as (one, _), a_stripe() as (another, _):
        for stripe in (one, another):
            await opened(stripe, store._database)
            assert dict(stripe.stats.requests) == {"GET /v1/account": 1}
