"""Which events the simulator makes of changes, and the list of events that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

from service.simulator.http.server import Simulator
from tests.integration.simulated import (
    DAY,
    END,
    Clock,
    a_refund,
    a_stripe,
    a_world,
    asked,
    find,
    ids,
    listed,
    reported,
    types,
)

if TYPE_CHECKING:
    from service.simulator.world.account import World

CREATED = ["refund.created", "charge.refunded"]
UPDATED = ["refund.updated", "charge.refund.updated"]
FAILED = ["refund.failed", "charge.refund.updated"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("new", CREATED),
        ("second_refund", CREATED),
        *((kind, UPDATED) for kind in (
            "settle", "cancel", "requires_action", "pending", "arn", "metadata",
        )),
        ("fail", FAILED),
        *((kind, []) for kind in ("hide", "delete", "spoil")),
    ],
)  # fmt: skip
async def test_a_change_makes_the_events_that_stripe_makes(kind: str, expected: list[str]) -> None:
    world = a_world(2_000)
    async with a_stripe(world) as sim:
        (changed,) = sim.change(kind)
        assert types(world) == expected
        refunds = {o["id"] for o in objects_of(world) if o["object"] == "refund"}
        assert refunds <= {changed}
        assert [("previous_attributes" in event["data"]) for event in reported(world)] == [
            kind_.endswith("updated") for kind_ in expected
        ]


def objects_of(world: World) -> list[dict[str, Any]]:
    return [event["data"]["object"] for event in reported(world)]


async def test_a_change_that_nobody_hears_of_is_a_change_all_the_same() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        (changed,) = sim.change("fail", events=False)
        assert find(world, changed)["status"] == "failed"
        assert types(world) == []


async def test_an_account_of_an_old_version_reports_a_charges_refunds_by_its_charge_alone() -> None:
    world = a_world(2_000)
    async with a_stripe(world) as sim:
        sim.change("new", events="old")
        sim.change("fail", events="old")
        assert types(world) == ["charge.refunded", "charge.refund.updated"]
        assert {event["api_version"] for event in reported(world)} == {"2022-11-15"}
        sim.change("metadata", events="old", ids=[a_refund(world, charge=None)])
        assert types(world)[2:] == ["refund.updated"]


async def test_what_an_event_holds_is_as_it_was_then_and_of_an_older_version() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        wanted = a_refund(world, status="succeeded", charge=...)
        sim.change("metadata", ids=[wanted])
        sim.change("fail", ids=[wanted])
        event = reported(world)[0]
        assert event["data"]["object"]["status"] == "succeeded"
        assert event["data"]["previous_attributes"].keys() == {"metadata"}
        assert "customer" not in event["data"]["object"]
        assert "customer" in find(world, wanted)


async def test_events_are_paged_both_ways_in_one_order_ties_included() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        sim.change("new", count=30)
        for second in (END - 50, END - 500, END - 50):
            sim.change("late", count=20, created=second)
        newest_first = [event["id"] for event in reversed(reported(world))]
        assert [e["created"] for e in reported(world)] == sorted(
            e["created"] for e in reported(world)
        )
        assert ids(await listed(sim, "events", limit=7)) == newest_first
        assert (
            ids(await listed(sim, "events", limit=7, starting_after=newest_first[9]))
            == newest_first[10:]
        )
        back = ids(await listed(sim, "events", limit=7, ending_before=newest_first[-1]))
        assert back == newest_first[-2::-1]
        assert len(set(newest_first)) == 180


async def test_events_are_filtered_by_type_types_and_created() -> None:
    world = a_world(2_000)
    async with a_stripe(world) as sim:
        for kind in ("new", "fail", "metadata"):
            sim.change(kind, count=5)
        sim.change("late", created=END - 100)

        async def kinds(**params: Any) -> set[str]:
            return {event["type"] for event in await listed(sim, "events", limit=3, **params)}

        assert await kinds() == {*CREATED, *UPDATED, *FAILED}
        assert await kinds(type="refund.failed") == {"refund.failed"}
        assert await kinds(type="charge.*") == {"charge.refunded", "charge.refund.updated"}
        assert await kinds(types=CREATED) == set(CREATED)
        assert len(await listed(sim, "events", created={"lt": END})) == 2
        assert len(await listed(sim, "events", created=END, types=["refund.created"])) == 5
        for refused in (
            {"types": [f"kind.{n}" for n in range(21)]},
            {"types": CREATED, "type": "refund.created"},
        ):
            with pytest.raises(stripe.InvalidRequestError, match="types"):
                await listed(sim, "events", **refused)


async def test_an_event_older_than_thirty_days_is_gone() -> None:
    world = a_world()
    clock = Clock()
    async with Simulator(world, now=clock) as sim:
        sim.change("new")
        old = reported(world)[0]["id"]
        clock.t += 30 * DAY
        assert len(await listed(sim, "events")) == 2
        clock.t += 1
        sim.change("new")
        assert ids(await listed(sim, "events")) == [e["id"] for e in reversed(reported(world)[2:])]
        assert await listed(sim, "events", created={"lt": END + 5}) == []
        with pytest.raises(stripe.InvalidRequestError, match="No such event"):
            await asked(sim, lambda client: client.v1.events.retrieve(old))
        with pytest.raises(stripe.InvalidRequestError, match="No such event"):
            await listed(sim, "events", starting_after=old)


async def test_events_become_visible_late_where_a_fault_says_so() -> None:
    clock = Clock()
    async with Simulator(a_world(), now=clock) as sim:
        sim.faults.set({"late_visibility_s": 300})
        sim.change("new")
        for waited, seen in ((299, 0), (1, 2)):
            clock.t += waited
            assert len(await listed(sim, "events")) == seen
            assert len(await listed(sim, "refunds", created={"gte": END})) == seen // 2


async def test_reading_events_takes_a_permission() -> None:
    async with a_stripe() as sim:
        sim.change("new")
        sim.faults.set({"permissions_removed": ["rak_event_read"]})
        with pytest.raises(stripe.PermissionError, match="rak_event_read"):
            await listed(sim, "events")
        assert await listed(sim, "refunds", limit=100)
