"""An event loop whose time jumps to the next timer: hours of pacing in a blink, and the same each time."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Instead of waiting it moves the clock, and oversleeps by *late_s*."""

    now = 0.0

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: no timer is set, and nothing is ready")
        if not ready and timeout and timeout > 0:
            self.now += timeout + self._late_s
        return ready


class VirtualTime(asyncio.SelectorEventLoop):
    def __init__(self, late_s: float) -> None:
        self._jump = _Jump(late_s)
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run_at_once(main: Coroutine[Any, Any, T], *, late_s: float = 0.0) -> T:
    """What *main* returns. The running loop's ``time`` is the clock; it never waits for real."""
    with asyncio.Runner(loop_factory=lambda: VirtualTime(late_s)) as runner:
        return runner.run(main)
