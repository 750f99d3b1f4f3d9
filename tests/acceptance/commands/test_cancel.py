"""``cancel``, the one command that writes to Stripe: only what was meant, once, and stored at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from service.adapters.postgres.session.clock import SystemClock
from service.adapters.stripe.client import StripeClient
from service.adapters.stripe.http.limits import Limits
from tests.acceptance.stage import KEY, Stage, Stripe, simulated_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANCEL = "POST /v1/refunds/{id}/cancel"
ACCOUNT = "GET /v1/account"
LATENCY_MS = 150


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with simulated_stripe(refunds=60, latency_ms=LATENCY_MS) as stripe:
        yield stripe


@pytest.fixture
def stage(stripe: Stripe, database: str, open_folder: Path) -> Stage:
    return Stage(stripe, open_folder, database)


def waiting_for_its_customer(stripe: Stripe) -> str:
    (refund_id,) = stripe.change("requires_action", events=False)
    return refund_id


def status_of(stripe: Stripe, refund_id: str) -> str:
    return next(str(p["status"]) for p in stripe.truth() if p["id"] == refund_id)


async def versions_of(stage: Stage, refund_id: str) -> list[tuple[int, str, str]]:
    found = await stage.select(
        "SELECT version, source, raw ->> 'status' FROM refund_sync.refund_version"
        " WHERE refund_id = $1 ORDER BY version",
        refund_id,
    )
    return [(row[0], row[1], row[2]) for row in found]


async def test_what_waits_for_its_customer_is_cancelled_and_stored_with_a_version_of_its_own(
    stage: Stage, stripe: Stripe
) -> None:
    refund_id = waiting_for_its_customer(stripe)
    stage.run("sync")
    ran = stage.run("cancel", refund_id, "--yes")
    assert ran.reported["refunds"][0]["refund"]["status"] == "canceled"
    assert status_of(stripe, refund_id) == "canceled"
    versions = await versions_of(stage, refund_id)
    assert versions == [(1, "list", "requires_action"), (2, "cancel", "canceled")]
    await stage.assert_equal_to_stripe()
    waiting = await stage.select(
        "SELECT why FROM refund_sync.recheck WHERE object_id = $1", refund_id
    )
    assert "unhydrated" not in [row["why"] for row in waiting]
    assert "canceled, and stored so" in cancelled_text(stage, stripe)


def cancelled_text(stage: Stage, stripe: Stripe) -> str:
    """What a person reads, of a refund that was never synced."""
    return stage.run("cancel", waiting_for_its_customer(stripe), "-y", as_json=False).out


async def test_what_stripe_refuses_is_printed_in_its_words_and_changes_nothing(
    stage: Stage, stripe: Stripe
) -> None:
    succeeded = next(p["id"] for p in stripe.truth() if p["status"] == "succeeded")
    ran = stage.run("cancel", succeeded, "--yes", expect=10)
    assert "You can only cancel a refund with a status of requires_action" in ran.err
    assert stripe.stats()["requests"][CANCEL] == 1
    stage.run("cancel", "re_unknown", "--yes", expect=11)
    assert await stage.select("SELECT FROM refund_sync.refund") == []
    outcomes = await stage.select("SELECT job, outcome FROM refund_sync.run")
    assert [tuple(row) for row in outcomes] == [("cancel", "failed")] * 2


def test_a_key_that_may_not_write_learns_which_permission_it_misses(
    stage: Stage, stripe: Stripe
) -> None:
    refund_id = waiting_for_its_customer(stripe)
    stripe.faults(permissions_removed=["rak_charge_write"])
    ran = stage.run("cancel", refund_id, "--yes", expect=4)
    assert "Charges and Refunds: Write" in ran.err
    assert KEY not in ran.err
    assert status_of(stripe, refund_id) == "requires_action"


async def test_the_answer_is_kept_though_nothing_can_be_read_after_it(
    stage: Stage, stripe: Stripe
) -> None:
    refund_id = waiting_for_its_customer(stripe)
    stripe.faults(permissions_removed=["rak_charge_read"])
    ran = stage.run("cancel", refund_id, "--yes")
    assert ran.reported["refunds"][0]["refund"]["status"] == "canceled"
    assert await versions_of(stage, refund_id) == [(1, "cancel", "canceled")]
    (waiting,) = await stage.select("SELECT why FROM refund_sync.recheck")
    assert waiting["why"] == "unhydrated"


async def test_an_answer_lost_on_its_way_is_asked_for_again_and_cancels_nothing_twice(
    stage: Stage, stripe: Stripe
) -> None:
    """Under another key the second try would be refused: the refund is cancelled by then."""
    refund_id = waiting_for_its_customer(stripe)
    process = stage.start("cancel", refund_id, "--yes")
    while not stripe.stats()["requests"].get(ACCOUNT):
        assert process.poll() is None
        await asyncio.sleep(LATENCY_MS / 10_000)
    stripe.faults(reset_in_body=1.0, next=2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["refunds"][0]["refund"]["status"] == "canceled"
    assert stripe.stats()["requests"][CANCEL] == 3
    assert await versions_of(stage, refund_id) == [(1, "cancel", "canceled")]


def test_it_asks_first_and_does_nothing_where_nobody_can_be_asked(
    stage: Stage, stripe: Stripe
) -> None:
    refund_id = waiting_for_its_customer(stripe)
    ran = stage.run("cancel", refund_id, expect=2)
    assert f"refund-sync cancel {refund_id} --yes" in ran.err
    code, _ = answered(stage, refund_id, "n")
    assert code == 2
    assert stripe.stats()["requests"] == {}
    assert status_of(stripe, refund_id) == "requires_action"
    code, reported = answered(stage, refund_id, "y")
    assert (code, "cannot be undone" in reported) == (0, True)
    assert status_of(stripe, refund_id) == "canceled"


def answered(stage: Stage, refund_id: str, answer: str) -> tuple[int, str]:
    """The exit code and what was said to a person at a terminal who answers so."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        ran = subprocess.run(
            [sys.executable, "-m", "service", "cancel", refund_id],
            env=stage.environ(), cwd=stage.folder, stdin=theirs, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(
    "endpoint",
    [
        "POST /v1/refunds", "POST /v1/refunds/:id", "POST /v1/charges/:id", "DELETE /v1/refunds/:id",
        "POST /v1/test_helpers/refunds/:id/expire", "PUT /v1/refunds/:id/cancel",
        "GET /v1/customers/:id",
    ],
)  # fmt: skip
async def test_the_client_sends_nothing_else_that_writes(endpoint: str) -> None:
    """Refused before anything is sent: nobody listens there, and no connection is tried."""

    def decode(_: bytes) -> Any:
        raise AssertionError("nothing may be answered")

    nowhere = "http://127.0.0.1:9"
    limits = Limits(endpoint_rate=100, global_rate=100, concurrency=1)
    async with StripeClient(KEY, now=SystemClock().now, limits=limits, base=nowhere) as client:
        with pytest.raises(ValueError, match="not an endpoint that is ever asked"):
            await client.send(endpoint, decode, object_id="re_1")
        assert client.counters.requests == {}
