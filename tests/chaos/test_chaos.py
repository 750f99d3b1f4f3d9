"""Three short lives in which everything fails. ``make chaos SEED=n RUNS=n`` tries others."""

from __future__ import annotations

import pytest

from tests.chaos.life import Life
from tests.chaos.place import places


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_lost_and_nothing_false_is_claimed_in_a_life_of_faults(seed: int) -> None:
    with places() as (folder, server):
        life = Life(seed, 20, folder, server)
        wrong = await life.live()
        assert not wrong, "\n".join([*wrong, *life.story[-40:], f"again: make chaos SEED={seed}"])
