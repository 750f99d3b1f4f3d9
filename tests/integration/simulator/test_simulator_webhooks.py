"""Events that the simulator pushes, with the official library as judge of their signatures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import stripe

from service.simulator.http.webhooks import Hook
from tests.integration.simulated import (
    END,
    KEY,
    a_receiver,
    a_stripe,
    a_world,
    post,
    read,
)

if TYPE_CHECKING:
    from service.simulator.world.account import World

SECRET = "whsec_simulated"


async def test_events_are_pushed_with_a_signature_that_the_library_accepts() -> None:
    world = a_world()
    async with a_stripe(world) as sim, a_receiver() as receiver:
        status, _ = await post(sim, "webhooks", url=receiver.url, secret=SECRET)
        assert status == 200
        sim.change("new", count=3)
        await sim.webhooks.settled()
        for body, signature in receiver.taken:
            event = stripe.Webhook.construct_event(body, signature, SECRET, tolerance=1 << 40)
            assert event.to_dict() == world.events.by_id[event.id] | {"pending_webhooks": 1}
            for wrong in ((body + b" ", SECRET), (body, "whsec_other")):
                with pytest.raises(stripe.SignatureVerificationError):
                    stripe.Webhook.construct_event(wrong[0], signature, wrong[1], tolerance=1 << 40)
        assert len(receiver.taken) == 6
        assert f"t={END}," in receiver.taken[0][1]


async def test_thin_notifications_name_the_refund_and_hold_nothing_of_it() -> None:
    world = a_world()
    async with a_stripe(world) as sim, a_receiver() as receiver:
        sim.webhooks.add(Hook(receiver.url, SECRET, thin=True, account="acct_1Connected"))
        changed = [*sim.change("new"), *sim.change("metadata"), *sim.change("fail")]
        await sim.webhooks.settled()
        library = stripe.StripeClient(KEY)
        notes: list[Any] = [
            library.parse_event_notification(body, signature, SECRET, tolerance=1 << 40)
            for body, signature in receiver.taken
        ]
        assert [(note.type, note.related_object.id, note.related_object.url) for note in notes] == [
            (f"v1.refund.{what}", refund, f"/v1/refunds/{refund}")
            for what, refund in zip(("created", "updated", "failed"), changed, strict=True)
        ]
        assert {str(note.context) for note in notes} == {"acct_1Connected"}
        assert all(b"amount" not in body for body, _ in receiver.taken)


async def test_events_of_a_connected_account_name_it() -> None:
    other = a_world(account="acct_1Other")
    async with a_stripe(others={"acct_1Other": other}) as sim, a_receiver() as receiver:
        sim.webhooks.add(Hook(receiver.url, SECRET))
        sim.change("new")
        sim.change("new", account="acct_1Other")
        await sim.webhooks.settled()
        accounts = [json.loads(body).get("account") for body, _ in receiver.taken]
        assert accounts == [None, None, "acct_1Other", "acct_1Other"]


async def test_a_delivery_is_tried_again_until_it_is_taken_or_the_tries_are_used_up() -> None:
    async with a_stripe() as sim, a_receiver([500, 302, 400]) as receiver:
        sim.webhooks.add(Hook(receiver.url, SECRET, thin=True, tries=4, retry_s=0.01))
        sim.change("new")
        await sim.webhooks.settled()
        assert [body for body, _ in receiver.taken] == [receiver.taken[0][0]] * 4
        sim.webhooks.add(Hook("http://127.0.0.1:9/", SECRET, thin=True, tries=2, retry_s=0.01))
        sim.change("new")
        await sim.webhooks.settled()
        _, stats, _ = await read(sim, "/_sim/stats")
        assert stats["deliveries"] == 7
        assert stats["deliveries_waiting"] == 0
        assert stats["delivery_statuses"] == {
            "500": 1, "302": 1, "400": 1, "200": 2, "unreachable": 2,
        }  # fmt: skip


async def delivered(world: World, **options: Any) -> tuple[list[str], list[str]]:
    """The ids of sixty events, as they were sent and as they came."""
    async with a_stripe(world) as sim, a_receiver() as receiver:
        sim.webhooks.add(Hook(receiver.url, SECRET, late_s=0.2, **options))
        sim.change("new", count=30)
        await sim.webhooks.settled()
        return list(world.events.by_id), [json.loads(body)["id"] for body, _ in receiver.taken]


async def test_deliveries_are_lost_doubled_and_reordered_as_chance_was_asked_to() -> None:
    sent, came = await delivered(a_world(), lose=0.5)
    assert 15 < len(came) < 45
    assert set(came) <= set(sent)
    sent, came = await delivered(a_world(), double=0.5)
    assert 75 < len(came) < 105
    assert set(came) == set(sent)
    sent, came = await delivered(a_world(), reorder=0.5)
    assert came != sent
    assert sorted(came) == sorted(sent)
    assert await delivered(a_world(), lose=1) == (sent, [])


async def test_a_simulator_that_ends_leaves_no_delivery_behind() -> None:
    async with a_stripe() as sim:
        sim.webhooks.add(Hook("http://127.0.0.1:9/", SECRET, retry_s=30))
        sim.change("new", count=50)
        assert sim.webhooks.waiting == 100
    assert sim.webhooks.waiting == 0


async def test_webhooks_go_to_loopback_only() -> None:
    async with a_stripe() as sim:
        status, answer = await post(sim, "webhooks", url="http://192.0.2.1/", secret=SECRET)
        assert status == 400
        assert "loopback" in answer["error"]
