"""verify where refunds are marked, undecodable, unread, or the verify is interrupted."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.acceptance.commands.test_verify import REFUNDS, found_in, some, stage, stripe, verify  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage, Stripe


async def test_a_refund_that_was_marked_gone_and_is_listed_is_a_difference_and_counts_again(
    stage: Stage, stripe: Stripe
) -> None:
    (marked,) = some(stripe, 0, 1)
    await stage.execute("UPDATE refund_sync.refund SET gone_at = now() WHERE id = $1", marked)
    ran = stage.run("verify", expect=7)
    assert found_in(ran.reported) == {"returned": [marked]}
    assert ran.reported["equal"] == REFUNDS - 1
    assert len(await stage.select("SELECT FROM finance.refunds")) == REFUNDS
    assert found_in(verify(stage)) == {}


async def test_what_cannot_be_decoded_is_named_and_counted_as_equal_by_nobody(
    stage: Stage, stripe: Stripe
) -> None:
    odd = some(stripe, 0, 2)
    stripe.change("spoil", ids=odd)
    ran = stage.run("verify", expect=8)
    assert found_in(ran.reported) == {"undecodable": sorted(odd)}
    assert ran.reported["equal"] == REFUNDS - 2
    assert "objects that could not be decoded: 2" in ran.err
    text = stage.run("verify", expect=8, as_json=False).out
    assert all(one in text for one in odd)
    stripe.change("fail", ids=some(stripe, 5, 1), events=False)
    assert found_in(verify(stage, expect=7))["undecodable"] == sorted(odd), "drift comes first"


async def test_claims_that_the_rows_contradict_are_revoked_and_claimed_again_by_a_repair(
    stage: Stage, stripe: Stripe
) -> None:
    await stage.execute(
        "UPDATE refund_sync.coverage_claim SET rows = rows + 1"
        " WHERE seq = (SELECT max(seq) FROM refund_sync.coverage_claim WHERE stream = 'refunds' AND rows > 0)"
    )
    reported = verify(stage, "--repair", expect=7)
    assert list(found_in(reported)) == ["contradicted"]
    assert reported["seconds_left"] == 0
    assert found_in(verify(stage)) == {}
    await stage.assert_no_invariant_is_broken()


async def test_what_a_repair_could_not_read_is_said(stage: Stage, stripe: Stripe) -> None:
    (wrong,) = some(stripe, 0, 1)
    await stage.execute("UPDATE refund_sync.refund SET amount_minor = 1 WHERE id = $1", wrong)
    stripe.faults(statuses={wrong: 400})
    ran = stage.run("verify", "--repair", expect=7)
    assert found_in(ran.reported) == {
        "drift": [wrong], "altered_here": [wrong], "unrepaired": [wrong],
    }  # fmt: skip
    assert "1 could not be read and stay as they were" in ran.err
    stripe.heal()
    assert "unrepaired" not in found_in(verify(stage, "--repair", expect=7))
    assert found_in(verify(stage)) == {}


async def test_an_interrupted_verify_changes_nothing(stage: Stage, stripe: Stripe) -> None:
    await stage.execute(
        "UPDATE refund_sync.refund SET amount_minor = 1 WHERE id = ANY($1)", some(stripe, 0, 1)
    )
    stripe.change("fail", ids=some(stripe, 5, 3), events=False)
    before = await contents(stage)
    stage.settings["endpoint_rate"] = 2
    read = stripe.stats()["requests"]["GET /v1/refunds"]
    process = stage.start("verify", "--repair")
    while stripe.stats()["requests"]["GET /v1/refunds"] < read + 3:
        assert process.poll() is None
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert await contents(stage) == before
    await stage.assert_no_invariant_is_broken()


async def contents(stage: Stage) -> list[str]:
    """What is stored of refunds and claimed of them, but for our own digests."""
    found = []
    for table in ("refund", "charge_link", "refund_version", "coverage_claim"):
        rows = await stage.select(
            f"SELECT (to_jsonb(t) - 'content_hash')::text FROM refund_sync.{table} t"
            " WHERE NOT to_jsonb(t) ->> 'stream' LIKE 'events%' OR NOT to_jsonb(t) ? 'stream'"
        )
        found += sorted(row[0] for row in rows)
    return found
