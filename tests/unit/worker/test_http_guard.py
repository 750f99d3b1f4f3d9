"""The guard of the port says once that it refuses, while it counts each refusal."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from service.adapters.web.guard import MEMORY, QUIET_S, SLOW, Guard, Limits


class LoopAt(asyncio.SelectorEventLoop):
    """A loop whose clock stands still until it is set."""

    now_s = 1.0

    def time(self) -> float:
        return self.now_s


def test_a_reason_is_logged_once_and_again_only_after_a_while_without_it() -> None:
    loop = LoopAt()
    logged: list[tuple[float, str, int]] = []

    async def refuse_at(now_s: float, reason: str) -> None:
        loop.now_s = now_s
        with capture_logs() as logs:
            guard.count(reason)
        logged.extend((now_s, entry["reason"], entry["total"]) for entry in logs)

    async def flood() -> None:
        for now_s in range(1, 500):
            await refuse_at(now_s, SLOW)
        await refuse_at(500, MEMORY)
        await refuse_at(498 + QUIET_S, SLOW)
        await refuse_at(498 + 2 * QUIET_S, SLOW)

    guard = Guard(Limits())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(flood())
    assert logged == [(1, SLOW, 1), (500, MEMORY, 1), (498 + 2 * QUIET_S, SLOW, 501)]
    assert guard.refused[SLOW] == 501
