"""What happens to simulated refunds, and the truth that it leaves."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

import pytest
import stripe

from service.simulator.http.server import Simulator
from tests.integration.simulated import (
    DAY,
    END,
    START,
    Clock,
    a_refund,
    a_stripe,
    a_world,
    asked,
    find,
    ids,
    listed,
    post,
    read,
    reported,
    truth,
)


@pytest.mark.parametrize("kind", ["fail", "cancel"])
async def test_failed_and_canceled_refunds_give_the_money_back(kind: str) -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        wanted = a_refund(world, status="succeeded", charge=..., balance_transaction=...)
        before = find(world, wanted)
        charged = world.charge(before["charge"])
        sim.change(kind, ids=[wanted])
        after = find(world, wanted)
        lines = [world.line(after[f"{leg}balance_transaction"]) for leg in ("", "failure_")]
        assert sum(line["net"] for line in lines if line) == 0
        assert all(lines)
        left = world.charge(before["charge"])
        assert charged
        assert left
        assert charged["amount_refunded"] - left["amount_refunded"] == before["amount"]
        assert after["failure_reason"]


async def test_a_refund_that_was_settled_can_ask_for_details_again_and_settle_again() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        (wanted,) = sim.change("requires_action")
        assert find(world, wanted)["next_action"]["type"] == "display_details"
        sim.change("pending", ids=[wanted])
        assert find(world, wanted)["pending_reason"] == "processing"
        assert "next_action" not in find(world, wanted)
        sim.change("settle", ids=[wanted])
        after = find(world, wanted)
        assert after["status"] == "succeeded"
        assert world.line(after["balance_transaction"])
        assert "pending_reason" not in after


async def test_changes_are_asked_for_over_http_too() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        wanted = a_refund(world, status="succeeded", charge=...)
        status, answer = await post(sim, "change", kind="fail", ids=[wanted], events=False)
        assert (status, answer["ids"], answer["at"]) == (200, [wanted], END)
        assert find(world, wanted)["status"] == "failed"
        for values, message in (
            ({"kind": "explode"}, "no such change"),
            ({"kind": "settle", "ids": [wanted]}, "does not fit"),
            ({"kind": "fail", "ids": ["re_nobody"]}, "no such refund"),
            ({"kind": "new", "ids": [wanted]}, "takes no ids"),
            ({"kind": "new", "events": "often"}, "events is"),
            ({"kind": "new", "account": "acct_nobody"}, "no such account"),
            ({"kind": "late"}, "needs created"),
            ({"kind": "new", "colour": "red"}, "colour"),
        ):
            status, answer = await post(sim, "change", **values)
            assert status == 400
            assert message in answer["error"]


async def test_a_refund_that_arrives_late_stands_in_the_past_and_its_events_with_it() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        sim.change("new")
        (late,) = sim.change("late", created=END - 1_000)
        assert ids(await listed(sim, created=END - 1_000)) == [late]
        assert (await listed(sim, "events"))[-1]["data"]["object"]["id"] == late


async def test_a_hidden_refund_is_read_by_id_only_and_a_deleted_one_not_at_all() -> None:
    world = a_world(300, hot_second=60)
    async with a_stripe(world) as sim:
        everything = ids(await listed(sim, limit=100))
        hidden, deleted = sim.change("hide", count=40), sim.change("delete", count=30)
        left = [i for i in everything if i not in {*hidden, *deleted}]
        assert len(left) == 230
        assert ids(await listed(sim, limit=7)) == left
        assert ids(await listed(sim, limit=7, ending_before=left[-1])) == left[-2::-1]
        charge = find(world, hidden[0])["charge"]
        assert hidden[0] not in ids(await listed(sim, charge=charge))
        found = await asked(sim, lambda client: client.v1.refunds.retrieve(hidden[0]).id)
        assert found == hidden[0]
        with pytest.raises(stripe.InvalidRequestError, match="No such refund"):
            await asked(sim, lambda client: client.v1.refunds.retrieve(deleted[0]))
        assert await truth(sim) == set(left)
        assert await truth(sim, "?all=1") == {*left, *hidden}
        assert sorted(sim.change("unhide", count=40)) == sorted(hidden)
        assert await truth(sim) == {*left, *hidden}
        assert len(await listed(sim, limit=100)) == 270


async def test_a_spoiled_refund_is_mended() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        (wanted,) = sim.change("spoil")
        amount = find(world, wanted)["amount"]
        assert isinstance(amount, str)
        assert sim.change("mend") == [wanted]
        assert find(world, wanted)["amount"] == int(amount)


async def test_thousands_of_refunds_of_the_past_leave_every_id_findable_in_its_place() -> None:
    world, chance = a_world(1_000, hot_second=100), random.Random(3)
    async with a_stripe(world) as sim:
        seconds = [START, END - 5, START + 15 * DAY + 17]
        for _ in range(500):
            second = chance.choice([*seconds, chance.randrange(START, END)])
            sim.change("late", created=second)
        assert list(world.created) == sorted(world.created)
        assert [world.place_of(world.plain(p)["id"]) for p in range(1_500)] == list(range(1_500))
        assert len(set(ids(await listed(sim, limit=100)))) == 1_500


async def test_months_pass_as_the_clock_that_was_given_says() -> None:
    world, clock = a_world(), Clock(START + 10 * DAY)
    async with Simulator(world, now=clock) as sim:
        assert 90 < len(await truth(sim)) < 110
        unborn = world.plain(len(world.slots) - 1)["id"]
        assert (await read(sim, f"/v1/refunds/{unborn}"))[0] == 404
        clock.t = END + 100 * DAY
        (made,) = sim.change("new")
        assert find(world, made)["created"] == END + 100 * DAY
        assert {event["created"] for event in reported(world)} == {END + 100 * DAY}
        status, _, date = await read(sim, f"/v1/refunds/{unborn}")
        assert status == 200
        assert parsedate_to_datetime(date).timestamp() == END + 100 * DAY
        await post(sim, "clock", offset_s=60)
        _, _, date = await read(sim, "/v1/account")
        assert parsedate_to_datetime(date).timestamp() == END + 100 * DAY + 60
