"""Parts of the daemon's life that only an unlucky moment shows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from service.worker.life import Daemon

if TYPE_CHECKING:
    from service.app.accounts import Account
    from service.worker.rounds import Rounds


class Quiet:
    """Rounds that find no hint."""

    async def read_hints(self) -> int:
        return 0

    async def measure(self) -> None:
        """Nothing to measure."""


@pytest.mark.parametrize("turns", range(6))
async def test_who_follows_hints_can_be_stopped_in_any_turn_after_updates(turns: int) -> None:
    account = SimpleNamespace(
        settings=SimpleNamespace(sync_interval_s=60), client=SimpleNamespace(counters=None)
    )
    daemon = Daemon(cast("Account", account), asyncio.Event())
    following = asyncio.create_task(daemon._follow_hints(cast("Rounds", Quiet())))
    for _ in range(5):
        await asyncio.sleep(0)
    daemon._hinted.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    following.cancel()
    done, _ = await asyncio.wait([following], timeout=2)
    following.cancel()
    assert done, "it goes on"
    assert following.cancelled()
