"""One object that nothing can hold costs its neighbours nothing: numbers and nesting beyond all bounds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.simulator.http.server import Simulator
from service.simulator.world.account import World
from tests.acceptance.stage import Stage, Stripe, days_ago
from tests.acceptance.trouble.test_odd_objects import quarantined

if TYPE_CHECKING:
    from pathlib import Path

POISONS = {
    "a number beyond all": '"x": 1e999999',
    "a number of many digits": f'"x": {"9" * 5_000}',
    "900 levels": f'"x": {"[" * 900}{"]" * 900}',
    "900 levels of objects": '"x": ' + '{"y":' * 900 + "1" + "}" * 900,
}
PLACES = (3, 11, 17, 29)


def a_poisoned_world() -> tuple[World, list[str]]:
    """Forty refunds of the last days, four of them with a member of that kind as their text is sent."""
    now = datetime.now(UTC)
    start, end = (int((now - timedelta(days=days)).timestamp()) for days in (20, 2))
    world = World.seeded(40, start=start, end=end)
    built = list(world.built)
    for place, member in zip(PLACES, POISONS.values(), strict=True):
        charge, text = built[place]
        built[place] = charge, f"{text[:-1]}, {member}}}"
    world.built = built
    return world, sorted(world.seeds.id_of(place) for place in PLACES)


async def test_poisoned_objects_are_set_aside_and_all_else_is_stored_pass_after_pass(
    database: str, open_folder: Path
) -> None:
    world, poisoned = a_poisoned_world()
    async with Simulator(world) as simulator:
        stage = Stage(Stripe(simulator.url), open_folder, database, {"since": days_ago(30)})

        async def sync(expect: int) -> Any:
            return (await asyncio.to_thread(stage.run, "sync", expect=expect)).reported

        assert (await sync(8))["inserted"] == 36
        async with stage.connection() as connection:
            assert await quarantined(connection) == poisoned
        simulator.change("new", count=5)
        assert (await sync(0))["inserted"] == 5
        await stage.assert_no_invariant_is_broken()
