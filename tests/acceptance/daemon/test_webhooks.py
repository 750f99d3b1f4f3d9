"""Webhooks to the daemon, end to end: Stripe pushes, the warehouse follows; lost, doubled and false ones harm nobody."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.acceptance.daemons import OFTEN, becomes_equal, recent_stripe, running, until
from tests.acceptance.stage import Stage
from tests.webhooks import an_event, signed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.daemons import Daemon
    from tests.acceptance.stage import Stripe

OLD, SECRET = "whsec_acceptanceOld", "whsec_acceptanceNew"
SETTINGS = OFTEN | {"lease_s": 2, "webhook_secrets": f"{OLD},{SECRET}"}
SELDOM = SETTINGS | {"sync_interval_s": 300}
"""No poll after the first: what is found, a webhook brought."""
EVENTS = "GET /v1/events"
BOUND_S = 10.0
"""Far above what is promised: so that a slow machine fails nothing."""


def push(stripe: Stripe, daemon: Daemon, secret: str = SECRET, **hook: object) -> None:
    """From now on Stripe's events go there, too."""
    stripe.call("POST", "webhooks", url=route(daemon), secret=secret, **hook)


def route(daemon: Daemon) -> str:
    return f"http://{daemon.address}/webhooks/stripe"


def all_delivered(stripe: Stripe) -> dict[str, int]:
    """Waits for the last delivery; how many met which status."""
    until(lambda: stripe.stats()["deliveries_waiting"] == 0)
    return dict(stripe.stats()["delivery_statuses"])


def is_at_rest(daemon: Daemon) -> bool:
    """History is filled, and the polls are over for long."""
    return bool(daemon.metric("runs_total", job="fill of history", outcome="ok"))


async def test_a_change_is_in_the_warehouse_as_soon_as_its_webhook_whichever_secret_signed_it(
    database: str, open_folder: Path
) -> None:
    with recent_stripe() as stripe:
        stage = Stage(stripe, open_folder, database, SELDOM)
        with running(stage) as daemon:
            until(lambda: is_at_rest(daemon))
            polls = stripe.stats()["requests"][EVENTS]
            kinds = ("metadata", "new", "fail", "arn", "second_refund", "metadata")
            hooks: list[dict[str, Any]] = [{"secret": OLD}, {"thin": True}]
            waits: list[float] = []
            for hook in hooks:
                push(stripe, daemon, **hook)
                waits += [await _until_written(stage, kind) for kind in kinds * 8]
                stripe.call("DELETE", "webhooks")
            waits.sort()
            p95 = waits[int(len(waits) * 0.95)]
            print(f"from change to warehouse: median {median(waits):.3f} s, p95 {p95:.3f} s")
            assert p95 < BOUND_S
            assert await _sources(stage) == {"list", "hint"}
            assert stripe.stats()["requests"][EVENTS] == polls
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


async def _until_written(stage: Stage, kind: str) -> float:
    """Seconds from a change to the moment at which its version was written."""
    began = time.time()
    (object_id,) = stage.stripe.change(kind)
    async with stage.connection() as connection:
        while time.time() - began < 3 * BOUND_S:
            recorded_at = await connection.fetchval(
                "SELECT extract(epoch FROM max(recorded_at))::float8 FROM refund_sync.refund_version"
                " WHERE refund_id = $1",
                object_id,
            )
            if recorded_at and recorded_at > began:
                return float(recorded_at - began)
    raise AssertionError(f"{kind} never came")


async def _sources(stage: Stage) -> set[str]:
    found = await stage.select("SELECT DISTINCT source FROM refund_sync.refund_version")
    return {row[0] for row in found}


async def test_lost_doubled_and_late_ones_do_no_harm_and_polls_grow_rare_only_while_all_agrees(
    database: str, open_folder: Path
) -> None:
    with recent_stripe() as stripe:
        stage = Stage(stripe, open_folder, database, SETTINGS)
        with running(stage) as daemon:
            until(lambda: is_at_rest(daemon))
            until(lambda: _polled_within(stripe, 2.5))  # each second, where no webhook arrives
            push(stripe, daemon, double=0.5, reorder=0.5)
            for kind in ("metadata", "fail", "arn", "new"):
                stripe.change(kind, 10)
            await becomes_equal(stage)
            assert set(all_delivered(stripe)) == {"200"}
            until(lambda: not _polled_within(stripe, 2.5))
            assert daemon.is_ready()
            stripe.call("DELETE", "webhooks")
            stripe.change("metadata", 5)
            await becomes_equal(stage)
            until(lambda: _polled_within(stripe, 1.7) and _polled_within(stripe, 1.7))
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


def _polled_within(stripe: Stripe, seconds: float) -> bool:
    before, deadline = stripe.stats()["requests"][EVENTS], time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stripe.stats()["requests"][EVENTS] > before:
            return True
        time.sleep(0.05)
    return False


async def test_a_standby_takes_webhooks_in_for_the_daemon_that_works(
    database: str, open_folder: Path
) -> None:
    """Polls find no events here: the key may not read any."""
    with recent_stripe(refunds=300) as stripe:
        stripe.faults(permissions_removed=["rak_event_read"])
        stage = Stage(stripe, open_folder, database, SETTINGS)
        with running(stage) as first:
            until(lambda: is_at_rest(first))
            with running(stage) as second:
                assert "lease" in second.wrong()
                push(stripe, second)
                for kind in ("metadata", "fail", "new"):
                    stripe.change(kind, 5)
                await becomes_equal(stage)
                assert set(all_delivered(stripe)) == {"200"}
                assert "lease" in second.wrong()
                assert second.metric("webhooks_total", outcome="kept") > 0
                second.is_stopped()
            first.is_stopped()
        await stage.assert_equal_to_stripe()


async def test_a_burst_of_a_thousand_is_absorbed_and_read_at_the_pace_of_the_limits(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(limits="test") as stripe:
        pace = {"endpoint_rate": 25, "global_rate": 25}
        stage = Stage(stripe, open_folder, database, SELDOM | pace)
        with running(stage) as daemon:
            until(lambda: is_at_rest(daemon))
            push(stripe, daemon)
            began = time.monotonic()
            stripe.change("metadata", 500)
            statuses = all_delivered(stripe)
            took_s = time.monotonic() - began
            assert set(statuses) == {"200"}
            assert statuses["200"] > 950, "a refund without a charge has one event, the others two"
            await becomes_equal(stage)
            print(
                f"1,000 taken in within {took_s:.1f} s, read after {time.monotonic() - began:.1f} s"
            )
            assert not stripe.stats()["rate_limited"]
            assert daemon.metric("webhooks_total", outcome="kept") == statuses["200"]
            daemon.is_stopped()
        await stage.assert_equal_to_stripe()


async def test_one_that_stripe_did_not_sign_changes_nothing(
    database: str, open_folder: Path
) -> None:
    with recent_stripe(refunds=300) as stripe:
        stage = Stage(stripe, open_folder, database, SELDOM)
        with running(stage) as daemon:
            until(lambda: is_at_rest(daemon))
            before = stripe.stats()["requests"]
            push(stripe, daemon, secret="whsec_somebodyElse", tries=1)
            changed = stripe.change("metadata", 20)
            assert all_delivered(stripe) == {"400": 40}
            body = an_event(changed[0])
            second = time.time()
            for header in ("", "t=1", signed(b"{}", SECRET), signed(body, SECRET, second=second - 400),
                           signed(body, SECRET, second=second + 400)):  # fmt: skip
                assert _posted(daemon, body, header) == 400
            assert _posted(daemon, b"not an event", signed(b"not an event", SECRET)) == 400
            assert not await stage.select(
                "SELECT FROM refund_sync.recheck WHERE hinted_at IS NOT NULL"
            )
            assert stripe.stats()["requests"] == before
            assert daemon.metric("webhooks_total", outcome="kept") == 0
            assert _posted(daemon, body, signed(body, SECRET)) == 200
            daemon.is_stopped()
        with running(Stage(stripe, open_folder, database, OFTEN)) as without:
            assert _posted(without, body, signed(body, SECRET)) == 404
            until(without.is_ready)
            await becomes_equal(stage)
            without.is_stopped()
        await stage.assert_equal_to_stripe()


def _posted(daemon: Daemon, body: bytes, signature: str) -> int:
    headers = {"Content-Type": "application/json"}
    if signature:
        headers["Stripe-Signature"] = signature
    try:
        with urlopen(Request(route(daemon), body, headers, method="POST"), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
