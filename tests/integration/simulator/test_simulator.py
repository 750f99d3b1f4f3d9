"""The simulated lists, page by page, as Stripe's official library reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
import stripe

from service.simulator.world.objects import EXPANDED, KINDS
from tests.integration.simulated import (
    END,
    KEY,
    START,
    a_refund,
    a_stripe,
    a_world,
    asked,
    find,
    ids,
    listed,
)

if TYPE_CHECKING:
    from service.simulator.http.server import Simulator

EVERYTHING = [f"data.{name}" for name in EXPANDED]


@pytest.mark.parametrize("limit", [7, 50, 100])
async def test_the_library_pages_both_ways_through_the_whole_truth_ties_included(
    limit: int,
) -> None:
    world = a_world(300, hot_second=120)
    truth = ids(list(world.truth()))
    async with a_stripe(world) as sim:
        assert ids(await listed(sim, limit=limit)) == truth[::-1]
        assert ids(await listed(sim, limit=limit, starting_after=truth[150])) == truth[149::-1]
        assert ids(await listed(sim, limit=limit, ending_before=truth[0])) == truth[1:]
        assert ids(await listed(sim, limit=limit, ending_before=truth[150])) == truth[151:]


async def test_each_refund_is_listed_as_the_truth_has_it() -> None:
    world = a_world(2_000)
    async with a_stripe(world) as sim:
        sim.change("new", count=20)
        for kind in ("fail", "arn", "metadata", "settle"):
            sim.change(kind, count=3)
        assert await listed(sim, limit=100) == list(world.truth())[::-1]


async def a_page(sim: Simulator, **params: Any) -> tuple[list[str], bool]:
    def read(client: stripe.StripeClient) -> tuple[list[str], bool]:
        page = client.v1.refunds.list(cast(Any, params))
        return [refund.id for refund in page.data], page.has_more

    return await asked(sim, read)


async def test_a_page_is_newest_first_in_both_directions_and_says_whether_there_is_more() -> None:
    world = a_world(40)
    truth = ids(list(world.truth()))[::-1]
    async with a_stripe(world) as sim:
        for params, expected, more in (
            ({}, truth[:10], True),
            ({"starting_after": truth[9]}, truth[10:20], True),
            ({"starting_after": truth[29]}, truth[30:], False),
            ({"starting_after": truth[-1]}, [], False),
            ({"ending_before": truth[30]}, truth[20:30], True),
            ({"ending_before": truth[10]}, truth[:10], False),
            ({"ending_before": truth[0]}, [], False),
            ({"limit": 40}, truth, False),
            ({"limit": 39}, truth[:39], True),
        ):
            assert await a_page(sim, **params) == (expected, more)


async def test_every_form_of_the_created_filter_counts_whole_seconds() -> None:
    world = a_world(300, hot_second=50)
    second = world.plain(200)["created"]
    async with a_stripe(world) as sim:
        for created, fits in (
            (second, lambda s: s == second),
            ({"gt": second}, lambda s: s > second),
            ({"gte": second}, lambda s: s >= second),
            ({"lt": second}, lambda s: s < second),
            ({"lte": second}, lambda s: s <= second),
            ({"gte": second, "lt": second + 1}, lambda s: s == second),
            ({"gt": START, "lte": second}, lambda s: START < s <= second),
            ({"gte": END}, lambda _: False),
        ):
            expected = [plain["id"] for plain in world.truth() if fits(plain["created"])][::-1]
            assert ids(await listed(sim, created=created, limit=20)) == expected
        with pytest.raises(stripe.InvalidRequestError, match="unknown parameter"):
            await listed(sim, created={"near": second})


async def test_a_cursor_and_a_created_filter_work_together() -> None:
    world = a_world(300, hot_second=120)
    places = range(20, 200)
    span = {"gte": world.created[20], "lt": world.created[200]}
    truth = [world.plain(p)["id"] for p in places if world.created[p] < world.created[200]]
    async with a_stripe(world) as sim:
        back = ids(await listed(sim, created=span, limit=7, starting_after=truth[90]))
        assert back == truth[89::-1]
        on = ids(await listed(sim, created=span, limit=7, ending_before=truth[90]))
        assert on == truth[91:]


async def test_refunds_of_a_charge_or_payment_intent_are_listed_newest_first() -> None:
    world = a_world()
    async with a_stripe(world) as sim:
        first = a_refund(world, status="succeeded", charge=..., balance_transaction=...)
        reported = find(world, first)
        added = [sim.change("second_refund", ids=[first])[0] for _ in range(5)]
        expected = [*added[::-1], first]
        for name in ("charge", "payment_intent"):
            assert ids(await listed(sim, **{name: reported[name]}, limit=2)) == expected
            back = await listed(sim, **{name: reported[name]}, limit=2, ending_before=first)
            assert ids(back) == added
            with pytest.raises(stripe.InvalidRequestError, match=f"No such {name}"):
                await listed(sim, **{name: "xx_nobody"})
        both = {name: reported[name] for name in ("charge", "payment_intent")}
        assert ids(await listed(sim, **both, created={"lt": END})) == [first]
        pair = [world.plain(place) for place in (19, 18)]
        assert ids(await listed(sim, charge=pair[0]["charge"])) == ids(pair)
        assert await listed(sim, **both | {"charge": pair[0]["charge"]}) == []


@pytest.mark.parametrize(
    ("params", "message", "param"),
    [
        ({"limit": 0}, "between 1 and 100", "limit"),
        ({"limit": 101}, "between 1 and 100", "limit"),
        ({"limit": "many"}, "Invalid integer", "limit"),
        ({"status": "failed"}, "unknown parameter", "status"),
        ({"starting_after": "re_nobody"}, "No such refund: 're_nobody'", "starting_after"),
        ({"ending_before": "re_nobody"}, "No such refund: 're_nobody'", "ending_before"),
        ({"starting_after": "re_a", "ending_before": "re_b"}, "pass in only one", None),
        ({"expand": ["data.amount"]}, "cannot be expanded", "expand"),
        ({"expand": ["charge"]}, "cannot be expanded", "expand"),
        ({"expand": ["data.charge.a.b.c"]}, "more than 4 levels", None),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(
    params: dict[str, Any], message: str, param: str | None
) -> None:
    async with a_stripe() as sim:
        with pytest.raises(stripe.InvalidRequestError, match=message) as caught:
            await listed(sim, **params)
        assert caught.value.param == param


async def test_what_is_asked_for_is_expanded_and_nothing_else() -> None:
    world = a_world(400)
    async with a_stripe(world) as sim:
        sim.change("fail", count=3)
        for refund in await listed(sim, limit=100, expand=["data.charge"]):
            plain = find(world, refund["id"])
            assert refund == world.expanded(plain, ("charge",))
            assert refund["charge"] is None or refund["charge"]["id"] == plain["charge"]
        deepest = ["data.charge.balance_transaction.source"]
        assert (await listed(sim, limit=100, expand=deepest))[0]["charge"]["object"] == "charge"
        wanted = a_refund(world, charge=..., failure_balance_transaction=...)
        names = list(EXPANDED)
        one = await asked(
            sim, lambda client: client.v1.refunds.retrieve(wanted, {"expand": names}).to_dict()
        )
        assert {one[name]["object"] for name in names} == {"charge", "balance_transaction"}
        assert one["failure_balance_transaction"]["amount"] == -one["balance_transaction"]["amount"]


async def test_a_hydrated_page_holds_what_its_parts_hold_one_by_one() -> None:
    world = a_world(900)
    async with a_stripe(world) as sim:
        sim.change("requires_action")
        sim.change("second_refund", count=5)
        hydrated = await listed(sim, limit=100, expand=EVERYTHING)
        assert {reported["status"] for reported in hydrated} == {kind.status for kind in KINDS}
        for reported in hydrated:
            assert reported == world.expanded(find(world, reported["id"]), EXPANDED)
        size = sum(len(json.dumps(reported)) for reported in hydrated) / len(hydrated)
        assert 3_000 < size < 5_000


async def test_charges_ledger_lines_and_the_account_are_read_too() -> None:
    world = a_world()
    refund = find(world, a_refund(world, failure_balance_transaction=..., charge=...))
    async with a_stripe(world) as sim:

        def read(client: stripe.StripeClient) -> list[str]:
            v1, line = client.v1, refund["failure_balance_transaction"]
            return [
                v1.charges.retrieve(refund["charge"]).id,
                v1.balance_transactions.retrieve(line).id,
                v1.accounts.retrieve_current().id,
            ]

        assert await asked(sim, read) == [
            refund["charge"], refund["failure_balance_transaction"], world.account,
        ]  # fmt: skip
        lines = await listed(sim, "balance_transactions", source=refund["id"])
        assert {line["reporting_category"] for line in lines} == {"refund", "refund_failure"}
        every = await listed(sim, "balance_transactions", limit=100)
        assert [line["created"] for line in every] == sorted(
            (line["created"] for line in every), reverse=True
        )
        failed = await listed(sim, "balance_transactions", limit=9, type="refund_failure")
        assert ids(failed) == [line["id"] for line in every if line["type"] == "refund_failure"]


async def test_the_rest_of_a_second_can_be_missing_after_a_cursor_inside_a_created_filter() -> None:
    world = a_world(300, hot_second=60)
    cursor = next(p for p in range(300) if world.created[p] == world.created[p - 30])
    span = {"gte": START, "lt": END}
    async with a_stripe(world) as sim:

        async def older(**params: Any) -> list[str]:
            after = world.plain(cursor)["id"]
            return ids(await listed(sim, limit=100, starting_after=after, **params))

        whole = await older(created=span)
        assert len(whole) == cursor
        sim.faults.set({"skip_second_after_cursor": 1.0})
        assert await older() == whole
        skipped = await older(created=span)
        assert skipped
        assert all(find(world, i)["created"] < world.created[cursor] for i in skipped)
        sim.faults.set({"skip_second_after_cursor": 0, "empty_after_cursor": 1.0})
        assert await older() == whole
        assert await older(created=span) == []


async def test_test_and_live_objects_are_apart() -> None:
    async with a_stripe(a_world(livemode=True)) as sim:
        assert await listed(sim) == []
        live = KEY.replace("_test_", "_live_")
        page = await asked(sim, lambda client: client.v1.refunds.list().data, key=live)
        assert len(page) == 10
