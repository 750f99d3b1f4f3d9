"""``run`` while Stripe refuses: a key, a permission, a list; and while a proxy answers in Stripe's place."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.daemons import (
    OFTEN,
    Daemon,
    Place,
    becomes_equal,
    recent_stripe,
    running,
    until,
)
from tests.acceptance.stage import KEY, Stage

if TYPE_CHECKING:
    from pathlib import Path

OTHER_KEY = "rk_test_rotatedSECRET000000000000TAIL"
HOLDERS = "SELECT count(*) FROM refund_sync.lease_renewal WHERE expires_at > clock_timestamp()"
SHRUNK = """
from service.worker import life, refusal
refusal.ASK_AGAIN_S, life.AWAY_AFTER_S = {ask_again_s}, 0.5
from service.cli import main
main()
"""


@dataclass
class Quick(Place):
    """A stage whose daemon asks again within a second; *key* None leaves the key to a file."""

    key: str | None = KEY
    ask_again_s: float = 0.5
    more: dict[str, str] = field(default_factory=dict)

    def program(self) -> list[str]:
        return [sys.executable, "-c", SHRUNK.format(ask_again_s=self.ask_again_s)]

    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in super().environ().items() if k != "STRIPE_API_KEY"}
        return kept | ({"STRIPE_API_KEY": self.key} if self.key else {})


def _logged(daemon: Daemon, event: str) -> int:
    return sum(json.loads(line).get("event") == event for line in daemon.lines[:])


def _check(daemon: Daemon, name: str) -> str:
    return str(json.loads(daemon.get("/readyz")[1])["checks"].get(name, "ok"))


async def _free(stage: Stage) -> None:
    """Until no daemon holds the lease."""
    async with stage.connection() as connection, asyncio.timeout(40):
        while await connection.fetchval(HOLDERS):
            await asyncio.sleep(0.02)


async def test_a_refused_key_is_a_state_that_ends_when_stripe_accepts_it_again(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        stage = Quick(stripe, open_folder, database, OFTEN)
        with running(stage) as daemon:
            until(daemon.is_ready)
            assert daemon.metric("key_refused") == 0
            stripe.faults(unauthorized=True)
            until(lambda: daemon.metric("key_refused") == 1)
            assert "Invalid API Key provided" in _check(daemon, "key")
            assert daemon.get("/readyz")[0] == 503
            await _free(stage)
            stripe.change("new", 2)
            stripe.heal()
            until(daemon.is_ready)
            assert daemon.metric("key_refused") == 0
            await becomes_equal(stage)
            daemon.is_stopped()
            assert _logged(daemon, "key.refused") == 1
            assert _logged(daemon, "key.accepted") == 1
        await stage.assert_equal_to_stripe()


async def test_a_refused_permission_is_such_a_state_too_and_sigterm_ends_it(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        stage = Quick(stripe, open_folder, database, OFTEN, ask_again_s=3_600)
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(permissions_removed=["rak_charge_read"])
            until(lambda: daemon.metric("key_refused") == 1)
            await _free(stage)
            daemon.is_stopped()


async def test_a_key_that_was_rotated_is_read_from_its_file_again(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        file = open_folder / "stripe_api_key"
        file.write_text(KEY)
        more = {"STRIPE_API_KEY_FILE": str(file)}
        stage = Quick(stripe, open_folder, database, OFTEN, more, key=None)
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(keys_refused=[KEY])
            until(lambda: daemon.metric("key_refused") == 1)
            file.unlink()
            until(lambda: str(file) in _check(daemon, "key"))
            file.write_text(OTHER_KEY)
            until(daemon.is_ready)
            stripe.change("new", 2)
            await becomes_equal(stage)
            daemon.is_stopped()
            assert OTHER_KEY not in daemon.said
            assert KEY not in daemon.said
        await stage.assert_equal_to_stripe()


async def test_a_standby_with_another_key_works_while_the_first_key_is_refused(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        first_stage = Quick(stripe, open_folder, database, OFTEN)
        second_stage = Quick(stripe, open_folder, database, OFTEN, key=OTHER_KEY)
        with running(first_stage) as first:
            until(first.is_ready)
            with running(second_stage) as second:
                until(lambda: "works for acct_" in _check(second, "lease"))
                stripe.faults(keys_refused=[KEY])
                until(second.is_ready)
                assert first.metric("key_refused") == 1
                stripe.change("new", 2)
                await becomes_equal(second_stage)
                stripe.heal()
                until(lambda: f"pid {second.process.pid} works for" in _check(first, "lease"))
                assert first.metric("key_refused") == 0
                assert second.is_ready()
                first.is_stopped()
                second.is_stopped()
        await second_stage.assert_equal_to_stripe()


async def test_two_daemons_whose_keys_are_both_refused_leave_the_lease_alone_until_they_ask_again(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=100) as stripe:
        first_stage = Quick(stripe, open_folder, database, OFTEN, ask_again_s=3_600)
        second_stage = Quick(stripe, open_folder, database, OFTEN, key=OTHER_KEY, ask_again_s=3_600)
        with running(first_stage) as first:
            until(first.is_ready)
            with running(second_stage) as second:
                until(lambda: "works for acct_" in _check(second, "lease"))
                stripe.faults(unauthorized=True)
                until(lambda: second.metric("key_refused") == 1)
                await _free(first_stage)
                assert first.metric("key_refused") == 1
                (taken,) = await first_stage.select("SELECT epoch FROM refund_sync.lease")
                assert taken["epoch"] == 2
                first.is_stopped()
                second.is_stopped()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_page_of_a_proxy_is_an_outage_that_readiness_shows_at_once(
    database: str, open_folder: Path, status: int
) -> None:
    with recent_stripe(refunds=100) as stripe:
        stage = Quick(stripe, open_folder, database, OFTEN)
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(proxy_page=1, proxy_status=status)
            until(lambda: f"HTTP {status}" in _check(daemon, "Stripe"))
            assert daemon.metric("key_refused") == 0
            stripe.change("new", 2)
            stripe.heal()
            until(daemon.is_ready)
            await becomes_equal(stage)
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


@pytest.mark.parametrize("fault", ["list_400", "list_404", "error_in_200"])
async def test_a_list_that_stripe_refuses_fails_its_job_which_is_shown_and_tried_again(
    database: str, open_folder: Path, fault: str
) -> None:
    words = {"list_400": "This list cannot be given", "list_404": "No such list"}
    said = words.get(fault, "An unexpected error occurred")
    with recent_stripe(refunds=100) as stripe:
        stage = Quick(stripe, open_folder, database, OFTEN | {"deadline_s": 1})
        with running(stage) as daemon:
            until(daemon.is_ready)
            stripe.faults(**{fault: 1})
            until(lambda: said in _check(daemon, "newest part"))
            (account,) = stage.run("status").reported["accounts"]
            assert any(said in failing["error"] for failing in account["failing"])
            assert daemon.metric("runs_total", job="newest part", outcome="failed") > 0
            stripe.change("new", 2)
            stripe.heal()
            until(daemon.is_ready)
            await becomes_equal(stage)
            daemon.is_stopped()
            (account,) = stage.run("status").reported["accounts"]
            assert account["poll_interval_s"] == 1
        await stage.assert_equal_to_stripe()


def test_a_key_that_is_refused_at_the_start_ends_run_with_the_words_of_stripe(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=10) as stripe:
        stripe.faults(unauthorized=True)
        ran = Stage(stripe, open_folder, database, OFTEN).run("run", expect=4)
        assert "Invalid API Key provided" in ran.err
